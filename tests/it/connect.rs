//! Connections over real sockets: which protocol they end up with, and what is said when they fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use sidebearer::config::{HttpVersion, Tls};
use sidebearer::upstream::{
    ConnectError, Connected, Connector, Protocols, Stage, TlsError, UpstreamIo, fingerprint,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::support::server::{self, Silent};
use crate::support::tls::{Ca, CertificateAndKey};
use crate::support::{eventually, loopback};

const LONG: Duration = Duration::from_secs(20);

/// As [`serve_at`], to be reached as `localhost`.
fn serve(config: ServerConfig) -> SocketAddr {
    serve_at((Ipv4Addr::LOCALHOST, 0).into(), config)
}

/// Accepts for ever and greets each connection with one byte.
fn serve_at(address: SocketAddr, config: ServerConfig) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = std::net::TcpListener::bind(address).unwrap();
    server::bytes_on(socket, move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let _ = tls.write_all(b"!").await;
                let _ = tls.read(&mut [0]).await;
            }
        }
    })
}

fn trusting(ca: &Ca) -> Tls {
    Tls {
        ca_file: Some(ca.file().into()),
        ..Tls::default()
    }
}

fn connector(url: &str, tls: &Tls, http: HttpVersion) -> Connector {
    Connector::new(&Url::parse(url).unwrap(), tls, http).unwrap()
}

async fn connect(url: &str, tls: &Tls, http: HttpVersion) -> Result<Connected, ConnectError> {
    let connector = connector(url, tls, http);
    connector.connect(Protocols::Any, LONG).await
}

