//! CONNECT over HTTP/2 (RFC 9113 section 8.5): a tunnel in one stream of a connection.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::World;
use super::tunnels::{Seen, far, leading_to, next};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, eventually};

async fn client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends a CONNECT: what is answered, and the stream in both directions.
async fn connect(
    sender: &mut SendRequest<Bytes>,
    target: &str,
) -> (u16, SendStream<Bytes>, RecvStream) {
    let request = Request::connect(target).body(()).unwrap();
    let (answer, sending) = sender.send_request(request, false).unwrap();
    let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
    (answer.status().as_u16(), sending, answer.into_body())
}

async fn tunnel(sender: &mut SendRequest<Bytes>, target: &str) -> (SendStream<Bytes>, RecvStream) {
    let (status, sending, incoming) = connect(sender, target).await;
    assert_eq!(status, 200, "{target}");
    (sending, incoming)
}

async fn comes_back(sending: &mut SendStream<Bytes>, incoming: &mut RecvStream, data: Vec<u8>) {
    sending.send_data(data.clone().into(), false).unwrap();
    let mut back = Vec::new();
    while back.len() < data.len() {
        let piece = timeout(PATIENCE, incoming.data())
            .await
            .expect("data")
            .unwrap()
            .unwrap();
        incoming
            .flow_control()
            .release_capacity(piece.len())
            .unwrap();
        back.extend_from_slice(&piece);
    }
    assert!(back == data, "{} bytes", back.len());
}

/// How the next piece ends the stream: with a reset, or by its end.
async fn end_of(incoming: &mut RecvStream) -> Option<Reason> {
    let ends = async {
        loop {
            match incoming.data().await {
                // The end may come in a frame of its own.
                Some(Ok(piece)) if piece.is_empty() => {}
                next => return next,
            }
        }
    };
    let next = timeout(PATIENCE, ends).await.expect("it ends");
    next.map(|broken| broken.expect_err("no more data").reason().unwrap())
}

#[tokio::test]
async fn each_stream_is_a_tunnel_of_its_own() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut sender = client(sidebearer.address()).await;
    let (mut one, mut from_one) = tunnel(&mut sender, "far.old.internal:8443").await;
    let (mut other, mut from_other) = tunnel(&mut sender, &far.to_string()).await;
    comes_back(&mut one, &mut from_one, b"ping".to_vec()).await;
    comes_back(&mut other, &mut from_other, vec![7; 200_000]).await;
    let open = "sidebearer_tunnels{listener=\"proxy\",upstream=\"far\"}";
    assert_eq!(sidebearer.metric(open).await, 2.0);

    // The end of a stream is that of one direction.
    one.send_data(Bytes::new(), true).unwrap();
    while next(&mut seen).await != Seen::End {}
    let bye = from_one.data().await.unwrap().unwrap();
    assert_eq!(bye, "bye");
    assert_eq!(end_of(&mut from_one).await, None);
    comes_back(&mut other, &mut from_other, b"goes on".to_vec()).await;
    other.send_data("finish".into(), false).unwrap();
    assert_eq!(end_of(&mut from_other).await, None);
    other.send_data("more".into(), false).unwrap();
    while next(&mut seen).await != Seen::Bytes("more".to_owned()) {}
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_stream_that_is_reset() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut sender = client(sidebearer.address()).await;
    let (mut sending, mut incoming) = tunnel(&mut sender, &far.to_string()).await;
    sending.send_data("break".into(), false).unwrap();
    assert_eq!(end_of(&mut incoming).await, Some(Reason::CONNECT_ERROR));

    let (mut sending, mut incoming) = tunnel(&mut sender, &far.to_string()).await;
    comes_back(&mut sending, &mut incoming, b"ping".to_vec()).await;
    sending.send_reset(Reason::CANCEL);
    while next(&mut seen).await != Seen::Reset {}
}

#[tokio::test]
async fn a_reload_cuts_the_stream_and_leaves_the_connection() {
    let (far, _seen) = far();
    let other = "[upstreams.other]\nurl = \"https://127.0.0.1:9\"\nhosts = [\"x.example.com\"]\n";
    let before = leading_to(far, other);
    let sidebearer = Sidebearer::start(&before);
    let mut sender = client(sidebearer.address()).await;
    let (mut sending, mut incoming) = tunnel(&mut sender, &far.to_string()).await;
    comes_back(&mut sending, &mut incoming, b"ping".to_vec()).await;
    let after = before.replace(
        "kind = \"forward\"",
        "kind = \"forward\"\nupstreams = [\"other\"]",
    );
    sidebearer.reconfigure(&after).await.unwrap();
    assert_eq!(end_of(&mut incoming).await, Some(Reason::CONNECT_ERROR));
    let (status, ..) = connect(&mut sender, &far.to_string()).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn what_is_refused_over_http1_is_refused_in_a_stream() {
    let world = World::start();
    let mut sender = client(world.address()).await;
    let crm = world.crm.address.to_string();
    let own = world.address().to_string();
    for (target, expected) in [
        (crm.as_str(), 403),
        ("crm.old.internal:8443", 403),
        ("evil.example:443", 403),
        (own.as_str(), 508),
        ("crm.old.internal", 400),
        ("crm.old.internal:0", 400),
    ] {
        let (status, ..) = connect(&mut sender, target).await;
        assert_eq!(status, expected, "{target}");
    }
    let nobody = leading_to("127.0.0.1:9".parse().unwrap(), "");
    let sidebearer = Sidebearer::start(&nobody);
    let mut sender = client(sidebearer.address()).await;
    let (status, ..) = connect(&mut sender, "127.0.0.1:9").await;
    assert_eq!(status, 502);
}

#[tokio::test]
async fn tunnels_end_with_the_connection_that_they_are_streams_of() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (mut sending, mut incoming) = tunnel(&mut sender, &far.to_string()).await;
    comes_back(&mut sending, &mut incoming, b"ping".to_vec()).await;
    connection.abort();
    while !matches!(next(&mut seen).await, Seen::Reset | Seen::End) {}
    let open = "sidebearer_tunnels{listener=\"proxy\",upstream=\"far\"}";
    eventually("it is closed", async || {
        sidebearer.metric(open).await == 0.0
    })
    .await;
}
