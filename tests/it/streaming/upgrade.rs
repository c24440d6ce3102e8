//! Connections that leave HTTP behind.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::to;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::comes_back;
use crate::support::{PATIENCE, eventually, unprotected};

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello";

/// Switches protocols, returns what comes, and says `bye` when nothing more does.
fn echo() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("upgrade: echo\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        stream.write_all(SWITCH).await.unwrap();
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            stream.write_all(&piece[..length]).await.unwrap();
        }
        let _ = stream.write_all(b"bye").await;
    })
}

async fn upgraded(address: SocketAddr) -> TcpStream {
    upgraded_at(address, "/chat").await
}

async fn upgraded_at(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: echo\r\n"), "{head}");
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    stream
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_and_ends_one_way_at_a_time() {
    let sidebearer = to(echo());
    let mut stream = upgraded(sidebearer.address()).await;
    comes_back(&mut stream, b"ping").await;
    comes_back(&mut stream, &[7; 50_000]).await;
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn what_looks_like_a_refusal_passes_through_an_upgraded_connection() {
    let sidebearer = to(echo());
    let mut stream = upgraded(sidebearer.address()).await;
    for inner in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "framed HTTP/1.1 431 Too Large\r\n\r\n",
    ] {
        let passed = comes_back(&mut stream, inner.as_bytes());
        timeout(PATIENCE, passed).await.expect("not held back");
    }
}

#[tokio::test]
async fn an_upgraded_connection_may_go_on_until_the_end_of_the_drain() {
    let url = format!("http://{}", echo());
    for (patience, cut) in [("30s", 0), ("1s", 1)] {
        let config = format!(
            "[server]\ndrain_timeout = \"{patience}\"\n{}",
            unprotected(&url, "")
        );
        let mut sidebearer = Sidebearer::start(&config);
        let mut stream = upgraded(sidebearer.address()).await;
        sidebearer.begin_to_end();
        comes_back(&mut stream, b"ping").await;
        if cut == 0 {
            stream.shutdown().await.unwrap();
        }
        let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        // What is cut off must not look like its end.
        assert_eq!(end.expect("it has an end").is_err(), cut == 1);
        let ended = timeout(PATIENCE, sidebearer.ended()).await.unwrap();
        assert_eq!(ended.cut, cut);
    }
}

#[tokio::test]
async fn the_upstream_may_end_its_side_first() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(SWITCH).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            heard.send(rest).unwrap();
        }
    });
    let sidebearer = to(api);
    let mut stream = upgraded(sidebearer.address()).await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    stream.write_all(b"later").await.unwrap();
    stream.shutdown().await.unwrap();
    let heard = timeout(PATIENCE, hears.recv()).await.unwrap();
    assert_eq!(heard.unwrap(), "later");
}

fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_tunnel_that_breaks_off_is_reset_on_its_other_side_too() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            let head = read_head(&mut stream).await;
            stream.write_all(SWITCH).await.unwrap();
            if head.starts_with("GET /broken ") {
                let mut said = [0; 4];
                stream.read_exact(&mut said).await.unwrap();
                return reset(stream);
            }
            let end = stream.read_to_end(&mut Vec::new()).await;
            heard.send(end.map_err(|error| error.kind())).unwrap();
        }
    });
    let sidebearer = to(api);
    let mut stream = upgraded_at(sidebearer.address(), "/broken").await;
    stream.write_all(b"ping").await.unwrap();
    let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    let end = end.expect("it has an end").unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);

    reset(upgraded(sidebearer.address()).await);
    let end = timeout(PATIENCE, hears.recv())
        .await
        .expect("it has an end");
    assert_eq!(end.unwrap(), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_direction_that_has_ended_is_not_reset_because_the_other_breaks_off() {
    let (read, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let api = {
        let (read, gone) = (Arc::clone(&read), Arc::clone(&gone));
        server::bytes(move |_, mut stream| {
            let (read, gone) = (Arc::clone(&read), Arc::clone(&gone));
            async move {
                read_head(&mut stream).await;
                stream.write_all(SWITCH).await.unwrap();
                stream.shutdown().await.unwrap();
                read.notified().await;
                reset(stream);
                gone.notify_one();
            }
        })
    };
    let sidebearer = to(api);
    let mut stream = upgraded(sidebearer.address()).await;
    let mut piece = [0; 64];
    assert_eq!(
        stream.read(&mut piece).await.unwrap(),
        0,
        "its end has come"
    );
    let counted = async |count| {
        let active = r#"sidebearer_upstream_connections{state="active",upstream="api"}"#;
        eventually("it is counted", async || {
            sidebearer.metric(active).await == count
        })
        .await;
    };
    counted(1.0).await;
    read.notify_one();
    gone.notified().await;
    stream.write_all(b"pong").await.unwrap();
    counted(0.0).await;
    let reset = stream.take_error().unwrap();
    assert!(reset.is_none(), "{reset:?}");
}

#[tokio::test]
async fn only_a_protocol_that_was_asked_for_is_switched_to() {
    for (asked, given, switched) in [
        ("foo", "Upgrade: foo\r\n", true),
        ("foo", "Upgrade: FOO\r\n", true),
        ("foo/2, foo/1", "Upgrade: foo/1\r\n", true),
        ("foo, bar", "Upgrade: bar, foo\r\n", true),
        ("foo", "Upgrade: evil\r\n", false),
        ("foo", "Upgrade: foo, evil\r\n", false),
        ("foo", "Upgrade: foo\r\nUpgrade: evil\r\n", false),
        ("foo", "Upgrade: foobar\r\n", false),
        ("foo", "Upgrade: \r\n", false),
        ("foo", "", false),
    ] {
        let api = server::bytes(move |_, mut stream| async move {
            read_head(&mut stream).await;
            let switch =
                format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{given}\r\n");
            stream.write_all(switch.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let sidebearer = to(api);
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {asked}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        let (status, code) = if switched {
            ("101", "")
        } else {
            ("502", "upstream_protocol")
        };
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{given}: {head}"
        );
        if !switched {
            let mut problem = [0; 60];
            stream.read_exact(&mut problem).await.unwrap();
            assert!(String::from_utf8_lossy(&problem).contains(code));
        }
    }
}

#[tokio::test]
async fn a_switch_before_the_end_of_the_request_is_refused() {
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(SWITCH).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let sidebearer = to(api);
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let asked = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\
             Content-Length: 5\r\n{expect}\r\n"
        );
        stream.write_all(asked.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    }
}
