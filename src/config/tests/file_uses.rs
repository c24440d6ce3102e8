use insta::assert_snapshot;

use super::*;

const AUDIT: &str = "\n[audit]\nfile = \"FILE\"\n";

/// What is said about a configuration file in a directory that also has secrets, certificates, links and directories.
fn found(parts: &[&str]) -> String {
    let directory = directory(&[("sidebearer.toml", &parts.concat())]);
    add_certificate(&directory);
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("inner")).unwrap();
    std::os::unix::fs::symlink(path("."), path("link")).unwrap();
    let loaded = load(&path("sidebearer.toml"));
    let found = loaded.map_or_else(|refused| refused, |loaded| loaded.warnings);
    shown(&directory, &found)
}

#[test]
fn nothing_is_written_over_what_is_read_or_written_otherwise() {
    let audit = |file: &str| AUDIT.replace("FILE", file);
    let in_place_of_a_secret = found(&[LISTENER, UPSTREAM, CREDENTIAL, &audit("link/secret")]);
    assert_snapshot!(in_place_of_a_secret, @r##"
    error: the record of [audit] would take the place of a file that is read
       --> sidebearer.toml:16:8
        |
     16 | file = "link/secret"
        |        ^^^^^^^^^^^^^ link/secret is named at sidebearer.toml:13:17 too: expected another file
    "##);
    let in_place_of_itself = found(&[LISTENER, UPSTREAM, CREDENTIAL, &audit("./sidebearer.toml")]);
    assert_snapshot!(in_place_of_itself, @r##"
    error: the record of [audit] would take the place of the configuration
       --> sidebearer.toml:16:8
        |
     16 | file = "./sidebearer.toml"
        |        ^^^^^^^^^^^^^^^^^^^ ./sidebearer.toml is named at sidebearer.toml too: expected another file
    "##);
    let tls = "tls = { certificate_file = \"server.pem\", key_file = \"server.key\", client_ca_file = \"clients.pem\", client_crl_file = \"clients.crl\" }\n";
    let unix = "\n[[listeners]]\naddress = \"unix:inner/../app.sock\"\nupstream = \"crm\"\n";
    let interception = "\n[interception]\nkey_directory = \"inner/ca\"\ntrust_directory = \"inner/trust\"\ndomains = [\"example.com\"]\n";
    let forward = FORWARD.to_owned() + "intercept = true\n";
    for (file, is_taken) in [
        ("server.pem", true),
        ("server.key", true),
        ("clients.pem", true),
        ("clients.crl", true),
        ("app.sock", true),
        ("secret", true),
        ("inner/ca/issuer.key", false),
        ("audit.jsonl", false),
        ("inner/secret", false),
        // Only in a directory of configuration files.
        ("more.toml", false),
    ] {
        let audit = audit(file);
        let parts = [
            LISTENER,
            tls,
            unix,
            &forward,
            interception,
            UPSTREAM,
            CREDENTIAL,
            &audit,
        ];
        let said = found(&parts);
        assert_eq!(
            said.contains("would take the place"),
            is_taken,
            "{file}: {said}"
        );
    }
    // What the CA keeps and what clients of it are given.
    let key = LISTENER.to_owned() + "\n[callers.a]\nkey = { file = \"inner/trust/bundle.pem\" }\n";
    let said = found(&[&key, &forward, interception, UPSTREAM, CREDENTIAL]);
    assert!(
        said.contains("what clients of [interception] trust would take the place"),
        "{said}"
    );
    let same = interception.replace("inner/trust", "link/inner/ca");
    let said = found(&[LISTENER, &forward, &same, UPSTREAM, CREDENTIAL]);
    assert!(said.contains("is the directory of the key"), "{said}");
    // Two listeners at one socket file, by two ways.
    let twice = unix.replace("inner/../app.sock", "link/app.sock");
    let said = found(&[unix, &twice, UPSTREAM, CREDENTIAL]);
    assert!(
        said.contains("a unix socket would take the place of a unix socket"),
        "{said}"
    );
}

#[test]
fn a_directory_of_configuration_files_takes_no_record() {
    let main = [LISTENER, UPSTREAM, CREDENTIAL].concat();
    for (file, expected) in [
        ("more.toml", "would be read as configuration"),
        ("main.toml", "would take the place of the configuration"),
        ("audit.toml", "would take the place of the configuration"),
        (".more.toml", ""),
        ("more.jsonl", ""),
    ] {
        let audit = AUDIT.replace("FILE", file);
        let directory = directory(&[("main.toml", &main), ("audit.toml", &audit)]);
        let loaded = load(directory.path());
        let found = loaded.map_or_else(|refused| refused, |loaded| loaded.warnings);
        let said = found.to_string();
        assert_eq!(said.is_empty(), expected.is_empty(), "{file}: {said}");
        assert!(said.contains(expected), "{file}: {said}");
    }
}
