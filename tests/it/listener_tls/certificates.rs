//! Whose certificate is presented, and whose is taken.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NAME, OPTIONAL, REQUIRED, Site, WITH_CRL, connect, get, write};
use crate::support::eventually;
use crate::support::tls::Ca;

#[tokio::test]
async fn a_certificate_is_chosen_by_the_name_that_a_client_asks_for() {
    let other = Ca::new();
    let more = "certificates = [\
        { certificate_file = \"a.pem\", key_file = \"a.key\" }, \
        { certificate_file = \"b.pem\", key_file = \"b.key\" }]";
    let site = Site::start_with("", more, |dir, _| {
        write(dir.path(), "a", &other.certificate(&["a.example"]));
        write(dir.path(), "b", &other.certificate(&["*.b.example"]));
    });
    for (name, ca) in [
        ("a.example", &other),
        ("x.b.example", &other),
        (NAME, &site.ca),
    ] {
        connect(site.address(), ca.client(), name).await.unwrap();
    }
    // No certificate has this name: the first one is presented, which the client refuses.
    let refused = connect(site.address(), site.ca.client(), "other.example").await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(NAME), "{refused}");
}

#[tokio::test]
async fn who_has_no_good_certificate_is_refused_where_one_is_required() {
    let site = Site::start(REQUIRED, "");
    let good = site.client(&["spiffe://corp.example/billing"]);
    let with = |certificate| site.ca.client_with(certificate);
    assert_eq!(get(&site, with(&good)).await.unwrap().status, 200);
    let foreign = Ca::new().certificate(&["billing.internal"]);
    let ended = site.clients.certificate_until(&["billing.internal"], 2020);
    for (config, outcome) in [
        (site.ca.client(), "no_certificate"),
        (with(&foreign), "unknown_ca"),
        (with(&ended), "certificate_expired"),
    ] {
        get(&site, config).await.unwrap_err();
        eventually(outcome, async || site.handshakes(outcome).await == 1.0).await;
    }
    assert_eq!(site.api.seen().len(), 1);
}

#[tokio::test]
async fn a_certificate_is_optional_but_never_a_bad_one() {
    let site = Site::start(OPTIONAL, "");
    assert_eq!(get(&site, site.ca.client()).await.unwrap().status, 200);
    let foreign = Ca::new().certificate(&["billing.internal"]);
    get(&site, site.ca.client_with(&foreign)).await.unwrap_err();
    assert_eq!(site.api.seen().len(), 1);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let site = Site::start(WITH_CRL, "");
    let (good, bad) = (site.client(&["a.internal"]), site.client(&["b.internal"]));
    site.sidebearer
        .write("clients.crl", &site.clients.crl(&[&bad], 4000));
    site.sidebearer.reload().await.unwrap();
    let config = |certificate| site.ca.client_with(certificate);
    assert_eq!(get(&site, config(&good)).await.unwrap().status, 200);
    get(&site, config(&bad)).await.unwrap_err();
    eventually("it is counted", async || {
        site.handshakes("certificate_revoked").await == 1.0
    })
    .await;
}

/// A first message of TLS 1.1 at most, as a client of that time sends it (RFC 4346 section 7.4.1.2).
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    // No session, two suites of AES with CBC and SHA-1, and no compression.
    body.extend([0, 0, 4, 0xC0, 0x13, 0x00, 0x2F, 1, 0]);
    let mut message = vec![1, 0, 0, body.len() as u8];
    message.extend(body);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

#[tokio::test]
async fn a_client_that_speaks_no_newer_tls_than_1_1_is_told_and_counted() {
    for newest in ["1.2", "1.3"] {
        let site = Site::start(&format!(", min_version = \"{newest}\""), "");
        let mut client = TcpStream::connect(site.address()).await.unwrap();
        client.write_all(&hello_of_tls_1_1()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        // One alert, fatal: protocol_version, or handshake_failure, since such a client names no algorithms of signatures
        // (RFC 8446 section 6).
        let [21, 3, _, 0, 2, 2, 40 | 70] = answer[..] else {
            panic!("{answer:?}");
        };
        eventually("it is counted", async || {
            site.handshakes("incompatible").await == 1.0
        })
        .await;
        assert_eq!(site.api.seen().len(), 0);
        assert_eq!(get(&site, site.ca.client()).await.unwrap().status, 200);
    }
}
