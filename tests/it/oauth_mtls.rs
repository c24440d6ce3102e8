//! Clients that prove themselves with a certificate (RFC 8705 section 2).

use std::path::Path;

use serde_json::json;
use sidebearer::config::{AuthorizationServer, ClientAuth, Credential, Tls};
use sidebearer::oauth::{Client, InputFault, TokenEndpoint, TokenErrorKind};

use crate::support::eventually;
use crate::support::keys::form;
use crate::support::scripted::{GOOD, Server, credential, http, ok};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};
use crate::support::{any_port, loopback};

fn write(dir: &Path, certified_key: &CertificateAndKey) {
    std::fs::write(dir.join("certificate"), &certified_key.certificate_pem).unwrap();
    std::fs::write(dir.join("key"), &certified_key.key_pem).unwrap();
}

fn certified(url: &str, ca: &Ca, dir: &Path) -> Credential {
    Credential {
        auth: ClientAuth::Certificate { self_signed: false },
        tls: Tls {
            ca_file: Some(ca.file().into()),
            certificate_file: Some(dir.join("certificate").into()),
            key_file: Some(dir.join("key").into()),
            ..Tls::default()
        },
        ..credential(url)
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_new_client_and_a_broken_one_changes_nothing() {
    let (ca, clients, strangers) = (Ca::new(), Ca::new(), Ca::new());
    let server = Server::with_tls(
        Some(ca.certificate(&["localhost"]).demanding(&clients, &[])),
        |_| ok(GOOD),
    )
    .await;
    let url = format!("https://localhost:{}/token", server.address.port());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &strangers.certificate(&["billing"]));
    let client = Client::new(&certified(&url, &ca, dir.path())).unwrap();

    let refused = client.request().await.unwrap_err();
    assert_eq!(refused.kind, TokenErrorKind::Refused, "{refused}");
    assert_eq!(
        refused.message,
        format!(
            "no TLS connection to localhost:{}: the server refused our client certificate: the \
             server does not trust the CA that signed it; check that tls.certificate_file is the \
             one meant, with any intermediate certificates",
            server.address.port()
        )
    );
    assert!(!client.secret_changed());

    write(dir.path(), &clients.certificate(&["billing"]));
    assert!(client.secret_changed());
    client.request().await.unwrap();
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", "billing"),
    ];
    let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let request = server.requests().remove(0);
    assert_eq!(form(&request), expected.into());
    assert!(!request.contains("authorization:"), "{request}");

    // A new certificate whose key is not there yet, then half a file, then none.
    let next = clients.certificate(&["billing"]);
    let (certificate, key) = (dir.path().join("certificate"), dir.path().join("key"));
    let fails_not = async |file: &Path, expected: &str| {
        assert!(!client.secret_changed(), "the old ones are what is shown");
        client.request().await.unwrap();
        let faults = client.faults();
        let InputFault { file: named, fault } = &faults[0];
        assert_eq!((faults.len(), &**named), (1, file.to_str().unwrap()));
        assert!(fault.contains(expected), "{fault}");
    };
    std::fs::write(&certificate, &next.certificate_pem).unwrap();
    fails_not(&key, "the key is not that of the certificate").await;
    std::fs::write(&certificate, &next.certificate_pem[..100]).unwrap();
    fails_not(&certificate, "its PEM is malformed").await;
    std::fs::remove_file(&certificate).unwrap();
    fails_not(&certificate, "No such file").await;
    write(dir.path(), &next);
    assert!(client.secret_changed());
    assert_eq!(client.faults(), []);
    client.request().await.unwrap();
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_certificate_refused_in_the_handshake_is_a_refusal_that_says_what_to_look_at() {
    let (ca, clients, strangers) = (Ca::new(), Ca::new(), Ca::new());
    let server = || ca.certificate(&["localhost"]);
    for config in [
        server().demanding_in_tls12(&clients, &[]),
        server().demanding(&clients, &[]),
    ] {
        let server = Server::with_tls(Some(config), |_| ok(GOOD)).await;
        let url = format!("https://localhost:{}/token", server.address.port());
        let dir = tempfile::tempdir().unwrap();
        let shown = certified(&url, &ca, dir.path());
        for (certified_key, reason) in [
            (
                clients.certificate_until(&["billing"], 2001),
                "refused our client certificate: it has expired, or is not valid yet; check the \
                 dates of tls.certificate_file",
            ),
            (
                strangers.certificate(&["billing"]),
                "refused our client certificate: the server does not trust the CA that signed it",
            ),
        ] {
            write(dir.path(), &certified_key);
            let error = Client::new(&shown).unwrap().request().await.unwrap_err();
            assert_eq!(error.kind, TokenErrorKind::Refused, "{error}");
            assert!(error.message.contains(reason), "{error}");
        }
        assert!(server.requests().is_empty());
    }

    // TLS 1.2 has no alert for it.
    let config = ca.certificate(&["localhost"]).demanding(&clients, &[]);
    let server = Server::with_tls(Some(config), |_| ok(GOOD)).await;
    let url = format!("https://localhost:{}/token", server.address.port());
    let mut bare = certified(&url, &ca, Path::new(""));
    (bare.tls.certificate_file, bare.tls.key_file) = (None, None);
    let error = Client::new(&bare).unwrap().request().await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Refused, "{error}");
    let reason = "wants a client certificate; name tls.certificate_file and tls.key_file";
    assert!(error.message.contains(reason), "{error}");
}

