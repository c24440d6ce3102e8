//! Secrets in files and variables, which may change or be unusable at any time.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sidebearer::config::{BasicEncoding, ClientAuth, Credential, SecretSource};
use sidebearer::oauth::{Client, TokenEndpoint, TokenErrorKind};

use crate::support::keys::form;
use crate::support::scripted::{GOOD, Server, credential, ok};

#[tokio::test]
async fn a_rotated_secret_is_in_the_next_request() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let write = |secret: &str| std::fs::write(&file, secret).unwrap();
    let from_file = |path: &Path| ClientAuth::SecretBasic {
        secret: SecretSource::File(path.to_owned().into()),
        encoding: BasicEncoding::Form,
    };
    let credential = Credential {
        auth: from_file(&file),
        ..credential(&server.url("/token"))
    };
    let client = Client::new(&credential).unwrap();

    let missing = client.request().await.unwrap_err();
    assert_eq!(missing.kind, TokenErrorKind::Local);
    let reason = format!("cannot read {}: No such file", file.display());
    assert!(missing.message.starts_with(&reason), "{missing}");
    assert!(!client.secret_changed(), "it still cannot be read");
    assert!(server.requests().is_empty());

    write("one\n");
    assert!(client.secret_changed());
    client.request().await.unwrap();
    assert!(!client.secret_changed());
    write("two\n");
    assert!(client.secret_changed());
    client.request().await.unwrap();
    assert!(!client.secret_changed());

    // For a moment it is empty, then gone, then no text.
    let unusable: [&dyn Fn(); 3] = [
        &|| write(""),
        &|| std::fs::remove_file(&file).unwrap(),
        &|| std::fs::write(&file, [0xff]).unwrap(),
    ];
    let faults = [
        "it is empty",
        "it cannot be read: No such file",
        "it cannot be read: it is not",
    ];
    for (spoil, fault) in unusable.iter().zip(faults) {
        spoil();
        assert!(
            !client.secret_changed(),
            "what was good is still what is sent"
        );
        client.request().await.unwrap();
        let found = client.faults();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, file.display().to_string());
        assert!(found[0].fault.starts_with(fault), "{found:?}");
    }
    write("three");
    assert!(client.secret_changed());
    assert_eq!(client.faults(), []);
    client.request().await.unwrap();

    let sent = server.requests();
    for (request, secret) in sent
        .iter()
        .zip(["one", "two", "two", "two", "two", "three"])
    {
        let pair = STANDARD.encode(format!("billing:{secret}"));
        assert!(request.contains(&format!("Basic {pair}\r\n")), "{request}");
    }
    assert_eq!(sent.len(), 6);
}

#[tokio::test]
async fn every_file_at_fault_is_named_whatever_it_is_for() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| SecretSource::File(dir.path().join(name).into());
    let credential = Credential {
        client_id: Some(place("id")),
        auth: ClientAuth::SecretPost {
            secret: place("secret"),
        },
        extra_parameters: [("more".to_owned(), place("parameter"))].into(),
        token_headers: vec![
            ("x-a".parse().unwrap(), place("header")),
            ("x-b".parse().unwrap(), place("header")),
            (
                "x-c".parse().unwrap(),
                SecretSource::Env("NOT_SET_BY_ANYBODY".to_owned()),
            ),
        ],
        ..credential(&server.url("/token"))
    };
    let client = Client::new(&credential).unwrap();
    client.request().await.unwrap_err();
    let mut named: Vec<String> = client
        .faults()
        .into_iter()
        .map(|found| found.file)
        .collect();
    let mut expected = ["id", "secret", "parameter", "header"]
        .map(|name| dir.path().join(name).display().to_string())
        .to_vec();
    expected.push("env NOT_SET_BY_ANYBODY".to_owned());
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected);
}

#[tokio::test]
async fn what_was_good_at_the_start_counts_though_no_request_has_used_it() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let credential = Credential {
        auth: ClientAuth::SecretPost {
            secret: SecretSource::File(file.clone().into()),
        },
        ..credential(&server.url("/token"))
    };
    std::fs::write(&file, "one").unwrap();
    let client = Client::new(&credential).unwrap();
    std::fs::write(&file, "").unwrap();
    client.request().await.unwrap();
    assert_eq!(form(&server.requests()[0])["client_secret"], "one");
}
