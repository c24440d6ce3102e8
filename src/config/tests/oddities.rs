//! Secrets that are probably not what their author meant.

use insta::assert_snapshot;

use super::*;

/// What is shown for this text of the file `secret`.
fn warned(text: &str, lines: &str) -> String {
    let config = [lines, LISTENER, UPSTREAM].concat();
    let directory = directory(&[("sidebearer.toml", &config), ("secret", text)]);
    let loaded = load(&directory.path().join("sidebearer.toml"));
    let loaded = loaded.unwrap_or_else(|refused| panic!("{text:?}: {refused}"));
    shown(&directory, &loaded.warnings)
}

#[test]
fn a_byte_order_mark_is_warned_about() {
    assert_snapshot!(warned("\u{feff}s3cr3t", CREDENTIAL), @r##"
    warning: `client_secret` in [credentials.crm] begins with a byte order mark, which is taken for a part of it
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "secret" }
       |                 ^^^^^^^^^^^^^^^^^^^ save the file as UTF-8 without BOM
    "##);
}

#[test]
fn white_space_at_an_end_is_warned_about() {
    let told = warned("s3cr3t \n", CREDENTIAL);
    assert_snapshot!(told, @r##"
    warning: `client_secret` in [credentials.crm] begins or ends with white space, which is taken for a part of it
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "secret" }
       |                 ^^^^^^^^^^^^^^^^^^^ take it away; only one newline at the end is left out
    "##);
    for text in [" s3cr3t", "s3cr3t\t", "s3cr3t\n\n", "s3cr3t\r"] {
        assert_eq!(warned(text, CREDENTIAL), told, "{text:?}");
    }
    for text in ["s3cr3t", "s3cr3t\n", "s3 cr3t\r\n"] {
        assert_eq!(warned(text, CREDENTIAL), "", "{text:?}");
    }
}

#[test]
fn a_placeholder_that_nothing_filled_in_is_warned_about() {
    assert_snapshot!(warned("${CRM_SECRET}\n", CREDENTIAL), @r##"
    warning: `client_secret` in [credentials.crm] is a placeholder that nothing has filled in
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "secret" }
       |                 ^^^^^^^^^^^^^^^^^^^ nothing is replaced here; `{ env = "NAME" }` reads a variable
    "##);
}

#[test]
fn white_space_around_keys_and_tokens_is_nothing() {
    let base = "[credentials.crm]\ntoken_endpoint = \"https://login.example.com/oauth/token\"\n";
    let key = include_str!("../../../tests/keys/p256.pkcs8.pem");
    let jwk = include_str!("../../../tests/keys/p256.jwk");
    let jwt = "eyJhbGciOiJub25lIn0.e30.c2ln";
    for (lines, text) in [
        (
            "client_id = \"a\"\nauth_method = \"private_key_jwt\"\nprivate_key",
            key,
        ),
        (
            "client_id = \"a\"\nauth_method = \"private_key_jwt\"\nprivate_key",
            jwk,
        ),
        ("auth_method = \"client_assertion\"\nclient_assertion", jwt),
        (
            "auth_method = \"none\"\ngrant = \"jwt-bearer\"\nassertion",
            jwt,
        ),
        (
            "auth_method = \"none\"\nclient_id = \"a\"\ngrant = \"token-exchange\"\nsubject_token",
            jwt,
        ),
    ] {
        let lines = format!("{base}{lines} = {{ file = \"secret\" }}\n");
        for text in [text.to_owned(), format!("\n{text}\n \n")] {
            assert_eq!(warned(&text, &lines), "", "{lines}");
        }
    }
    let lines = format!(
        "{base}auth_method = \"client_assertion\"\nclient_assertion = {{ file = \"secret\" }}\n"
    );
    let told = warned("${ASSERTION}\n\n", &lines);
    assert!(told.contains("is a placeholder"), "{told}");
}
