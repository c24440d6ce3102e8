//! What a change of files does to new connections and to those that are open.

use std::time::SystemTime;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NAME, OPTIONAL, Site, WITH_CRL, connect, get, speaking, write};
use crate::support::frames::{END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, frame};
use crate::support::tls::Ca;
use crate::support::{eventually, frames};

/// A request whose connection stays open; what the answer says of that.
async fn is_kept(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    !answer.contains("connection: close")
}

#[tokio::test]
async fn new_certificates_serve_new_connections_and_open_ones_go_on() {
    let site = Site::start("", "");
    let expiry = format!(
        "sidebearer_listener_certificate_expiry_timestamp_seconds{{certificate_file=\"{}\",listener=\"app\"}}",
        site.sidebearer.dir().join("own.pem").display()
    );
    let before = site.sidebearer.metric(&expiry).await;
    assert!(before > 0.0);
    let mut kept = connect(site.address(), site.ca.client(), NAME)
        .await
        .unwrap();
    let renewed = Ca::new();
    write(
        site.sidebearer.dir(),
        "own",
        &renewed.certificate_until(&[NAME], 3000),
    );
    site.sidebearer.reload().await.unwrap();
    connect(site.address(), renewed.client(), NAME)
        .await
        .unwrap();
    connect(site.address(), site.ca.client(), NAME)
        .await
        .unwrap_err();
    assert!(is_kept(&mut kept).await);
    let after = site.sidebearer.metric(&expiry).await;
    assert!(after > 0.0 && after < before);
    let status = site.sidebearer.status().await;
    let shown = &status["listeners"]["app"]["tls"]["certificates"][0];
    assert_eq!(shown["expires"].as_f64(), Some(after), "{status}");
}

#[tokio::test]
async fn files_that_cannot_be_used_refuse_a_reload_and_the_last_good_ones_serve() {
    let site = Site::start(WITH_CRL, "");
    for name in ["own.pem", "own.key", "clients.pem", "clients.crl"] {
        let path = site.sidebearer.dir().join(name);
        let good = std::fs::read_to_string(&path).unwrap();
        site.sidebearer.write(name, "nonsense");
        let refused = site.sidebearer.reload().await.unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
        assert!(!refused.contains("nonsense"), "{refused}");
        let client = site.client(&["billing.internal"]);
        let answer = get(&site, site.ca.client_with(&client)).await.unwrap();
        assert_eq!(answer.status, 200);
        site.sidebearer.write(name, &good);
        site.sidebearer.reload().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_of_cas_or_crls_ends_open_connections_gracefully() {
    let site = Site::start(WITH_CRL, "");
    let (good, other) = (site.client(&["a.internal"]), site.client(&["b.internal"]));
    for (name, text) in [
        ("clients.crl", site.clients.crl(&[&other], 4000)),
        ("clients.pem", site.clients.pem.clone() + &Ca::new().pem),
    ] {
        let config = site.ca.client_with(&good);
        let mut first = connect(site.address(), config.clone(), NAME).await.unwrap();
        assert!(is_kept(&mut first).await);
        let config = speaking(config, &["h2"]);
        let second = connect(site.address(), config, NAME).await.unwrap();
        let mut second = FrameClient::over(second, &[]).await;
        let ask = frames::get("/", &[]);
        second
            .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &ask))
            .await;
        assert!(second.outcome(1).await.0.is_ok());

        site.sidebearer.write(name, &text);
        site.sidebearer.reload().await.unwrap();
        // It was idle.
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        while second.next().await.expect("it is told first").kind != GOAWAY {}
    }
}

#[tokio::test]
async fn a_revoked_certificate_counts_no_longer_on_a_living_connection() {
    let identified = "callers = [\"a\"]\n[callers.a]\nspiffe_id = \"spiffe://corp.example/*\"";
    for listener in ["", identified] {
        let site = Site::start(WITH_CRL, listener);
        let names = ["spiffe://corp.example/a"];
        let (good, revoked) = (site.client(&names), site.client(&names));
        let ask = |stream| {
            let head = frames::get("/", &[]);
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
        };
        let mut connections = Vec::new();
        for certificate in [&good, &revoked] {
            let config = speaking(site.ca.client_with(certificate), &["h2"]);
            let stream = connect(site.address(), config, NAME).await.unwrap();
            let mut client = FrameClient::over(stream, &[]).await;
            client.send(&ask(1)).await;
            assert!(client.outcome(1).await.0.is_ok());
            connections.push(client);
        }
        let crl = site.clients.crl(&[&revoked], 4000);
        site.sidebearer.write("clients.crl", &crl);
        site.sidebearer.reload().await.unwrap();
        // They do not know yet that their connections end.
        for (client, is_good) in connections.iter_mut().zip([true, false]) {
            client.send(&ask(3)).await;
            let (outcome, _) = client.outcome(3).await;
            assert_eq!(outcome.is_ok(), is_good, "{outcome:?}");
            if !is_good {
                assert_eq!(outcome.code(), "caller_unknown");
            }
        }
        assert_eq!(site.api.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_change_of_something_else_leaves_connections_open() {
    let site = Site::start(WITH_CRL, "");
    let config = site.ca.client_with(&site.client(&["a.internal"]));
    let mut kept = connect(site.address(), config, NAME).await.unwrap();
    assert!(is_kept(&mut kept).await);
    write(site.sidebearer.dir(), "own", &site.ca.certificate(&[NAME]));
    site.sidebearer.reload().await.unwrap();
    assert!(is_kept(&mut kept).await);
}

/// What kind of handshakes two connections of one client have, whose second may resume the session of the first.
async fn resumes(site: &Site, config: &rustls::ClientConfig) -> bool {
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(site.address(), config.clone(), NAME).await.unwrap();
        // Tickets come behind the handshake.
        assert!(is_kept(&mut stream).await);
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    kinds[1] == HandshakeKind::Resumed
}

#[tokio::test]
async fn a_session_is_resumed_only_where_clients_present_no_certificates() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let site = Site::start("", "");
        let config = site.ca.client_of(&[version]);
        assert!(resumes(&site, &config).await, "{version:?}");
        // The ticket is from before.
        let now = super::config(&site.api, OPTIONAL, "");
        site.sidebearer.reconfigure(&now).await.unwrap();
        for _ in 0..2 {
            assert!(!resumes(&site, &config).await, "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_crl_past_its_next_update_is_seen_before_it_refuses() {
    let grace =
        ", client_ca_file = \"clients.pem\", client_crl_file = \"clients.crl\", crl_grace = \"0s\"";
    let site = Site::start(grace, "");
    let series = "sidebearer_listener_crl_next_update_timestamp_seconds{listener=\"app\"}";
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(site.sidebearer.metric(series).await > now);
    let client = site.client(&["a.internal"]);
    let config = || site.ca.client_with(&client);
    assert_eq!(get(&site, config()).await.unwrap().status, 200);
    site.sidebearer
        .write("clients.crl", &site.clients.crl(&[], 2021));
    site.sidebearer.reload().await.unwrap();
    assert!(site.sidebearer.metric(series).await < now);
    get(&site, config()).await.unwrap_err();
    eventually("it is counted", async || {
        site.handshakes("crl_expired").await == 1.0
    })
    .await;
    // Who shows none is not concerned.
    assert_eq!(get(&site, site.ca.client()).await.unwrap().status, 200);
}
