//! Clients that do not trust us, that speak something else, or that do not go on.

use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CRM, Site, get, secure};
use crate::support::client::{self, Connection};
use crate::support::eventually;
use crate::support::server::read_head;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;

/// The first message of a client.
fn first_message(site: &Site, name: &str, alpn: &[&str]) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(site.client(alpn)), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What comes back for these bytes inside of a CONNECT, until its end.
async fn answer_to(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tunnel(site.proxy(), CRM).await;
    // It may be refused before it has been read.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// A record that is a fatal alert.
fn is_alert(answer: &[u8]) -> bool {
    matches!(answer, [21, 3, _, 0, 2, 2, _])
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_gets_no_tunnel_instead() {
    let site = Site::speaking(&["http/1.1"]);
    let stream = tunnel(site.proxy(), CRM).await;
    let refused = secure(stream, "crm.example.com", Ca::new().client()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    site.counted("refused_by_client", 1.0).await;
    assert!(site.crm.seen().is_empty());
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_told_so() {
    let site = Site::speaking(&["http/1.1"]);
    let mut stream = tunnel(site.proxy(), CRM).await;
    let request = b"GET /x HTTP/1.1\r\nHost: crm.example.com\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("came inside of a CONNECT to a port of https; use https://"),
        "{answer}"
    );
    site.counted("plaintext", 1.0).await;
    assert!(site.crm.seen().is_empty());
}

#[tokio::test]
async fn a_first_message_in_pieces_is_put_together() {
    let site = Site::speaking(&["http/1.1"]);
    let hello = first_message(&site, "crm.example.com", &["http/1.1"]);
    let mut stream = tunnel(site.proxy(), CRM).await;
    stream.set_nodelay(true).unwrap();
    // Each byte in a record of its own, and each record in pieces.
    for byte in &hello[5..] {
        for piece in [&[22, 3][..], &[1, 0, 1], &[*byte]] {
            stream.write_all(piece).await.unwrap();
        }
    }
    let mut server_hello = [0; 6];
    stream.read_exact(&mut server_hello).await.unwrap();
    assert_eq!(
        (server_hello[0], server_hello[5]),
        (22, 2),
        "{server_hello:?}"
    );
}

#[tokio::test]
async fn bytes_that_came_behind_connect_are_the_handshake() {
    let site = Site::speaking(&["http/1.1"]);
    let hello = first_message(&site, "crm.example.com", &["http/1.1"]);
    let mut stream = TcpStream::connect(site.proxy()).await.unwrap();
    let connect = format!("CONNECT {CRM} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    let both = [connect.as_bytes(), &hello].concat();
    stream.write_all(&both).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stream.read_u8().await.unwrap(), 22);
}

#[tokio::test]
async fn a_large_first_message_is_read_and_one_without_end_is_refused() {
    let site = Site::speaking(&["http/1.1"]);
    let long = "x".repeat(250);
    let mut alpn = vec!["http/1.1"];
    alpn.extend(std::iter::repeat_n(&*long, 150));
    let hello = first_message(&site, "crm.example.com", &alpn);
    assert!(hello.len() > 37_000, "{}", hello.len());
    let mut stream = tunnel(site.proxy(), CRM).await;
    stream.write_all(&hello).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 22);

    // A message of 16 MiB is announced, and one of 65,535 bytes, and records follow for ever.
    for announced in [[0xff, 0xff, 0xff], [0, 0xff, 0xff]] {
        let mut endless = vec![22, 3, 1, 0x40, 0, 1];
        endless.extend(announced);
        endless.resize(5 + 0x4000, 0);
        for _ in 0..20 {
            endless.extend([22, 3, 1, 0x40, 0]);
            endless.resize(endless.len() + 0x4000, 0);
        }
        let answer = answer_to(&site, &endless).await;
        assert!(is_alert(&answer), "{announced:?}: {answer:?}");
    }
    site.counted("malformed", 2.0).await;
}

#[tokio::test]
async fn odd_server_names_are_refused() {
    let site = Site::speaking(&["http/1.1"]);
    let hello = first_message(&site, "crm.example.com", &["http/1.1"]);
    let at = hello
        .windows(15)
        .position(|name| name == b"crm.example.com");
    let at = at.unwrap();
    for odd in [
        b"crm\0example.com",
        b"crm.example.co\xff",
        b"crm.example.co\n",
        b"crm example.com",
        b"*.m.example.com",
        b"crm..xample.com",
        b".rm.example.com",
        b"crm.example.c/m",
        b"crm.example.co:",
        b"evil.exampl.com",
        b"crm.example.co.",
    ] {
        let mut hello = hello.clone();
        hello[at..at + 15].copy_from_slice(odd);
        let answer = answer_to(&site, &hello).await;
        let odd = odd.escape_ascii();
        assert!(is_alert(&answer), "{odd}: {answer:?}");
    }
    assert!(site.crm.seen().is_empty());
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_in_time_and_gives_its_place_back() {
    let lines = "max_handshakes = 1\nhandshake_timeout = \"600s\"";
    let site = Site::with(&["http/1.1"], lines, |_| {
        crate::support::server::response(200, "crm")
    });
    let mut kept = site.http1().await;
    let answer = kept.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
    let half_open = tunnel(site.proxy(), CRM).await;
    let connect = format!("CONNECT {CRM} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    let refused = client::raw(site.proxy(), &connect).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 sidebearer overloaded\r\n"),
        "{refused}"
    );
    assert!(
        refused.to_lowercase().contains("retry-after: "),
        "{refused}"
    );
    site.counted("shed", 1.0).await;
    // Who is there is served on.
    let answer = kept.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
    drop(half_open);
    eventually("its place is free", async || {
        let mut stream = TcpStream::connect(site.proxy()).await.unwrap();
        stream.write_all(connect.as_bytes()).await.unwrap();
        read_head(&mut stream).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn slow_handshakes_are_given_up() {
    let site = Site::with(&["http/1.1"], "handshake_timeout = \"200ms\"", |_| {
        crate::support::server::response(200, "crm")
    });
    let hello = first_message(&site, "crm.example.com", &["http/1.1"]);
    for begun in [&b""[..], &hello[..1], &hello[..40], &hello[..]] {
        let mut stream = tunnel(site.proxy(), CRM).await;
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        // By its end or by a reset.
        let _ = stream.read_to_end(&mut answer).await;
    }
    site.counted("timeout", 4.0).await;
}

#[tokio::test]
async fn many_names_at_once_are_served_one_after_the_other() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let mut all = Vec::new();
    for number in 0..40 {
        let (proxy, trusted) = (site.proxy(), site.trusted());
        let own = number % 2 == 0;
        all.push(tokio::spawn(async move {
            let name = if own {
                "crm.example.com"
            } else {
                "open.example.com"
            };
            let stream = tunnel(proxy, &format!("{name}:443")).await;
            let client = super::trusting(&trusted, &["http/1.1"]);
            let stream = secure(stream, name, client).await.unwrap();
            let mut connection = Connection::over(stream).await;
            connection.send(get("/open/x", name)).await.unwrap().text()
        }));
    }
    for (number, served) in all.into_iter().enumerate() {
        let expected = if number % 2 == 0 { "crm" } else { "open" };
        assert_eq!(served.await.unwrap(), expected);
    }
}