async fn tls_failure(url: &str, tls: &Tls, http: HttpVersion) -> String {
    match connect(url, tls, http).await {
        Err(ConnectError::Tls {
            authority, reason, ..
        }) => {
            assert!(url.ends_with(&authority), "{url} {authority}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn alpn_decides_the_http_version_and_an_upgrade_forces_http1() {
    let ca = Ca::new();
    let both = ca.certificate(&["localhost"]).server(&["h2", "http/1.1"]);
    let url = format!("https://localhost:{}", serve(both).port());
    for (http, protocols, http2) in [
        (HttpVersion::Auto, Protocols::Any, true),
        (HttpVersion::Auto, Protocols::Http1, false),
        (HttpVersion::Http1, Protocols::Any, false),
        (HttpVersion::Http2, Protocols::Any, true),
        (HttpVersion::Http2, Protocols::Http1, false),
    ] {
        let connector = connector(&url, &trusting(&ca), http);
        let mut connected = connector.connect(protocols, LONG).await.unwrap();
        assert_eq!(connected.http2, http2, "{http:?} {protocols:?}");
        let mut greeting = [0];
        connected.io.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"!");
    }
}

#[tokio::test]
async fn a_server_without_http2_is_an_error_only_where_it_is_demanded() {
    let ca = Ca::new();
    for alpn in [&["http/1.1"][..], &[]] {
        let server = ca.certificate(&["localhost"]).server(alpn);
        let url = format!("https://localhost:{}", serve(server).port());
        let auto = connect(&url, &trusting(&ca), HttpVersion::Auto).await;
        assert!(!auto.unwrap().http2);
        let reason = tls_failure(&url, &trusting(&ca), HttpVersion::Http2).await;
        assert!(reason.contains("HTTP"), "{reason}");
    }
}

#[tokio::test]
async fn plain_http_speaks_http2_by_prior_knowledge_alone() {
    let server = Silent::start();
    let url = format!("http://{}", server.address());
    for (http, protocols, http2) in [
        (HttpVersion::Auto, Protocols::Any, false),
        (HttpVersion::Http1, Protocols::Any, false),
        (HttpVersion::Http2, Protocols::Any, true),
        (HttpVersion::Http2, Protocols::Http1, false),
    ] {
        let connector = connector(&url, &Tls::default(), http);
        let connected = connector.connect(protocols, LONG).await.unwrap();
        assert_eq!(connected.http2, http2, "{http:?} {protocols:?}");
        assert_eq!(connected.peer, server.address());
        let UpstreamIo::Tcp(tcp) = connected.io else {
            panic!("no TLS was asked for")
        };
        assert!(tcp.tcp().unwrap().nodelay().unwrap());
    }
}

#[tokio::test]
async fn sessions_are_resumed_between_connections_of_one_connector() {
    let ca = Ca::new();
    let server = serve(ca.certificate(&["localhost"]).server(&["h2"]));
    let url = format!("https://localhost:{}", server.port());
    let connector = connector(&url, &trusting(&ca), HttpVersion::Auto);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let connected = connector.connect(Protocols::Any, LONG).await.unwrap();
        let UpstreamIo::Tls(mut tls) = connected.io else {
            panic!("TLS was asked for")
        };
        // The ticket comes before the first byte of data.
        tls.read_exact(&mut [0]).await.unwrap();
        kinds.push(tls.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn a_chain_with_a_key_of_1024_bits_is_refused_with_a_hint() {
    let read = |name: &str| std::fs::read(format!("tests/keys/rsa1024.{name}pem")).unwrap();
    let certified_key = CertificateAndKey {
        certificate: CertificateDer::from_pem_slice(&read("leaf.")).unwrap(),
        key: PrivateKeyDer::from_pem_slice(&read("leaf.key.")).unwrap(),
        certificate_pem: String::new(),
        key_pem: String::new(),
    };
    let address = serve(certified_key.server(&[]));
    let trusting = Tls {
        ca_file: Some(std::path::PathBuf::from("tests/keys/rsa1024.ca.pem").into()),
        ..Tls::default()
    };
    let url = format!("https://localhost:{}", address.port());
    let reason = tls_failure(&url, &trusting, HttpVersion::Auto).await;
    let hint = "an RSA key of fewer than 2048 bits";
    assert!(reason.contains(hint), "{reason}");
}

#[tokio::test]
async fn a_bad_certificate_is_refused_in_words() {
    let (ca, other) = (Ca::new(), Ca::new());
    let good = serve(ca.certificate(&["localhost"]).server(&[]));
    let good = format!("https://localhost:{}", good.port());

    let reason = tls_failure(&good, &trusting(&other), HttpVersion::Auto).await;
    let file = other.file().display().to_string();
    assert_eq!(
        reason,
        format!("the server's certificate is signed by no CA of {file}")
    );

    let elsewhere = Tls {
        server_name: Some("api.example.com".to_owned()),
        ..trusting(&ca)
    };
    assert_eq!(
        tls_failure(&good, &elsewhere, HttpVersion::Auto).await,
        "the server's certificate is for localhost, not for api.example.com"
    );

    let expired = ca.certificate_until(&["localhost"], 2020).server(&[]);
    let expired = format!("https://localhost:{}", serve(expired).port());
    assert_eq!(
        tls_failure(&expired, &trusting(&ca), HttpVersion::Auto).await,
        "the server's certificate expired on Wed, 01 Jan 2020 00:00:00 GMT"
    );
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_1_3_is_demanded() {
    let ca = Ca::new();
    let certified_key = ca.certificate(&["localhost"]);
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let old = builder
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified_key.certificate], certified_key.key)
        .unwrap();
    let url = format!("https://localhost:{}", serve(old).port());
    let mut tls = trusting(&ca);
    assert!(connect(&url, &tls, HttpVersion::Auto).await.is_ok());
    tls.tls13_only = true;
    let reason = tls_failure(&url, &tls, HttpVersion::Auto).await;
    assert!(reason.contains("TLS versions"), "{reason}");
}

#[tokio::test]
async fn server_name_and_ip_literals_are_verified() {
    let ca = Ca::new();
    let named = serve(ca.certificate(&["api.example.com"]).server(&[]));
    let tls = Tls {
        server_name: Some("api.example.com".to_owned()),
        ..trusting(&ca)
    };
    let by_name = connect(&format!("https://{named}"), &tls, HttpVersion::Auto).await;
    by_name.unwrap();

    let literal = serve_at(loopback(), ca.own_certificate().server(&[]));
    let url = format!("https://{literal}");
    let by_ip = connect(&url, &trusting(&ca), HttpVersion::Auto).await;
    by_ip.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_presented_when_configured() {
    let ca = Ca::new();
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(ca.file()).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let certified_key = ca.certificate(&["localhost"]);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certified_key.certificate], certified_key.key)
        .unwrap();
    let url = format!("https://localhost:{}", serve(config).port());

    let client = ca.certificate(&["client"]);
    let (certificate, key) = (ca.dir().join("client.pem"), ca.dir().join("client.key"));
    std::fs::write(&certificate, &client.certificate_pem).unwrap();
    std::fs::write(&key, &client.key_pem).unwrap();
    let tls = Tls {
        certificate_file: Some(certificate.into()),
        key_file: Some(key.into()),
        ..trusting(&ca)
    };
    let mut with = connect(&url, &tls, HttpVersion::Auto).await.unwrap();
    with.io.read_exact(&mut [0]).await.unwrap();

    // TLS 1.3: the refusal arrives after the client's side of the handshake has ended.
    let connector = connector(&url, &trusting(&ca), HttpVersion::Auto);
    let without = connector.connect(Protocols::Any, LONG).await;
    let refused = without.unwrap().io.read_exact(&mut [0]).await.unwrap_err();
    let told = connector.certificate_refusal(&refused).unwrap();
    let reason =
        "the server wants a client certificate; name tls.certificate_file and tls.key_file";
    let authority = url.trim_start_matches("https://");
    assert_eq!(
        told.to_string(),
        format!("no TLS connection to {authority}: {reason}")
    );
}

#[tokio::test]
async fn a_server_without_tls_is_named_as_such() {
    let plain = server::bytes(|_, mut tcp| async move {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = tcp.read(&mut [0; 4096]).await;
    });
    let url = format!("https://{plain}");
    let ca = Ca::new();
    let reason = tls_failure(&url, &trusting(&ca), HttpVersion::Auto).await;
    assert!(reason.contains("does not answer in TLS"), "{reason}");
}

#[tokio::test]
async fn refused_unresolvable_and_silent_are_told_apart() {
    let address = loopback();
    let refused = connect(
        &format!("http://{address}"),
        &Tls::default(),
        HttpVersion::Auto,
    )
    .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("cannot connect to {address}: Connection refused")
    );

    // No resolver takes a label of 64 characters, so nobody is asked.
    let host = "x".repeat(64);
    let unknown = connect(
        &format!("http://{host}:8080"),
        &Tls::default(),
        HttpVersion::Auto,
    )
    .await
    .unwrap_err();
    assert!(matches!(unknown, ConnectError::Resolve { .. }), "{unknown}");
    let text = unknown.to_string();
    assert!(
        text.starts_with(&format!("cannot resolve {host}:8080: ")),
        "{text}"
    );
    assert!(!text.contains("lookup address information"), "{text}");

    let silent = Silent::start();
    let url = format!("https://{}", silent.address());
    let ca = Ca::new();
    let connector = connector(&url, &trusting(&ca), HttpVersion::Auto);
    // On a loaded machine it may take longer to get there.
    eventually("it gets to the handshake", async || {
        let error = connector.connect(Protocols::Any, Duration::from_millis(200));
        let ConnectError::Timeout { stage, .. } = error.await.unwrap_err() else {
            panic!("it has time for no more than that")
        };
        matches!(stage, Stage::Tls)
    })
    .await;
}

#[tokio::test]
async fn the_next_address_is_tried_when_the_first_refuses() {
    // `localhost` has two addresses on most machines; only one of them listens here.
    let server = Silent::on(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.address().port();
    let url = format!("http://localhost:{port}");
    let connected = connect(&url, &Tls::default(), HttpVersion::Auto).await;
    assert_eq!(connected.unwrap().peer, server.address());
}

#[test]
fn unusable_files_are_named_when_the_connector_is_built() {
    let ca = Ca::new();
    let empty = ca.dir().join("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    let certified_key = ca.certificate(&["client"]);
    let other = ca.dir().join("other.key");
    std::fs::write(&other, ca.certificate(&["other"]).key_pem).unwrap();
    let certificate = ca.dir().join("client.pem");
    std::fs::write(&certificate, certified_key.certificate_pem).unwrap();

    let url = Url::parse("https://localhost").unwrap();
    let failure = |tls: Tls| Connector::new(&url, &tls, HttpVersion::Auto).unwrap_err();
    let with_ca = |file: &str| Tls {
        ca_file: Some(ca.dir().join(file).into()),
        ..Tls::default()
    };
    let absent = failure(with_ca("absent.pem")).to_string();
    assert!(absent.ends_with("absent.pem: No such file or directory"));
    let nothing = failure(with_ca("empty.pem")).to_string();
    assert!(nothing.ends_with("empty.pem: it holds no PEM certificate"));
    let mismatch = failure(Tls {
        certificate_file: Some(certificate.clone().into()),
        key_file: Some(other.into()),
        ..trusting(&ca)
    });
    assert!(
        matches!(mismatch, TlsError::ClientCertificate(_)),
        "{mismatch}"
    );
    let half = failure(Tls {
        certificate_file: Some(certificate.into()),
        ..trusting(&ca)
    });
    assert!(matches!(half, TlsError::ClientCertificate(_)), "{half}");
}

#[test]
fn the_fingerprint_follows_the_content_of_files_where_there_is_tls() {
    let ca = Ca::new();
    let tls = trusting(&ca);
    let fingerprints = || {
        ["https://localhost", "http://localhost"]
            .map(|url| fingerprint(&Url::parse(url).unwrap(), &tls, None))
    };
    let [before, plain] = fingerprints();
    assert_eq!(fingerprints(), [before, plain]);
    std::fs::write(ca.file(), Ca::new().pem).unwrap();
    let [replaced, plain_later] = fingerprints();
    assert_ne!(before, replaced);
    assert_eq!(plain, plain_later);
    std::fs::remove_file(ca.file()).unwrap();
    let [removed, plain_later] = fingerprints();
    assert_ne!(replaced, removed);
    assert_eq!(plain, plain_later);
}
