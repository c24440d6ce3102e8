use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use super::*;
use crate::ca;

const INTERCEPTION: &str = r#"
[interception]
key_directory = "ca"
trust_directory = "trust"
domains = ["example.com"]
"#;

/// What is found where `prepare` has made files, without the lines that are quoted.
fn found(interception: &str, prepare: impl FnOnce(&Path)) -> String {
    let parts = [
        FORWARD,
        "intercept = true\n",
        UPSTREAM,
        CREDENTIAL,
        interception,
    ]
    .concat();
    found_in(&parts, prepare)
}

/// The same of a whole file.
fn found_in(text: &str, prepare: impl FnOnce(&Path)) -> String {
    let directory = directory(&[("sidebearer.toml", text)]);
    prepare(directory.path());
    let found = match load(&directory.path().join("sidebearer.toml")) {
        Ok(loaded) => loaded.warnings,
        Err(refused) => refused,
    };
    let found = found.iter().map(|found| {
        format!(
            "{}: {}\n    {}\n",
            found.severity, found.message, found.help
        )
    });
    without(directory.path(), &found.collect::<String>())
}

/// A CA for these domains, in `ca`.
fn with_ca(directory: &Path, domains: &[&str]) {
    let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
    ca::KeyDirectory::new(directory.join("ca"))
        .create(&domains)
        .unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn domains_have_one_form_and_relative_directories_lie_beside_the_file() {
    let text = INTERCEPTION.replace(
        "[\"example.com\"]",
        "[\"Example.COM.\", \"10.1.2.3\", \"[2001:DB8::0]\", \"localhost\", \"github.io\"]\nleaf_lifetime = \"1h\"",
    );
    let (directory, loaded) =
        load_parts(&[FORWARD, "intercept = true\n", UPSTREAM, CREDENTIAL, &text]);
    let config = loaded.unwrap().config;
    let interception = config.interception.as_ref().unwrap();
    assert_eq!(
        interception.domains,
        [
            "example.com",
            "10.1.2.3",
            "[2001:db8::]",
            "localhost",
            "github.io"
        ]
    );
    assert_eq!(interception.key_directory, directory.path().join("ca"));
    assert_eq!(interception.trust_directory, directory.path().join("trust"));
    assert_eq!(interception.leaf_lifetime.as_secs(), 3600);
    // What a change of them decides is watched.
    let files = config.named_files();
    for name in ["issuer.key", "issuer.pem", "next.pem", "previous.pem"] {
        assert!(
            files.contains(&directory.path().join("ca").join(name)),
            "{name}"
        );
    }
    // Nothing was made by reading alone.
    assert!(!directory.path().join("ca").exists() && !directory.path().join("trust").exists());
}

#[test]
fn domains_that_a_ca_may_not_be_for_are_refused() {
    assert_eq!(
        found(
            "[interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\n",
            |_| ()
        ),
        "error: `domains` is missing in [interception]\n    expected domains such as [\"example.com\"]\n",
    );
    for (domains, help) in [
        ("", "expected domains such as [\"example.com\"]"),
        (
            "\"com\"",
            "domains of everybody are below \"com\": name the one that is yours",
        ),
        (
            "\"co.uk\"",
            "domains of everybody are below \"co.uk\": name the one that is yours",
        ),
        (
            "\"*.example.com\"",
            "write \"example.com\": a domain stands for all names below it, too",
        ),
        (
            "\".example.com\"",
            "write \"example.com\": a domain stands for all names below it, too",
        ),
        (
            "\"*\"",
            "wildcards are not possible here: a domain stands for all names below it",
        ),
        (
            "\"a.*.com\"",
            "wildcards are not possible here: a domain stands for all names below it",
        ),
        (
            "\"https://example.com\"",
            "expected a host name or IP address, without port",
        ),
        ("\"::1\"", "write an IPv6 address in brackets: \"[::1]\""),
        (
            "\"10.0.0.0/8\"",
            "expected a host name or IP address, without port",
        ),
    ] {
        let text = INTERCEPTION.replace("\"example.com\"", domains);
        let expected = format!("error: invalid `domains` in [interception]\n    {help}\n");
        assert_eq!(found(&text, |_| ()), expected, "{domains}");
    }
}

#[test]
fn an_issuer_that_is_there_has_to_be_good() {
    assert_eq!(found(INTERCEPTION, |_| ()), "");
    assert_eq!(
        found(INTERCEPTION, |directory| with_ca(
            directory,
            &["example.com", "example.org"]
        )),
        ""
    );
    let others = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.org"])
    });
    let expected = "error: `domains` names what the issuer may not sign for\n    the issuer may not sign for \"example.com\": ";
    assert!(others.starts_with(expected), "{others}");
    let readable = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.com"]);
        set_mode(&directory.join("ca/issuer.key"), 0o644);
    });
    assert_eq!(
        readable,
        "error: `key_directory` does not keep its key secret\n    ca/issuer.key: every user of the machine can use the key; take that away: chmod 0600 ca/issuer.key\n"
    );
    let open = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.com"]);
        set_mode(&directory.join("ca"), 0o755);
    });
    assert_eq!(
        open,
        "error: `key_directory` does not keep its key secret\n    ca: every user of the machine can look into it; take that away: chmod o= ca\n"
    );
    for (name, content, expected) in [
        (
            "issuer.pem",
            "s3cret",
            "ca/issuer.pem: it holds no PEM certificate",
        ),
        (
            "issuer.key",
            "s3cret",
            "ca/issuer.key: it holds no unencrypted PEM private key",
        ),
    ] {
        let broken = found(INTERCEPTION, |directory| {
            with_ca(directory, &["example.com"]);
            std::fs::write(directory.join("ca").join(name), content).unwrap();
        });
        assert_eq!(
            broken,
            format!("error: `key_directory` holds an issuer that cannot be used\n    {expected}\n")
        );
    }
    let half = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.com"]);
        std::fs::remove_file(directory.join("ca/issuer.pem")).unwrap();
    });
    assert_eq!(
        half,
        "error: `key_directory` cannot be used\n    ca/issuer.key is there without issuer.pem: put both there, or take it away\n"
    );
}

