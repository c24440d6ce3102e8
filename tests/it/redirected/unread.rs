//! Connections that nobody reads: protocols that are neither HTTP nor TLS, and those in which the server speaks first.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{World, told};
use crate::support::server::{self, read_head};
use crate::support::tunnel::{comes_back, end_of, is_reset};
use crate::support::{PATIENCE, eventually};

/// Sends back what comes, and its end, and counts its connections.
fn echo(world: &World, port: u16) -> Arc<AtomicUsize> {
    let there = &world.network.there;
    let accepted = Arc::new(AtomicUsize::new(0));
    for address in [there.address(port), there.address_v6(port)] {
        let accepted = Arc::clone(&accepted);
        server::bytes_on(there.listen_at(address), move |_, mut stream| {
            accepted.fetch_add(1, SeqCst);
            async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            }
        });
    }
    accepted
}

#[tokio::test]
async fn what_is_neither_http_nor_tls_goes_on_at_once() {
    // Nothing waits for it.
    let Some(world) = World::with("detect_timeout = \"1h\"", "").await else {
        return;
    };
    echo(&world, 443);
    let there = &world.network.there;
    for address in [there.address(443), there.address_v6(443)] {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "\0\0\0\x08",
            "CONNECT crm.example.com:443 HTTP/1.1\r\n\r\n",
        ] {
            let mut stream = world.connect(address);
            comes_back(&mut stream, text).await;
            comes_back(
                &mut stream,
                "GET / HTTP/1.1\r\nHost: crm.example.com\r\n\r\n",
            )
            .await;
            // Half-closes pass.
            stream.shutdown().await.unwrap();
            assert_eq!(end_of(&mut stream).await.unwrap(), 0);
        }
    }
    assert!(world.crm.seen().is_empty());
    eventually("lines", async || world.lines_of("10.0.0.2:443").len() == 6).await;
    let lines = world.lines_of("10.0.0.2:443");
    let begun = lines
        .iter()
        .filter(|line| line["method"] == "CONNECT")
        .count();
    let ended = lines.iter().filter(|line| line["end"] == "closed").count();
    assert_eq!((begun, ended), (3, 3));
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let Some(world) = World::with("detect_timeout = \"50ms\"", "").await else {
        return;
    };
    let there = &world.network.there;
    for address in [there.address(443), there.address_v6(443)] {
        server::bytes_on(there.listen_at(address), |_, mut stream| async move {
            let _ = stream.write_all(b"220 ready\r\n").await;
            let _ = tokio::io::copy(&mut stream.split().0, &mut tokio::io::sink()).await;
        });
        let mut stream = world.connect(address);
        let mut greeting = [0; 11];
        let read = timeout(PATIENCE, stream.read_exact(&mut greeting)).await;
        read.expect("a greeting").unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
        // One that ends its side at once waits for nothing.
        let mut stream = world.connect(address);
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut all))
            .await
            .expect("an end")
            .unwrap();
        assert_eq!(all, b"220 ready\r\n");
    }
}

#[tokio::test]
async fn a_request_after_a_long_silence_still_gets_its_token() {
    let Some(world) = World::with("detect_timeout = \"10ms\"", "").await else {
        return;
    };
    let accepted = echo(&world, 443);
    let mut stream = world.connect(world.network.there.address(443));
    // It has been led on: the silence was long enough.
    eventually("a connection", async || accepted.load(SeqCst) == 1).await;
    stream
        .write_all(b"GET /late HTTP/1.1\r\nHost: secure.example.com\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(world.secure.seen()[0].authorization(), "Bearer token-1");
    // And what is no request goes on by the connection that is there.
    let mut stream = world.connect(world.network.there.address(443));
    eventually("a connection", async || accepted.load(SeqCst) == 2).await;
    comes_back(&mut stream, "\x01\x02").await;
    assert_eq!(accepted.load(SeqCst), 2);
}

#[tokio::test]
async fn what_is_no_request_and_waits_for_its_server_is_led_on() {
    let Some(world) = World::with("detect_timeout = \"10ms\"", "").await else {
        return;
    };
    echo(&world, 443);
    // The first words of a debugger of Java, of which the second ones come only when they are repeated.
    let mut stream = world.connect(world.network.there.address(443));
    comes_back(&mut stream, "JDWP-Handshake").await;
    comes_back(&mut stream, "PING").await;
}

#[tokio::test]
async fn half_a_request_is_never_led_on() {
    let Some(world) = World::with("", "[server]\nheader_timeout = \"300ms\"").await else {
        return;
    };
    let accepted = echo(&world, 443);
    let mut stream = world.connect(world.network.there.address(443));
    stream.write_all(b"GET /half").await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(accepted.load(SeqCst), 0);
    assert!(told(&world.secure).is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset() {
    let Some(world) = World::start().await else {
        return;
    };
    let mut stream = world.connect(world.network.there.address(443));
    stream.write_all(b"\0").await.unwrap();
    assert!(is_reset(end_of(&mut stream).await));
    eventually("a line", async || {
        let lines = world.lines_of("10.0.0.2:443");
        lines.iter().any(|line| line["error"] == "upstream_connect")
    })
    .await;
}

#[tokio::test]
async fn a_reload_ends_what_may_not_stay() {
    let Some(world) = World::start().await else {
        return;
    };
    echo(&world, 443);
    let there = &world.network.there;
    let mut ends = world.connect(there.address(443));
    let mut stays = world.connect(there.address_v6(443));
    comes_back(&mut ends, "\0").await;
    comes_back(&mut stays, "\0").await;
    let path = world.sidebearer.dir().join("sidebearer.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        format!("{config}\n[egress]\ndeny = [\"10.0.0.0/8\"]\n"),
    )
    .unwrap();
    world.sidebearer.signal(Signal::HUP);
    let end = end_of(&mut ends).await;
    assert!(
        end.as_ref().is_ok_and(|read| *read == 0)
            || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
    );
    comes_back(&mut stays, "\0").await;
    eventually("a line", async || {
        let lines = world.lines_of("10.0.0.2:443");
        lines.iter().any(|line| line["end"] == "revoked")
    })
    .await;
}
