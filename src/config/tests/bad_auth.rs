//! Mistakes in how a client authenticates.

use insta::assert_snapshot;

use super::*;

/// A credential with these lines, in a directory with these files.
fn loaded(lines: &str, files: &[(&str, &str)]) -> (TempDir, Result<Loaded, Diagnostics>) {
    let text = format!(
        "[credentials.crm]\ntoken_endpoint = \"https://login.example.com/oauth/token\"\n{lines}\n{LISTENER}{UPSTREAM}"
    );
    let directory = directory(files);
    std::fs::write(directory.path().join("sidebearer.toml"), text).unwrap();
    let loaded = load(&directory.path().join("sidebearer.toml"));
    (directory, loaded)
}

pub(super) fn refused_auth(lines: &str, files: &[(&str, &str)]) -> String {
    let (directory, loaded) = loaded(lines, files);
    shown(&directory, &loaded.unwrap_err())
}

fn accepted_auth(lines: &str, files: &[(&str, &str)]) -> String {
    let (directory, loaded) = loaded(lines, files);
    shown(&directory, &loaded.unwrap().warnings)
}

const KEYED: &str = r#"client_id = "billing"
auth_method = "private_key_jwt"
private_key = { file = "key" }"#;

#[test]
fn keys_of_other_methods_are_refused() {
    let text = r#"client_id = "billing"
client_secret = { file = "secret" }
private_key = { file = "nowhere" }
signing_alg = 1
key_id = ""
assertion_audience = "issuer""#;
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `private_key` in [credentials.crm] does not belong to `auth_method = "client_secret_basic"`
      --> sidebearer.toml:5:15
       |
     5 | private_key = { file = "***" }
       |               ^^^^^^^^^^^^^^^^ it belongs to "private_key_jwt"

    error: `signing_alg` in [credentials.crm] does not belong to `auth_method = "client_secret_basic"`
      --> sidebearer.toml:6:15
       |
     6 | signing_alg = ***
       |               ^^^ it belongs to "client_secret_jwt" or "private_key_jwt"

    error: `assertion_audience` in [credentials.crm] does not belong to `auth_method = "client_secret_basic"`
      --> sidebearer.toml:8:22
       |
     8 | assertion_audience = "***"
       |                      ^^^^^ it belongs to "client_secret_jwt" or "private_key_jwt"
    "##);
    let text = r#"client_id = "billing"
client_secret = { file = "secret" }
signing_alg = ""
"#;
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `signing_alg` in [credentials.crm] does not belong to `auth_method = "client_secret_basic"`
      --> sidebearer.toml:5:15
       |
     5 | signing_alg = ""
       |               ^^ it belongs to "client_secret_jwt" or "private_key_jwt"
    "##);
    let text = r#"client_id = "billing"
auth_method = "private_key_jwt"
client_secret = { file = "secret" }
basic_encoding = "raw""#;
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `private_key` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` of a PEM or JWK file

    error: `client_secret` in [credentials.crm] does not belong to `auth_method = "private_key_jwt"`
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "***" }
       |                 ^^^^^^^^^^^^^^^^ it belongs to "client_secret_basic", "client_secret_post" or "client_secret_jwt"

    error: `basic_encoding` in [credentials.crm] does not belong to `auth_method = "private_key_jwt"`
      --> sidebearer.toml:6:18
       |
     6 | basic_encoding = "raw"
       |                  ^^^^^ it belongs to "client_secret_basic"
    "##);
}

#[test]
fn an_unusable_key_is_named_with_its_file() {
    for (text, reason) in [
        (
            key!("encrypted.pem"),
            "the key is encrypted; store it decrypted",
        ),
        (
            &key!("p256.pkcs8.pem").replace('\n', "\\n"),
            "it holds the two characters \\n where its lines should end",
        ),
        (key!("rsa1024.pem"), "its RSA key has less than 2048 bits"),
        (
            key!("p521.pem"),
            "it holds an EC key on P-521; supported are",
        ),
        (
            key!("p256.public.pem"),
            "it holds neither a PEM private key nor a private JWK",
        ),
        (
            "hunter2",
            "it holds neither a PEM private key nor a private JWK",
        ),
    ] {
        let shown = refused_auth(KEYED, &[("key", text)]);
        assert!(shown.contains(&format!("^ key: {reason}")), "{shown}");
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert_snapshot!(refused_auth(KEYED, &[("key", &key!("rsa.pkcs8.pem")[..400])]), @r##"
    error: invalid `private_key` in [credentials.crm]
      --> sidebearer.toml:5:15
       |
     5 | private_key = { file = "key" }
       |               ^^^^^^^^^^^^^^^^ key: its PEM is not whole, or not valid
    "##);
}

#[test]
fn a_key_for_another_algorithm_is_refused() {
    let text = format!("{KEYED}\nsigning_alg = \"ES384\"");
    assert_snapshot!(refused_auth(&text, &[("key", key!("p256.sec1.pem"))]), @r##"
    error: invalid `private_key` in [credentials.crm]
      --> sidebearer.toml:5:15
       |
     5 | private_key = { file = "key" }
       |               ^^^^^^^^^^^^^^^^ key: ES384 needs an EC key on P-384, and it holds an EC key on P-256
    "##);
    let text = format!("{KEYED}\nsigning_alg = \"HS256\"");
    assert_snapshot!(refused_auth(&text, &[("key", key!("p256.sec1.pem"))]), @r##"
    error: invalid `signing_alg` in [credentials.crm]
      --> sidebearer.toml:6:15
       |
     6 | signing_alg = "HS256"
       |               ^^^^^^^ expected "RS256", "PS256", "ES256", "ES384" or "EdDSA"
    "##);
}

#[test]
fn the_issuer_has_to_be_known_to_be_the_audience() {
    let text = format!("{KEYED}\nassertion_audience = \"issuer\"");
    assert_snapshot!(refused_auth(&text, &[("key", key!("rsa.jwk"))]), @r##"
    error: `assertion_audience` in [credentials.crm] needs `issuer`
      --> sidebearer.toml:6:22
       |
     6 | assertion_audience = "issuer"
       |                      ^^^^^^^^ beside `token_endpoint`, write the issuer out: "https://..."
    "##);
}

#[test]
fn a_short_secret_for_signing_is_warned_about() {
    let text = r#"client_id = "billing"
client_secret = { file = "secret" }
auth_method = "client_secret_jwt"
signing_alg = "HS384""#;
    assert_snapshot!(accepted_auth(text, &[]), @r##"
    warning: `client_secret` in [credentials.crm] is shorter than the 48 bytes that HS384 calls for
      --> sidebearer.toml:4:17
       |
     4 | client_secret = { file = "secret" }
       |                 ^^^^^^^^^^^^^^^^^^^ a server may refuse it (RFC 7518 section 3.2)
    "##);
    assert_eq!(accepted_auth(text, &[("secret", &"x".repeat(48))]), "");
}

#[test]
fn a_certificate_of_another_key_is_warned_about() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let tls = "tls = { certificate_file = \"certificate\", key_file = \"tls.key\" }";
    let tls_key = key.serialize_pem();
    let accepted = |signing: &str| {
        let files = [
            ("key", signing),
            ("certificate", &*certificate),
            ("tls.key", &*tls_key),
        ];
        accepted_auth(&format!("{KEYED}\n{tls}"), &files)
    };
    assert_snapshot!(accepted(key!("p256.jwk")), @r##"
    warning: `private_key` in [credentials.crm] is not the key of `tls.certificate_file`
      --> sidebearer.toml:5:15
       |
     5 | private_key = { file = "key" }
       |               ^^^^^^^^^^^^^^^^ assertions will not name the certificate in certificate (x5t#S256)
    "##);
    assert_eq!(accepted(&tls_key), "");
}

#[test]
fn every_method_and_grant_names_what_it_needs() {
    let text = "auth_method = \"client_assertion\"\ngrant = \"jwt-bearer\"";
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `assertion` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` of a JWT

    error: `client_assertion` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` of a JWT
    "##);
    let text = r#"auth_method = "none"
grant = "token-exchange"
subject_token_type = "jwt"
actor_token_type = "urn:x"
requested_token_type = "urn:a b"
assertion = { file = "secret" }"#;
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `subject_token` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` of a token

    error: `actor_token` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` of a token

    error: invalid `subject_token_type` in [credentials.crm]
      --> sidebearer.toml:5:22
       |
     5 | subject_token_type = "jwt"
       |                      ^^^^^ expected a URI such as "urn:ietf:params:oauth:token-type:jwt"

    error: invalid `requested_token_type` in [credentials.crm]
      --> sidebearer.toml:7:24
       |
     7 | requested_token_type = "urn:a b"
       |                        ^^^^^^^^^ expected a URI such as "urn:ietf:params:oauth:token-type:jwt"

    error: `assertion` in [credentials.crm] does not belong to `grant = "token-exchange"`
      --> sidebearer.toml:8:13
       |
     8 | assertion = { file = "***" }
       |             ^^^^^^^^^^^^^^^^ it belongs to "jwt-bearer"
    "##);
    assert_snapshot!(refused_auth("auth_method = \"none\"", &[]), @r##"
    error: `client_id` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected the client's identifier at the authorization server
    "##);
    assert_snapshot!(refused_auth("auth_method = \"nobody\"\ngrant = \"password\"", &[]), @r##"
    error: invalid `auth_method` in [credentials.crm]
      --> sidebearer.toml:3:15
       |
     3 | auth_method = "nobody"
       |               ^^^^^^^^ expected "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "client_assertion", "tls_client_auth", "self_signed_tls_client_auth" or "none"

    error: invalid `grant` in [credentials.crm]
      --> sidebearer.toml:4:9
       |
     4 | grant = "password"
       |         ^^^^^^^^^^ expected "client_credentials", "jwt-bearer" or "token-exchange"
    "##);
}

#[test]
fn keys_of_other_grants_are_refused() {
    let text = r#"client_id = "billing"
client_secret = { file = "secret" }
subject_token = { file = "secret" }
assertion = { file = "secret" }
client_assertion = { file = "secret" }"#;
    assert_snapshot!(refused_auth(text, &[]), @r##"
    error: `subject_token` in [credentials.crm] does not belong to `grant = "client_credentials"`
      --> sidebearer.toml:5:17
       |
     5 | subject_token = { file = "***" }
       |                 ^^^^^^^^^^^^^^^^ it belongs to "token-exchange"

    error: `assertion` in [credentials.crm] does not belong to `grant = "client_credentials"`
      --> sidebearer.toml:6:13
       |
     6 | assertion = { file = "***" }
       |             ^^^^^^^^^^^^^^^^ it belongs to "jwt-bearer"

    error: `client_assertion` in [credentials.crm] does not belong to `auth_method = "client_secret_basic"`
      --> sidebearer.toml:7:20
       |
     7 | client_assertion = { file = "***" }
       |                    ^^^^^^^^^^^^^^^^ it belongs to "client_assertion"
    "##);
}

#[test]
fn a_certificate_is_needed_to_show_one() {
    for method in ["tls_client_auth", "self_signed_tls_client_auth"] {
        let text = format!("client_id = \"billing\"\nauth_method = \"{method}\"");
        let shown = refused_auth(&text, &[]);
        let missing = "error: `tls.certificate_file` is missing in [credentials.crm]";
        assert!(shown.contains(missing), "{shown}");
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
    }
}

#[test]
fn a_key_that_two_servers_share_is_warned_about() {
    let one = "[credentials.crm]\ntoken_endpoint = \"https://one.example/token\"\n";
    let two = "\n[credentials.erp]\ntoken_endpoint = \"https://two.example/token\"\n";
    let upstream = UPSTREAM.replace("crm", "erp");
    let warned = |two: &str| {
        let routed = "[[routes]]\npath = \"/erp\"\nupstream = \"erp\"\n";
        let text = [
            one, KEYED, two, KEYED, LISTENER, UPSTREAM, &upstream, routed,
        ]
        .concat();
        let directory = directory(&[("sidebearer.toml", &text), ("key", key!("rsa.jwk"))]);
        let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
        shown(&directory, &loaded.warnings)
    };
    assert_snapshot!(warned(two), @r##"
    warning: credential `erp` shares its key with `crm`, which is for another server
      --> sidebearer.toml:6:1
       |
     6 | [credentials.erp]
       | ^^^^^^^^^^^^^^^^^ give each its own instead of key
    "##);
    assert_eq!(warned(&two.replace("two.example", "one.example")), "");
}

#[test]
fn a_key_is_the_same_in_whatever_form_its_file_has() {
    let credential = |server: &str, file: &str| {
        format!(
            "[credentials.{server}]\ntoken_endpoint = \"https://{server}.example/token\"\n{}\n",
            KEYED.replace("\"key\"", &format!("\"{file}\""))
        )
    };
    let upstream = UPSTREAM.replace("crm", "erp");
    let routed = "[[routes]]\npath = \"/erp\"\nupstream = \"erp\"\n";
    for (other, warnings) in [("p256.sec1", 1), ("p384", 0)] {
        let text = [
            &credential("crm", "p256.jwk"),
            &credential("erp", other),
            LISTENER,
            UPSTREAM,
            &upstream,
            routed,
        ];
        let text = text.concat();
        let directory = directory(&[
            ("sidebearer.toml", &text),
            ("p256.jwk", key!("p256.jwk")),
            ("p256.sec1", key!("p256.sec1.pem")),
            ("p384", key!("p384.jwk")),
        ]);
        let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
        let shown = shown(&directory, &loaded.warnings);
        assert_eq!(shown.matches("shares its key").count(), warnings, "{shown}");
    }
}
