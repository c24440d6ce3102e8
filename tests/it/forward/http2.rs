//! CONNECT over HTTP/2 (RFC 9113 section 8.5): a tunnel in one stream of a connection.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::client::handshake;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::World;
use super::tunnels::{Seen, far, leading_to, next};
use crate::support::client::Connection;
use crate::support::server::{self, Body, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, eventually};

async fn client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(stream).await.unwrap();
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
async fn nothing_is_dialled_for_a_client_that_has_gone() {
    // A proxy on the way that never answers.
    let (saw, mut seen) = mpsc::unbounded_channel();
    let proxy = server::bytes(move |_, mut stream| {
        let saw = saw.clone();
        async move {
            read_head(&mut stream).await;
            saw.send("asked").unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            saw.send("given up").unwrap();
        }
    });
    let lines = format!("proxy = \"http://{proxy}\"\nconnect_timeout = \"600s\"\n");
    let config = leading_to(proxy, "").replace("hosts = ", &format!("{lines}hosts = "));
    let sidebearer = Sidebearer::start(&config);
    let mut expect = async |what: &str| {
        let next = timeout(PATIENCE, seen.recv()).await;
        assert_eq!(next.expect(what), Some(what));
    };
    let target = "far.old.internal:8443";
    let mut http1 = TcpStream::connect(sidebearer.address()).await.unwrap();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    http1.write_all(connect.as_bytes()).await.unwrap();
    expect("asked").await;
    drop(http1);
    expect("given up").await;
    let mut sender = client(sidebearer.address()).await;
    let request = Request::connect(target).body(()).unwrap();
    let (answer, mut sending) = sender.send_request(request, false).unwrap();
    expect("asked").await;
    sending.send_reset(Reason::CANCEL);
    expect("given up").await;
    drop(answer);
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
    let (mut sender, connection) = handshake(stream).await.unwrap();
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

/// A stream as a connection.
fn as_connection(mut sending: SendStream<Bytes>, mut incoming: RecvStream) -> DuplexStream {
    let (near, far) = duplex(64 << 10);
    let (mut read, mut write) = split(far);
    tokio::spawn(async move {
        let mut piece = vec![0; 16 << 10];
        while let Ok(length @ 1..) = read.read(&mut piece).await {
            let data = Bytes::copy_from_slice(&piece[..length]);
            sending.send_data(data, false).unwrap();
        }
        let _ = sending.send_data(Bytes::new(), true);
    });
    tokio::spawn(async move {
        while let Some(Ok(piece)) = incoming.data().await {
            let _ = incoming.flow_control().release_capacity(piece.len());
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    near
}

#[tokio::test]
async fn plain_http_of_either_version_inside_of_a_stream_takes_the_way_of_every_request() {
    let world = World::start();
    let mut sender = client(world.address()).await;
    let (sending, incoming) = tunnel(&mut sender, "crm.example.com:80").await;
    let mut inside = Connection::over(as_connection(sending, incoming)).await;
    let large = vec![b'x'; 300_000];
    for (path, host, body, expected) in [
        ("/v2/a", "crm.example.com", large.clone(), 200),
        ("/other", "crm.example.com", Vec::new(), 403),
        ("/v2/a", "plain.old.internal", Vec::new(), 421),
    ] {
        let post = http::Request::post(path).header("host", host);
        let post = post.body(body.into()).unwrap();
        let answer = inside.send(post).await.unwrap();
        assert_eq!(answer.status, expected, "{path} {host}");
    }
    // Others of the same connection go where they name.
    let (sending, incoming) = tunnel(&mut sender, "plain.old.internal:80").await;
    let mut other = Connection::over(as_connection(sending, incoming)).await;
    let get = http::Request::get("/x").header("host", "plain.old.internal");
    let answer = other.send(get.body(Default::default()).unwrap()).await;
    assert_eq!(answer.unwrap().text(), "plain");

    let (sending, incoming) = tunnel(&mut sender, "crm.example.com:80").await;
    let io = TokioIo::new(as_connection(sending, incoming));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut http2, connection): (hyper::client::conn::http2::SendRequest<Body>, _) =
        handshake.await.unwrap();
    tokio::spawn(connection);
    let get = Request::get("http://crm.example.com/v2/b")
        .body(whole(""))
        .unwrap();
    assert_eq!(http2.send_request(get).await.unwrap().status(), 200);

    let seen = world.crm.seen();
    let seen: Vec<_> = seen
        .iter()
        .map(|seen| (&*seen.target, seen.authorization()))
        .collect();
    assert_eq!(
        seen,
        [("/v2/a", "Bearer token-1"), ("/v2/b", "Bearer token-1")]
    );
    assert_eq!(world.crm.seen()[0].body.len(), large.len());

    // Once for each stream.
    let (sending, incoming) = tunnel(&mut sender, "crm.example.com:80").await;
    let mut stream = as_connection(sending, incoming);
    let again = "CONNECT plain.old.internal:80 HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(again.as_bytes()).await.unwrap();
    let mut refused = String::new();
    stream.read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn a_head_inside_of_a_stream_is_waited_for_as_long_as_any_other() {
    let world = World::with("[server]\nheader_timeout = \"1s\"", |_| response(200, ""));
    let mut sender = client(world.address()).await;
    let (sending, incoming) = tunnel(&mut sender, "crm.example.com:80").await;
    let mut stream = as_connection(sending, incoming);
    stream.write_all(b"GET /v2/x HTTP/1.1\r\nHo").await.unwrap();
    let mut refused = String::new();
    let refusal = stream.read_to_string(&mut refused);
    timeout(PATIENCE, refusal).await.expect("it ends").unwrap();
    assert!(refused.starts_with("HTTP/1.1 408 "), "{refused}");
}

#[tokio::test]
async fn what_is_inside_of_a_stream_is_drained_with_its_connection() {
    let world = World::start();
    let mut sender = client(world.address()).await;
    let (sending, incoming) = tunnel(&mut sender, "plain.old.internal:80").await;
    let mut inside = Connection::over(as_connection(sending, incoming)).await;
    let get = || {
        let get = http::Request::get("/x").header("host", "plain.old.internal");
        get.body(Default::default()).unwrap()
    };
    assert_eq!(inside.send(get()).await.unwrap().status, 200);
    drop(sender);
    // It waits for its next request, and does not hold the end up.
    let ended = timeout(PATIENCE, world.sidebearer.ended()).await;
    assert_eq!(ended.expect("it ends").cut, 0);
}

#[tokio::test]
async fn a_client_that_sends_nothing_still_gets_what_comes() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut sender = client(sidebearer.address()).await;
    let request = Request::connect(far.to_string()).body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let mut incoming = answer.await.unwrap().into_body();
    assert_eq!(incoming.data().await.unwrap().unwrap(), "bye");
    assert_eq!(end_of(&mut incoming).await, None);
    assert_eq!(next(&mut seen).await, Seen::End);
}

#[tokio::test]
async fn each_tunnel_in_a_stream_has_a_place_among_the_connections() {
    let (far, _seen) = far();
    let config = format!("[server]\nmax_connections = 3\n{}", leading_to(far, ""));
    let sidebearer = Sidebearer::start(&config);
    let mut sender = client(sidebearer.address()).await;
    let (mut one, mut from_one) = tunnel(&mut sender, &far.to_string()).await;
    let two = tunnel(&mut sender, &far.to_string()).await;
    let (status, ..) = connect(&mut sender, &far.to_string()).await;
    assert_eq!(status, 503);
    drop(two);
    eventually("a place is free", async || {
        connect(&mut sender, &far.to_string()).await.0 == 200
    })
    .await;
    comes_back(&mut one, &mut from_one, b"goes on".to_vec()).await;
}
