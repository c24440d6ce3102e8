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
    assert_snapshot!(refused_secret("{ file = \"secrets/crm\" }"), @r##"
    error: `client_secret` in [credentials.crm] cannot be read from secrets/crm: No such file or directory (os error 2)
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "secrets/crm" }
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
    "##);
}

#[test]
fn missing_variable_is_refused() {
    assert_snapshot!(refused_secret("{ env = \"SIDEBEARER_NOWHERE\" }"), @r##"
    error: `client_secret` in [credentials.crm] names an environment variable that is not set
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { env = "SIDEBEARER_NOWHERE" }
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ set the variable, or name a file with `{ file = "PATH" }`
    "##);
}

#[test]
fn a_secret_is_a_regular_file() {
    assert_snapshot!(refused_secret("{ file = \"/dev/null\" }"), @r##"
    error: `client_secret` in [credentials.crm] cannot be read from /dev/null: it is no regular file
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "/dev/null" }
       |                 ^^^^^^^^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
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
     5 | client_secret = { file = "***", env = "PATH" }
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected exactly one of `file` and `env`
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
    error: `client_secret` in [credentials.crm] cannot be read from its file: what stands there is no path: No such file or directory (os error 2)
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = """***
       |                 ^^^^^^^^^^^^^^^ expected a readable file; a relative path starts at DIRECTORY
    "##);
}

/// A credential with one more line; an issuer takes the place of the token endpoint.
fn beside(line: &str) -> String {
    let credential = if line.starts_with("issuer") {
        CREDENTIAL.replace(
            "token_endpoint = \"https://login.example.com/oauth/token\"",
            "",
        )
    } else {
        CREDENTIAL.to_owned()
    };
    format!("{credential}{line}\n")
}

#[test]
fn what_stands_where_a_secret_could_is_never_shown() {
    for line in [
        "secret = \"hunter2\"",
        "client_secrets = \"hunter2\"",
        "clientsecret = { file = \"hunter2\" }",
        "tls.key = \"hunter2\"",
        "refresh = { a = \"hunter2\" }",
        "required = { a = \"hunter2\", b = [\"hunter2\"] }",
        "extra_parameters = { scope = \"hunter2\" }",
        "token_headers = { host = \"hunter2\" }",
        "token_headers = { x = \"hunter2\\n\" }",
        "token_headers = { x = { env = \"hunter2, too\" } }",
        "issuer = \"https://billing:hunter2@login.example.com\"",
        "issuer = \"https://login.example.com?secret=hunter2\"",
        "tls.key_file = \"\"\"\n-----BEGIN PRIVATE KEY-----\nhunter2\"\"\"",
        "tls.key_file = \"-----BEGIN PRIVATE KEY-----hunter2\"",
        "auth_method = \"private_key_jwt\"\nprivate_key = { file = '{\"kty\":\"oct\",\"k\":\"hunter2\"}' }",
        "grant = \"jwt-bearer\"\nassertion = { file = \"eyJ.hunter2\" }",
        "fetch_timeout = \"\"\"\nhunter2\"\"\"",
        // The comment may hold the value of yesterday.
        "secret = \"x\" # hunter2",
    ] {
        let shown = refused(&[&beside(line), LISTENER, UPSTREAM]);
        assert!(!shown.contains("hunter2"), "{line}\n{shown}");
        // The mask of a value on the next line is there.
        assert!(
            shown.contains("***") || line.contains('\n'),
            "{line}\n{shown}"
        );
    }
}

#[test]
fn what_is_no_secret_is_shown() {
    for line in [
        "fetch_timeout = \"shown\"",
        "fetch_timeout = 'shown'",
        "fetch_timeout = '''shown'''",
        "auth_method = \"shown\"",
        "grant = \"shown\"",
        "refresh = [\"shown\"]",
        "scopes = [\"shown a\"]",
        "resources = [\"shown\"]",
        "tls.ca_file = \"/etc/ssl/shown.pem\"",
        "tls.key_file = \"shown.key\"",
        "token_headers = { x = { file = \"/run/secrets/shown\" } }",
        "token_headers = { x = { env = \"SIDEBEARER_shown\" } }",
        "issuer = \"ftp://shown.example.com\"",
        "issuer = \"https://shown.example.com?tenant=1\"",
    ] {
        let shown = refused(&[&beside(line), LISTENER, UPSTREAM]);
        assert!(shown.contains("shown"), "{line}\n{shown}");
    }
}

#[test]
fn a_choice_that_is_close_to_another_is_told() {
    for (line, meant) in [
        (
            "auth_method = \"client_secret_basc\"",
            "client_secret_basic",
        ),
        ("auth_method = \"Client-Secret-Post\"", "client_secret_post"),
        ("grant = \"jwt_bearer\"", "jwt-bearer"),
        ("refresh = \"lasy\"", "lazy"),
    ] {
        let shown = refused(&[CREDENTIAL, line, LISTENER, UPSTREAM]);
        assert!(
            shown.contains(&format!("did you mean `{meant}`?")),
            "{shown}"
        );
    }
    let far = refused(&[CREDENTIAL, "refresh = \"sometimes\"", LISTENER, UPSTREAM]);
    assert!(far.contains("expected \"eager\" or \"lazy\""), "{far}");
}

#[test]
fn files_that_everyone_can_change_are_warned_about() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let parts = [CREDENTIAL, LISTENER, UPSTREAM];
    let warnings = |secret: u32, config: u32, of_directory: u32| {
        let (directory, _) = load_parts(&parts);
        let path = |name: &str| directory.path().join(name);
        let allow =
            |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        allow(&path("secret"), secret);
        allow(&path("sidebearer.toml"), config);
        allow(directory.path(), of_directory);
        let loaded = load(&path("sidebearer.toml"));
        shown(&directory, &loaded.unwrap().warnings)
    };
    for (secret, config, of_directory) in [
        (0o600, 0o600, 0o700),
        (0o664, 0o664, 0o775),
        // As /tmp is: everyone replaces only what is their own.
        (0o644, 0o644, 0o1777),
    ] {
        assert_eq!(
            warnings(secret, config, of_directory),
            "",
            "{of_directory:o}"
        );
    }
    assert_snapshot!(warnings(0o666, 0o644, 0o755), @r##"
    warning: `client_secret` in [credentials.crm] can be changed by every user
      --> sidebearer.toml:5:17
       |
     5 | client_secret = { file = "secret" }
       |                 ^^^^^^^^^^^^^^^^^^^ take that permission away: chmod o-w secret
    "##);
    assert_snapshot!(warnings(0o644, 0o646, 0o755), @r##"
    warning: the configuration can be changed by every user
      --> sidebearer.toml
       = take that permission away: chmod o-w sidebearer.toml
    "##);
    // A user who can replace a file has no need to change it.
    let replaceable = warnings(0o600, 0o600, 0o777);
    for what in [
        "the configuration can be",
        "`client_secret` in [credentials.crm] can be",
    ] {
        assert!(replaceable.contains(what), "{replaceable}");
    }
}

#[test]
fn secrets_are_masked_in_every_form_of_toml() {
    for text in [
        "credentials.crm.client_secret = \"hunter2\"\ncredentials.crm.secret = \"hunter2\"\n",
        "credentials = { crm = { client_secret = \"hunter2\", secret = \"hunter2\" } }\n",
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

#[test]
fn base64_in_the_place_of_the_path_of_a_secret_is_not_shown_and_a_path_is() {
    let secrets = [
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC/BKcwggSj",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "q8f/3kd+Zx1Pq==",
        "/K7MDENG/bPxRfiCY",
    ];
    let paths = [
        "/etc/secrets/client-secret",
        "/nowhere/secrets/crm",
        "secrets/crm",
        "secrets/Crm2.key",
        "/etc/Client2",
    ];
    let lines = |path: &str| {
        [
            CREDENTIAL.replace("file = \"secret\"", &format!("file = \"{path}\"")),
            beside(&format!(
                "auth_method = \"private_key_jwt\"\nprivate_key = {{ file = \"{path}\" }}"
            )),
            beside(&format!(
                "token_headers = {{ x = {{ file = \"{path}\" }} }}"
            )),
            beside(&format!(
                "tls = {{ certificate_file = \"a.pem\", key_file = \"{path}\" }}"
            )),
            format!("{CREDENTIAL}[callers.a]\nkey = {{ file = \"{path}\" }}\n"),
            format!("{CREDENTIAL}[kubernetes]\naudience = \"x\"\ntoken_file = \"{path}\"\n"),
        ]
    };
    let lines_without_secret = |path: &str| {
        [
            beside(&format!("tls.ca_file = \"{path}\"")),
            beside(&format!(
                "tls = {{ certificate_file = \"{path}\", key_file = \"a.key\" }}"
            )),
            format!(
                "{CREDENTIAL}[callers.a.token]\nissuer = \"x\"\naudience = \"x\"\njwks_file = \"{path}\"\n"
            ),
        ]
    };
    for secret in secrets {
        for credential in lines(secret) {
            let shown = refused(&[&credential, LISTENER, UPSTREAM]);
            let part = secret.rsplit('/').next().unwrap();
            assert!(!shown.contains(part), "{credential}\n{shown}");
        }
    }
    let of_secrets = paths
        .iter()
        .flat_map(|path| lines(path).map(|line| (*path, line)));
    let of_others = paths
        .iter()
        .chain(&secrets)
        .flat_map(|path| lines_without_secret(path).map(|line| (*path, line)));
    for (path, line) in of_secrets.chain(of_others) {
        let shown = refused(&[&line, LISTENER, UPSTREAM]);
        // On the quoted line, and in words.
        assert!(shown.matches(path).count() >= 2, "{line}\n{shown}");
    }
    // A single name is as long as a secret, or it is a name.
    let [long, name] = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj", "Crm2"].map(|path| {
        let line = beside(&format!(
            "tls = {{ certificate_file = \"a.pem\", key_file = \"{path}\" }}"
        ));
        refused(&[&line, LISTENER, UPSTREAM])
    });
    assert!(!long.contains("MIIEvQ"), "{long}");
    assert!(name.contains("Crm2"), "{name}");
}

#[test]
fn of_what_may_be_a_secret_it_is_said_how_far_it_leads_as_a_path() {
    let help = |path: &str| {
        let shown = refused_secret(&format!("{{ file = \"{path}\" }}"));
        let (_, help) = shown.split_once("^ ").unwrap();
        help.trim_end().to_owned()
    };
    let begin = "expected the path of a readable file; what looks like base64 may be the secret itself and is not repeated";
    for (path, end) in [
        (
            "/nowhere1/Team1/Key2",
            ", and as a path it leads no further than /",
        ),
        (
            "/etc/nowhere1/Team1",
            ", and as a path it leads no further than /etc",
        ),
        ("Nowhere1/Team1", ", and as a path it starts at DIRECTORY"),
    ] {
        assert_eq!(help(path), format!("{begin}{end}"), "{path}");
    }
    let file = tempfile::tempdir().unwrap();
    let below = file.path().join("Team1/Key2");
    let help = help(&below.display().to_string());
    let end = format!(
        ", and as a path it leads no further than {}",
        file.path().display()
    );
    assert_eq!(help, format!("{begin}{end}"));
}
