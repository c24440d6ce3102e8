//! The CA of interception: what the commands make, and what a running process takes notice of.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::process::{Ended, command, run};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually};

async fn ask(arguments: &[&str]) -> Ended {
    run(command(arguments)).await
}

/// A forward listener with a CA in `ca` for `example.com`. The roots of the system are left out.
fn config() -> String {
    format!(
        "[[listeners]]\naddress = \"{}\"\nkind = \"forward\"\n\
         [upstreams.crm]\nurl = \"https://crm.example.com\"\n\
         [interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\ndomains = [\"example.com\"]\nroots_file = \"roots.pem\"\n",
        any_port()
    )
}

/// One that runs, whose CA is made by the start.
async fn running() -> Sidebearer {
    let dir = tempfile::tempdir().unwrap();
    let others = dir.path().join("others");
    let made = ask(&[
        "ca",
        "create",
        "--domain",
        "example.org",
        "--out",
        others.to_str().unwrap(),
    ])
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    fs::copy(others.join("issuer.pem"), dir.path().join("roots.pem")).unwrap();
    Sidebearer::start_in(dir, &config())
}

async fn roots(sidebearer: &Sidebearer) -> Vec<Value> {
    let status = sidebearer.status().await;
    status["interception"]["roots_sha256"]
        .as_array()
        .unwrap()
        .clone()
}

fn certificates(path: &Path) -> usize {
    let pem = fs::read_to_string(path).unwrap();
    pem.matches("BEGIN CERTIFICATE").count()
}

#[tokio::test]
async fn a_ca_is_made_beforehand_and_nothing_is_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made/ca");
    let out = out.to_str().unwrap();
    let create = [
        "ca",
        "create",
        "--domain",
        "Example.com",
        "--domain",
        "10.1.2.3",
        "--out",
        out,
    ];
    let made = ask(&create).await;
    assert_eq!(
        (made.code, &*made.stdout),
        (0, &*format!("made {out}/issuer.pem and {out}/issuer.key\n")),
        "{made:?}"
    );
    let key = fs::metadata(Path::new(out).join("issuer.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert_eq!(certificates(&Path::new(out).join("issuer.pem")), 2);
    let again = ask(&create).await;
    let expected = format!("error: {out}/issuer.key is there already; nothing was changed\n");
    assert_eq!((again.code, &*again.stderr), (1, &*expected));
    let none = ask(&["ca", "switch", out]).await;
    assert_eq!(none.code, 1);
    assert!(none.stderr.contains("next.pem is missing: "), "{none:?}");
    for domain in ["com", "*.example.com", "a b"] {
        let wrong = ask(&["ca", "create", "--domain", domain, "--out", out]).await;
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(
            wrong
                .stderr
                .starts_with(&format!("error: --domain {domain:?}: ")),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn a_successor_is_published_and_used_on_command_without_a_reload_by_hand() {
    let sidebearer = running().await;
    let dir = sidebearer.dir();
    let (ca, trust) = (dir.join("ca"), dir.join("trust"));
    let ca = ca.to_str().unwrap();
    let first = roots(&sidebearer).await;
    assert_eq!(first.len(), 1);
    assert_eq!(certificates(&trust.join("ca.pem")), 1);
    let metric = |file: &str| {
        format!(
            "sidebearer_interception_certificate_expiry_timestamp_seconds{{certificate_file=\"{ca}/{file}\"}}"
        )
    };
    assert!(sidebearer.metric(&metric("issuer.pem")).await > 0.0);

    let made = ask(&[
        "ca",
        "create",
        "--successor",
        "--domain",
        "example.com",
        "--out",
        ca,
    ])
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    eventually("both are published", async || {
        roots(&sidebearer).await.len() == 2
    })
    .await;
    let both = roots(&sidebearer).await;
    assert_eq!(both[0], first[0]);
    assert_eq!(certificates(&trust.join("ca.pem")), 2);
    assert!(sidebearer.metric(&metric("next.pem")).await > 0.0);

    let switched = ask(&["ca", "switch", ca]).await;
    assert_eq!(
        (switched.code, &*switched.stdout),
        (0, &*format!("the successor is in use: {ca}/issuer.pem\n"))
    );
    let expected = [both[1].clone(), both[0].clone()];
    eventually("the successor signs", async || {
        roots(&sidebearer).await == expected
    })
    .await;
    assert_eq!(certificates(&trust.join("ca.pem")), 2);

    // The old one is forgotten when its file is taken away.
    fs::remove_file(dir.join("ca/previous.pem")).unwrap();
    eventually("one is published", async || {
        roots(&sidebearer).await == expected[..1]
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_cannot_be_used_refuses_a_reload_and_the_last_good_one_serves() {
    let sidebearer = running().await;
    let before = roots(&sidebearer).await;
    let key = sidebearer.dir().join("ca/issuer.key");
    let good = fs::read(&key).unwrap();
    for (mode, content, expected) in [
        (
            0o644,
            &good[..],
            "every user of the machine can use the key",
        ),
        (0o600, b"s3cret", "it holds no unencrypted PEM private key"),
    ] {
        fs::write(&key, content).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let refused = sidebearer.reload().await.unwrap_err().to_string();
        assert!(
            refused.contains(expected) && !refused.contains("s3cret"),
            "{refused}"
        );
        assert_eq!(roots(&sidebearer).await, before);
    }
    fs::write(&key, good).unwrap();
    sidebearer.reload().await.unwrap();
    let config = fs::read_to_string(sidebearer.dir().join("sidebearer.toml")).unwrap();
    sidebearer.write(
        "sidebearer.toml",
        &config.replace("[\"example.com\"]", "[\"example.com\", \"example.net\"]"),
    );
    let refused = sidebearer.reload().await.unwrap_err().to_string();
    assert!(
        refused.contains("the issuer may not sign for \"example.net\""),
        "{refused}"
    );
}

#[tokio::test]
async fn other_roots_of_clients_are_written_again_when_they_change() {
    let sidebearer = running().await;
    let dir = sidebearer.dir();
    let count = || certificates(&dir.join("trust/bundle.pem"));
    assert_eq!(count(), 3);
    let both = fs::read_to_string(dir.join("roots.pem")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    sidebearer.write("roots.pem", both.split_inclusive(end).next().unwrap());
    eventually("one is gone", async || count() == 2).await;
    // What somebody else has written there does not stay.
    fs::write(dir.join("trust/env.sh"), "half of").unwrap();
    sidebearer.reload().await.unwrap();
    let script = fs::read_to_string(dir.join("trust/env.sh")).unwrap();
    assert!(script.contains("export SSL_CERT_FILE="), "{script}");
}
