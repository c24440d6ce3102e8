use insta::assert_snapshot;

use super::*;

/// A credential with this client secret.
fn with_secret(secret: &str) -> [String; 3] {
    let credential = CREDENTIAL.replace("{ file = \"secret\" }", secret);
    [credential, LISTENER.to_owned(), UPSTREAM.to_owned()]
}

fn refused_secret(secret: &str) -> String {
    let parts = with_secret(secret);
    let shown = refused(&parts.each_ref().map(String::as_str));
    assert!(!shown.contains("hunter2"), "{shown}");
    shown
}

#[test]
fn missing_secret_file_is_refused() {
    assert_snapshot!(refused_secret("{ file = \"hunter2\" }"), @r##"
    error: `client_secret` in [credentials.crm] cannot be read from its file: No such file or directory (os error 2)
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "***" }
       |                 ^^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
    "##);
}

#[test]
fn missing_variable_is_refused() {
    assert_snapshot!(refused_secret("{ env = \"SIDEBEARER_hunter2\" }"), @r##"
    error: `client_secret` in [credentials.crm] names an environment variable that is not set
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { env = "***" }
       |                 ^^^^^^^^^^^^^^^ set the variable, or name a file with `{ file = "PATH" }`
    "##);
}

#[test]
fn a_secret_is_a_regular_file() {
    assert_snapshot!(refused_secret("{ file = \"/dev/null\" }"), @r##"
    error: `client_secret` in [credentials.crm] cannot be read from its file: it is no regular file
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "***" }
       |                 ^^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
    "##);
}

#[test]
fn empty_secrets_are_refused() {
    let secret = "{ file = \"empty\" }";
    let text = format!("{LISTENER}{UPSTREAM}{CREDENTIAL}").replace("{ file = \"secret\" }", secret);
    let directory = directory(&[("sidebearer.toml", &text), ("empty", "\n")]);
    let refused = load(&directory.path().join("sidebearer.toml")).unwrap_err();
    let message = &refused.iter().next().unwrap().message;
    assert_eq!(message, "`client_secret` in [credentials.crm] is empty");
}

#[test]
fn secret_has_one_source() {
    assert_snapshot!(refused_secret("{ file = \"secret\", env = \"PATH\" }"), @r##"
    error: invalid `client_secret` in [credentials.crm]
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "***", env = "***" }
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected exactly one of `file` and `env`
    "##);
    assert_snapshot!(refused_secret("{ fil = \"hunter2\" }"), @r##"
    error: invalid `client_secret` in [credentials.crm]
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { fil = "***" }
       |                 ^^^^^^^^^^^^^^^ expected exactly one of `file` and `env`

    error: unknown key `fil` in `client_secret` in [credentials.crm]
      --> sidebearer.toml:5:19
       |
     5 | client_secret = { fil = "***" }
       |                   ^^^ did you mean `file`?
    "##);
    assert_snapshot!(refused_secret("[\"hunter2\", 1]"), @r##"
    error: wrong type of `client_secret` in [credentials.crm]
      --> sidebearer.toml:5:17
       |
     5 | client_secret = ["***", ***]
       |                 ^^^^^^^^^^^^ expected `{ file = "PATH" }`, `{ env = "NAME" }` or a string, found an array
    "##);
}

#[test]
fn literal_secret_works_with_a_warning() {
    let parts = with_secret("\"hunter2\" # before: hunter2");
    let parts = parts.each_ref().map(String::as_str);
    assert_snapshot!(accepted(&parts), @r##"
    warning: `client_secret` in [credentials.crm] is written in the file itself
      --> sidebearer.toml:5:17
       |
     5 | client_secret = "***"
       |                 ^^^^^ prefer `{ file = "PATH" }` or `{ env = "NAME" }`
    "##);
    let config = load_parts(&parts).1.unwrap().config;
    let secret = config.credentials["crm"].secrets().nth(1).unwrap();
    assert_eq!(secret.read().unwrap().expose(), "hunter2");
}

#[test]
fn secret_of_several_lines_is_masked() {
    assert_snapshot!(refused_secret("{ file = \"\"\"hunter2\nhunter2\"\"\" }"), @r##"
    error: `client_secret` in [credentials.crm] cannot be read from its file: No such file or directory (os error 2)
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = """***
       |                 ^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
    "##);
}

#[test]
fn values_under_credentials_are_never_shown() {
    for line in [
        "fetch_timeout = \"hunter2\"",
        "fetch_timeout = \"hunter2\" # hunter2",
        "fetch_timeout = 'hunter2'",
        "fetch_timeout = '''hunter2'''",
        "fetch_timeout = \"\"\"\nhunter2\"\"\"",
        "auth_method = \"hunter2\"",
        "refresh = [\"hunter2\"]",
        "required = { a = \"hunter2\", b = [\"hunter2\"] }",
        "scopes = [\"hunter2 a\"]",
        "resources = [\"hunter2\"]",
        "secret = \"hunter2\"",
        "tls.ca_file = \"hunter2\"",
        "extra_parameters = { scope = \"hunter2\" }",
        "token_headers = { host = \"hunter2\" }",
        "token_headers = { x = \"hunter2\\n\" }",
        "max_lifetime = 2222222222",
        "issuer = \"https://hunter2\"",
    ] {
        let shown = refused(&[CREDENTIAL, line, LISTENER, UPSTREAM]);
        assert!(
            !shown.contains("hunter2") && !shown.contains("2222"),
            "{line}\n{shown}"
        );
        // The mask of a value on the next line is there.
        assert!(
            shown.contains("***") || line.contains('\n'),
            "{line}\n{shown}"
        );
    }
}

#[test]
fn secrets_are_masked_in_every_form_of_toml() {
    for text in [
        "credentials.crm.client_secret = \"hunter2\"\ncredentials.crm.refresh = \"hunter2\"\n",
        "credentials = { crm = { client_secret = \"hunter2\", refresh = \"hunter2\" } }\n",
        "credentials = \"hunter2\"\n",
        "credentials = [\"hunter2\"]\n",
        "credential = { crm = { client_secret = \"hunter2\" } }\n",
        "client_secret = \"hunter2\"\n",
        "upstreams.a = { client_secret = \"hunter2\" }\n",
        "[upstreams.a]\nclient_secret = \"hunter2\"\n",
    ] {
        let shown = refused(&[text]);
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
}

#[test]
fn a_file_larger_than_max_file_bytes_is_refused_wherever_that_key_stands() {
    let rest = [LISTENER, UPSTREAM, CREDENTIAL].concat();
    let large = "x".repeat(2048);
    let refused = "it has more than the 1024 bytes of max_file_bytes";
    for (max, good) in [("1KiB", false), ("2KiB", true)] {
        let server = format!("[server]\nmax_file_bytes = \"{max}\"\n");
        for files in [
            [("a.toml", &server), ("b.toml", &rest)],
            [("a.toml", &rest), ("b.toml", &server)],
        ] {
            let [one, other] = files.map(|(name, text)| (name, text.as_str()));
            let directory = directory(&[one, other, ("secret", &large)]);
            match load(directory.path()) {
                Err(diagnostics) => {
                    assert!(
                        !good && diagnostics.to_string().contains(refused),
                        "{diagnostics}"
                    );
                }
                Ok(loaded) => {
                    assert!(good, "{max}");
                    // What is read for each token request too.
                    let secrets = loaded.config.credentials["crm"].secrets();
                    let file = secrets.last().unwrap();
                    assert_eq!(file.read().unwrap().expose(), large);
                    let larger = "x".repeat(2049);
                    std::fs::write(directory.path().join("secret"), larger).unwrap();
                    let error = file.read().unwrap_err().to_string();
                    assert!(
                        error.ends_with("the 2048 bytes of max_file_bytes"),
                        "{error}"
                    );
                }
            }
        }
    }
}