#[test]
fn an_issuer_that_ends_soon_or_may_sign_everything_is_warned_about() {
    let ends = found(INTERCEPTION, |directory| {
        let almost_five_years_ago =
            SystemTime::now() - std::time::Duration::from_secs((5 * 365 - 20) * 86400);
        let made = ca::create(&["example.com".to_owned()], almost_five_years_ago).unwrap();
        with_ca(directory, &["example.com"]);
        std::fs::write(directory.join("ca/issuer.pem"), made.chain).unwrap();
        std::fs::write(directory.join("ca/issuer.key"), &*made.key).unwrap();
    });
    let expected = "warning: the issuer in `key_directory` ends soon\n    make a successor (`sidebearer ca create --successor`): it ends on ";
    assert!(ends.starts_with(expected), "{ends}");
    let everything = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.com"]);
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(
            directory.join("ca/issuer.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(directory.join("ca/issuer.key"), key.serialize_pem()).unwrap();
    });
    assert_eq!(
        everything,
        "warning: the issuer in `key_directory` may sign for every name\n    who steals its key can pass for every server; expected an issuer with name constraints\n"
    );
}

#[test]
fn directories_that_cannot_be_written_are_refused() {
    let text = INTERCEPTION
        .replace("\"ca\"", "\"secret/ca\"")
        .replace("\"trust\"", "\"secret\"");
    assert_eq!(
        found(&text, |_| ()),
        "error: `key_directory` cannot be used\n    secret/ca: Not a directory (os error 20)\n\
         error: `trust_directory` cannot be written\n    secret is not a directory\n",
    );
    let same = INTERCEPTION.replace("\"trust\"", "\"ca\"");
    assert_eq!(
        found(&same, |_| ()),
        "error: `trust_directory` is the directory of the key\n    expected another one: clients have to read it, and may not read the key\n",
    );
}

#[test]
fn a_trust_directory_within_that_of_the_key_or_open_to_all_is_told() {
    let within = INTERCEPTION.replace("\"trust\"", "\"ca/trust\"");
    assert_eq!(
        found(&within, |directory| with_ca(directory, &["example.com"])),
        "error: `trust_directory` lies in the directory of the key\n    expected another one: clients have to read it, and may not read the key\n",
    );
    let open = |name: &'static str| {
        found(INTERCEPTION, move |directory| {
            std::fs::create_dir(directory.join("trust")).unwrap();
            set_mode(&directory.join(name), 0o777);
        })
    };
    let expected = "warning: `trust_directory` can be changed by every user\n    take that permission away: chmod o-w trust\n";
    assert_eq!(open("trust"), expected);
    // It could be put aside, and another one in its place.
    let above = open("");
    assert!(
        above.contains("warning: `trust_directory` can be changed by every user"),
        "{above}"
    );
    let sticky = found(INTERCEPTION, |directory| {
        std::fs::create_dir(directory.join("trust")).unwrap();
        set_mode(&directory.join("trust"), 0o1777);
    });
    assert_eq!(sticky, "");
}

