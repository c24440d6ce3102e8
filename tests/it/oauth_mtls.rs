//! Clients that prove themselves with a certificate (RFC 8705 section 2).

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use sidebearer::config::{AuthorizationServer, ClientAuth, Credential, Tls};
use sidebearer::oauth::{Client, TokenEndpoint, TokenErrorKind};

use crate::support::keys::form;
use crate::support::scripted::{GOOD, Server, credential, http, ok};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, Identity};
use crate::support::{any_port, loopback};

/// A server that speaks to holders of certificates of `clients` alone.
fn demanding(ca: &Ca, clients: &Ca) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let Identity {
        certificate, key, ..
    } = ca.identity(&["localhost"]);
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

fn write(dir: &Path, identity: &Identity) {
    std::fs::write(dir.join("certificate"), &identity.certificate_pem).unwrap();
    std::fs::write(dir.join("key"), &identity.key_pem).unwrap();
}

fn certified(url: &str, ca: &Ca, dir: &Path) -> Credential {
    Credential {
        auth: ClientAuth::Certificate { self_signed: false },
        tls: Tls {
            ca_file: Some(ca.file()),
            certificate_file: Some(dir.join("certificate")),
            key_file: Some(dir.join("key")),
            ..Tls::default()
        },
        ..credential(url)
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_new_client_and_a_broken_one_changes_nothing() {
    let (ca, clients, strangers) = (Ca::new(), Ca::new(), Ca::new());
    let server = Server::with_tls(Some(demanding(&ca, &clients)), |_| ok(GOOD)).await;
    let url = format!("https://localhost:{}/token", server.address.port());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &strangers.identity(&["billing"]));
    let client = Client::new(&certified(&url, &ca, dir.path())).unwrap();

    let refused = client.request().await.unwrap_err();
    assert_eq!(refused.kind, TokenErrorKind::Unreachable, "{refused}");
    assert!(!client.secret_changed());

    write(dir.path(), &clients.identity(&["billing"]));
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
    let next = clients.identity(&["billing"]);
    let certificate = dir.path().join("certificate");
    std::fs::write(&certificate, &next.certificate_pem).unwrap();
    client.request().await.unwrap();
    std::fs::write(&certificate, &next.certificate_pem[..100]).unwrap();
    client.request().await.unwrap();
    std::fs::remove_file(&certificate).unwrap();
    client.request().await.unwrap();
    write(dir.path(), &next);
    client.request().await.unwrap();
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn discovery_leads_to_the_place_for_certificates() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let mtls = Server::with_tls(Some(demanding(&ca, &clients)), |_| ok(GOOD)).await;
    let alias = format!("https://localhost:{}/mtls", mtls.address.port());
    let plain = ca.identity(&["localhost"]).server(&["http/1.1"]);
    let origin = Server::with_tls(Some(plain), move |request| {
        let host = request
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        match request.starts_with("GET ") {
            true => ok(&json!({
                "issuer": format!("https://{host}"),
                "token_endpoint": format!("https://{host}/token"),
                "mtls_endpoint_aliases": { "token_endpoint": alias },
            })
            .to_string()),
            false => http("400 Bad Request", "", r#"{"error":"invalid_client"}"#),
        }
    })
    .await;
    let issuer = format!("https://localhost:{}", origin.address.port());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &clients.identity(&["billing"]));
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
    let identity = ca.identity(&["localhost"]).server(&["http/1.1"]);
    let server = Server::with_tls(Some(identity), |_| ok(GOOD)).await;
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