#[tokio::test]
async fn a_refused_certificate_is_tried_again_as_soon_as_it_changes() {
    let (ca, clients, strangers) = (Ca::new(), Ca::new(), Ca::new());
    let server = Server::with_tls(
        Some(ca.certificate(&["localhost"]).demanding(&clients, &[])),
        |_| ok(GOOD),
    )
    .await;
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
upstream = "api"

[upstreams.api]
url = "http://127.0.0.1:9"
credential = "api"

[credentials.api]
token_endpoint = "https://localhost:{}/token"
client_id = "billing"
auth_method = "tls_client_auth"
tls = {{ ca_file = "ca.pem", certificate_file = "certificate", key_file = "key" }}
"#,
        server.address.port()
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &ca.pem).unwrap();
    write(dir.path(), &strangers.certificate(&["billing"]));
    let sidebearer = Sidebearer::start_in(dir, &config);
    // From now on it waits for at least 30 s: as long as anything here does.
    eventually("it is refused twice", async || {
        let status = sidebearer.status().await["credentials"]["api"].clone();
        status["state"] == "refused" && status["consecutive_failures"] == 2
    })
    .await;
    write(sidebearer.dir(), &clients.certificate(&["billing"]));
    sidebearer.ready().await;
}

#[tokio::test]
async fn discovery_leads_to_the_place_for_certificates() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let mtls = Server::with_tls(
        Some(ca.certificate(&["localhost"]).demanding(&clients, &[])),
        |_| ok(GOOD),
    )
    .await;
    let alias = format!("https://localhost:{}/mtls", mtls.address.port());
    let plain = ca.certificate(&["localhost"]).server(&["http/1.1"]);
    let origin = Server::with_tls(Some(plain), move |request| {
        let host = request
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        if request.starts_with("GET ") {
            ok(&json!({
                "issuer": format!("https://{host}"),
                "token_endpoint": format!("https://{host}/token"),
                "mtls_endpoint_aliases": { "token_endpoint": alias },
            })
            .to_string())
        } else {
            http("400 Bad Request", "", r#"{"error":"invalid_client"}"#)
        }
    })
    .await;
    let issuer = format!("https://localhost:{}", origin.address.port());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &clients.certificate(&["billing"]));
    let credential = Credential {
        server: AuthorizationServer::Issuer(issuer.clone(), issuer.parse().unwrap()),
        ..certified(&issuer, &ca, dir.path())
    };
    Client::new(&credential).unwrap().request().await.unwrap();
    assert_eq!(mtls.targets(), ["POST /mtls HTTP/1.1"]);

    // Without a certificate the alias is of no use.
    let mut bare = credential.clone();
    (bare.tls.certificate_file, bare.tls.key_file) = (None, None);
    let error = Client::new(&bare).unwrap().request().await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Refused);
    assert_eq!(mtls.requests().len(), 1);
}

#[tokio::test]
async fn a_changed_tls_file_keeps_the_token() {
    let ca = Ca::new();
    let certified_key = ca.certificate(&["localhost"]).server(&["http/1.1"]);
    let server = Server::with_tls(Some(certified_key), |_| ok(GOOD)).await;
    let config = format!(
        r#"
[[listeners]]
address = "{}"
upstream = "api"

[upstreams.api]
url = "http://{}"
credential = "api"

[credentials.api]
token_endpoint = "https://localhost:{}/token"
client_id = "billing"
client_secret = {{ file = "secret" }}
tls = {{ ca_file = "ca.pem" }}
"#,
        any_port(),
        loopback(),
        server.address.port()
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    std::fs::write(dir.path().join("ca.pem"), &ca.pem).unwrap();
    let sidebearer = Sidebearer::start_in(dir, &config);
    sidebearer.ready().await;
    sidebearer.write("ca.pem", &format!("# renewed\n{}", ca.pem));
    sidebearer.reload().await.unwrap();
    sidebearer.ready().await;
    assert_eq!(
        server.requests().len(),
        1,
        "the token was not fetched again"
    );
}