#[test]
fn a_successor_has_to_be_fit_for_the_domains() {
    let with_successor = |domains: &'static [&'static str]| {
        found(INTERCEPTION, move |directory| {
            with_ca(directory, &["example.com"]);
            let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
            let directory = ca::KeyDirectory::new(directory.join("ca"));
            directory.create_successor(&domains).unwrap();
            // It need not be there before the switch.
            std::fs::remove_file(directory.file("next.key")).unwrap();
        })
    };
    for fit in [
        &["example.com"][..],
        &["10.1.2.3", "example.org", "example.com"],
    ] {
        assert_eq!(with_successor(fit), "", "{fit:?}");
    }
    for unfit in [&["example.org"][..], &["a.example.com"], &["10.1.2.3"]] {
        let said = with_successor(unfit);
        let expected = "error: `key_directory` holds a successor that may not sign for all of `domains`\n    \
                        ca/next.pem: the issuer may not sign for \"example.com\": its name constraints do not permit it; \
                        take next.pem and next.key away";
        assert!(said.starts_with(expected), "{unfit:?}: {said}");
    }
    let broken = found(INTERCEPTION, |directory| {
        with_ca(directory, &["example.com"]);
        std::fs::write(directory.join("ca/next.pem"), "s3cret").unwrap();
    });
    let expected = "error: `key_directory` holds a successor that cannot be used\n    ca/next.pem: it holds no PEM certificate";
    assert!(broken.starts_with(expected), "{broken}");
}

#[test]
fn what_is_intercepted_has_to_be_in_the_domains() {
    let listener = [FORWARD, "intercept = true\n"].concat();
    let upstreams = r#"
[upstreams.crm]
url = "https://crm.example.com"
hosts = ["crm.example.org:8443", "crm.example.net:80"]

[upstreams.plain]
url = "http://plain.example.org"
"#;
    let outside = "clients would be shown no certificate for it: add it there, or leave it out of what listeners with `intercept` lead to";
    let found = |more: &str| found_in(&[&listener, upstreams, INTERCEPTION, more].concat(), |_| ());
    let expected = format!(
        "error: upstream `crm` is called `crm.example.net`, which is not in `domains` of [interception]\n    {outside}\n"
    );
    assert_eq!(found(""), expected);
    let upstreams = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n[upstreams.plain]\nurl = \"http://plain.example.org\"\n";
    let found = |more: &str| found_in(&[&listener, upstreams, INTERCEPTION, more].concat(), |_| ());
    assert_eq!(found(""), "");
    for (route, is_outside) in [
        ("host = \"crm.example.org\"\nupstream = \"crm\"", true),
        ("host = \"*.example.org\"\nupstream = \"crm\"", true),
        ("host = \"*.example.com\"\nupstream = \"crm\"", false),
        ("host = \"example.com\"\nupstream = \"crm\"", false),
        (
            "listener = \"proxy\"\npath = \"/crm\"\nupstream = \"crm\"",
            false,
        ),
        ("host = \"crm.example.org\"\nupstream = \"plain\"", false),
    ] {
        let shown = found(&format!("\n[[routes]]\n{route}\n"));
        let expected = "which is not in `domains` of [interception]\n";
        assert_eq!(shown.contains(expected), is_outside, "{route}: {shown}");
        assert_eq!(shown.is_empty(), !is_outside, "{route}: {shown}");
    }
}

#[test]
fn interception_needs_a_ca_and_a_ca_interception() {
    let listener = [FORWARD, "intercept = true\n"].concat();
    let without = found_in(&[&listener, UPSTREAM, CREDENTIAL].concat(), |_| ());
    let expected = "error: `intercept` without a CA\n    [interception] is missing: it needs at least `domains`, such as [\"example.com\"]\n";
    assert_eq!(without, expected);
    let unused = found_in(
        &[FORWARD, UPSTREAM, CREDENTIAL, INTERCEPTION].concat(),
        |_| (),
    );
    let expected =
        "warning: [interception] has no effect\n    no listener has `intercept = true`\n";
    assert_eq!(unused, expected);
}

#[test]
fn a_listener_on_the_network_needs_a_ca_that_is_there() {
    let listener = FORWARD.replace("127.0.0.1:3128", "0.0.0.0:3128");
    let listener = [
        &listener,
        "intercept = true\nallow_network = true\nupstreams = [\"*\"]\n",
    ]
    .concat();
    let text = [&listener, UPSTREAM, CREDENTIAL, INTERCEPTION].concat();
    let expected = "error: listener `proxy` can be reached from the network, and there is no CA yet\n    make it beforehand, so that not every replica makes its own: sidebearer ca create --domain DOMAIN --out KEY_DIRECTORY\n";
    assert_eq!(found_in(&text, |_| ()), expected);
    assert_eq!(
        found_in(&text, |directory| with_ca(directory, &["example.com"])),
        ""
    );
}
