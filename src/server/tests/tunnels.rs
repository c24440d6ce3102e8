//! Tunnels: upgrades of HTTP/1.1, and extended CONNECT (RFC 8441).

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, Version};

use super::frames::{self, END_HEADERS, HEADERS, PING, frame};
use super::*;

/// Switches protocols, and returns what comes.
fn serve_echo() {
    serve(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
}

#[test]
fn an_upgraded_connection_that_moves_goes_on_and_an_idle_one_ends() {
    on_paused_time(async {
        serve_echo();
        let shard = shard("", "stream_idle_timeout = \"10s\"");
        let mut client = shard.connect();
        let upgrade =
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        client.write_all(upgrade).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        for _ in 0..5 {
            sleep(secs(9)).await;
            client.write_all(b"ping").await.unwrap();
            let mut back = [0; 4];
            client.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"ping");
        }
        let start = Instant::now();
        assert_eq!(read_rest(&mut client).await, "");
        assert_took(start, secs(10));
    });
}

/// An API that takes extended CONNECT, says `first` on each tunnel, and then nothing. When its tunnels
/// ended, by an end or a reset.
fn serve_tunnels(first: usize) -> Rc<RefCell<Vec<Instant>>> {
    let ends = Rc::<RefCell<Vec<_>>>::default();
    let ended = Rc::clone(&ends);
    serve(move |_, stream| {
        let ended = Rc::clone(&ended);
        async move { take_tunnels(stream, first, ended).await }
    });
    ends
}

async fn take_tunnels(stream: DuplexStream, first: usize, ended: Rc<RefCell<Vec<Instant>>>) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        sending.send_data(vec![b'x'; first].into(), false).unwrap();
        let ended = Rc::clone(&ended);
        spawn_local(async move {
            let _open = sending;
            let mut incoming = request.into_body();
            while let Some(Ok(_)) = incoming.data().await {}
            ended.borrow_mut().push(Instant::now());
        });
    }
}

/// A client that has been told that extended CONNECT is taken.
async fn connected(shard: &InMemoryShard) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(shard.connect()).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    sender
}

fn ask(sender: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://localhost/chat")
        .extension(Protocol::from_static("websocket"))
        .body(())
        .unwrap();
    sender.send_request(request, false).unwrap()
}

/// Until the end of the stream, or its reset.
async fn to_its_end(incoming: &mut RecvStream) {
    while let Some(Ok(_)) = incoming.data().await {}
}

#[test]
fn an_idle_tunnel_over_http2_ends_on_both_sides() {
    on_paused_time(async {
        let ends = serve_tunnels(0);
        let shard = shard("", "http = \"2\"\nstream_idle_timeout = \"10s\"");
        let mut sender = connected(&shard).await;
        let (answer, _sending) = ask(&mut sender);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let start = Instant::now();
        to_its_end(&mut answer.into_body()).await;
        assert_took(start, secs(10));
        sleep(secs(1)).await;
        let [end] = ends.borrow()[..] else {
            panic!("{ends:?}")
        };
        assert!(end - start <= secs(10) + Duration::from_millis(2));
    });
}

/// A client with an open tunnel in stream 1, which acknowledges nothing by itself.
async fn raw_tunnel(shard: &InMemoryShard) -> FrameClient {
    let mut client = FrameClient::over(shard.connect(), &[]).await;
    let head = frames::request("CONNECT", "/chat", &[(":protocol", "websocket")]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    client
}

#[test]
fn a_tunnel_whose_client_reads_later_is_not_pinged_meanwhile() {
    on_paused_time(async {
        serve_tunnels(1 << 20);
        let pings = "ping_interval = \"20s\"\nping_timeout = \"5s\"";
        let shard = shard(pings, "http = \"2\"");
        let mut client = raw_tunnel(&shard).await;
        fill_window(&mut client).await;
        let more = timeout(secs(100), client.next()).await;
        assert!(more.is_err(), "{more:?}");
    });
}

/// Silence says nothing of whether the client is still there, and only a ping does.
#[test]
fn a_silent_tunnel_is_pinged_and_ends_with_a_client_that_does_not_answer() {
    on_paused_time(async {
        let ends = serve_tunnels(0);
        let pings = "ping_interval = \"20s\"\nping_timeout = \"5s\"";
        let shard = shard(pings, "http = \"2\"");
        let start = Instant::now();
        let mut client = raw_tunnel(&shard).await;
        while client.next().await.expect("it is pinged first").kind != PING {}
        assert_took(start, secs(20));
        while client.next().await.is_some() {}
        assert_took(start, secs(25));
        sleep(secs(1)).await;
        assert_eq!(ends.borrow().len(), 1, "it ends at the upstream too");
    });
}

#[test]
fn an_upstream_is_waited_for_as_long_as_connect_protocol_timeout_says() {
    on_paused_time(async {
        let late = secs(15);
        serve(move |_, stream| async move {
            sleep(late).await;
            take_tunnels(stream, 0, Rc::default()).await;
        });
        for (patience, status) in [(secs(10), 405), (secs(30), 200)] {
            let patient = format!("connect_protocol_timeout = \"{}s\"", patience.as_secs());
            let shard = shard("", &format!("http = \"2\"\n{patient}"));
            let mut sender = connected(&shard).await;
            let start = Instant::now();
            let (answer, _sending) = ask(&mut sender);
            assert_eq!(answer.await.unwrap().status(), status, "{patience:?}");
            assert_took(start, patience.min(late));
        }
    });
}
