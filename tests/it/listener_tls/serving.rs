//! Requests over TLS, and what is not TLS.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NAME, Site, connect, get, speaking};
use crate::support::api::Api;
use crate::support::client::{self, raw, streaming};
use crate::support::server::whole;
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, unprotected};

#[tokio::test]
async fn both_versions_of_http_are_served_as_the_client_negotiates() {
    let site = Site::start("", "");
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let config = speaking(site.ca.client(), offered);
        let stream = connect(site.address(), config, NAME).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        let request = streaming(Method::POST, "/orders", whole("body"));
        let answer = if chosen == Some(b"h2") {
            let io = TokioIo::new(stream);
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            client::read(sender.send_request(request).await.unwrap()).await
        } else {
            let io = TokioIo::new(stream);
            let handshake = hyper::client::conn::http1::handshake(io).await;
            let (mut sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            client::read(sender.send_request(request).await.unwrap()).await
        };
        assert_eq!(answer.unwrap().text(), "ok");
        let seen = site.api.seen().pop().unwrap();
        assert_eq!((&*seen.target, &seen.body[..]), ("/orders", &b"body"[..]));
    }
    assert_eq!(site.handshakes("success").await, 3.0);
}

#[tokio::test]
async fn a_client_of_http_2_without_alpn_is_known_by_its_preface() {
    let site = Site::start("", "");
    let stream = connect(site.address(), site.ca.client(), NAME)
        .await
        .unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = streaming(Method::GET, "/", whole(Bytes::new()));
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn plain_http_gets_a_400_that_says_so() {
    let site = Site::start("", "");
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(site.address(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("speaks TLS; use https://"), "{answer}");
    }
    assert_eq!(site.handshakes("plaintext").await, 2.0);
    assert!(site.api.seen().is_empty());
}

#[tokio::test]
async fn plain_http_is_one_refused_connection_in_the_audit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let site = Site::start("", &format!("[audit]\nfile = {file:?}"));
    raw(site.address(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    site.sidebearer.ended().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let refused: Vec<_> = text
        .lines()
        .filter(|line| line.contains("\"event\":\"refused\""))
        .collect();
    assert_eq!(refused.len(), 1, "{text}");
    assert!(
        refused[0].contains("\"error\":\"plaintext\",\"count\":1"),
        "{text}"
    );
}

#[tokio::test]
async fn tls_to_a_listener_without_it_gets_a_400_that_says_so() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&unprotected(&api.url(), ""));
    let hello = [22, 3, 1, 0, 200, 1, 0, 0, 196];
    let answer = raw(sidebearer.address(), hello).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("speaks plain HTTP"), "{answer}");
}

#[tokio::test]
async fn tls_inside_of_tls_gets_a_400_that_says_so() {
    let site = Site::start("", "");
    for offered in [&[][..], &["http/1.1"], &["h2"]] {
        let config = speaking(site.ca.client(), offered);
        let mut stream = connect(site.address(), config, NAME).await.unwrap();
        let hello = [22, 3, 1, 0, 200, 1, 0, 0, 196];
        stream.write_all(&hello).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let expected = "TLS came inside of TLS that was ended here already";
        assert!(answer.contains(expected), "{offered:?} {answer}");
    }
}

#[tokio::test]
async fn the_version_that_was_negotiated_is_the_one_that_is_spoken() {
    let site = Site::start("", "");
    for (chosen, request) in [
        ("h2", &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]),
        ("http/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let config = speaking(site.ca.client(), &[chosen]);
        let mut stream = connect(site.address(), config, NAME).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("by ALPN"), "{answer}");
    }
}

#[tokio::test]
async fn a_handshake_that_has_nothing_in_common_fails_and_is_counted() {
    let site = Site::start(", min_version = \"1.3\"", "");
    let mut config = speaking(site.ca.client(), &["spdy/3"]);
    let refused = get(&site, config.clone()).await.unwrap_err();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    config.alpn_protocols.clear();
    assert_eq!(get(&site, config).await.unwrap().status, 200);
    eventually("it is counted", async || {
        site.handshakes("incompatible").await == 1.0
    })
    .await;
}
