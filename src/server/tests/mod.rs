//! What waits while a client is served, on paused time: that it happens after so long and not before.

mod distance;
mod drain;
mod expect;
mod flush;
mod handshakes;
mod pings;
mod pools;
mod requests;
mod responses;
mod reviews;
mod tokens;
mod tunnels;
mod waiting;

#[path = "../../../tests/it/support/frames.rs"]
#[allow(dead_code, reason = "the tests over sockets use the rest")]
mod frames;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use self::frames::{DATA, FrameClient, GOAWAY};
use super::shard::in_memory::{InMemoryShard, on_paused_time};
use crate::upstream::in_memory::InMemoryListener;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Where the API of a test is.
fn api() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 80).into()
}

/// A shard before [`api`]; `server` and `upstream` are more lines of their tables.
fn shard(server: &str, upstream: &str) -> InMemoryShard {
    InMemoryShard::start(&format!(
        "[server]\n{server}\n\
         [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"http://{}\"\n{upstream}\n",
        api()
    ))
}

/// Serves each connection to [`api`], numbered from 0, as bytes.
fn serve<F: Future<Output = ()> + 'static>(serve: impl Fn(usize, DuplexStream) -> F + 'static) {
    serve_at(api(), serve);
}

/// Serves each connection to this address, numbered from 0, as bytes.
fn serve_at<F: Future<Output = ()> + 'static>(
    address: SocketAddr,
    serve: impl Fn(usize, DuplexStream) -> F + 'static,
) {
    let mut listener = InMemoryListener::bind(address);
    spawn_local(async move {
        for number in 0.. {
            let stream = listener.accept().await;
            spawn_local(serve(number, stream));
        }
    });
}

/// Answers every request that has no body with `ok`.
fn serve_ok() {
    serve(|_, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            stream.write_all(OK).await.unwrap();
        }
    });
}

/// Reads everything, and answers nothing.
fn serve_nothing() {
    serve(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
}

/// A head, with everything but its first line in lower case; empty at the end of the connection.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    format!("{line}\r\n{}", fields.to_lowercase())
}

/// Everything until the connection ends.
async fn read_rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    String::from_utf8(rest).unwrap()
}

/// Sends a request and reads the response, whose length must be declared.
async fn exchange<S>(stream: &mut S, request: &[u8]) -> (String, String)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await.unwrap();
    read_message(stream).await
}

/// A message whose length is declared: its head and its body.
async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let head = read_head(stream).await;
    let length = head
        .split_once("content-length: ")
        .map_or("0", |(_, rest)| rest);
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Reads until the window that an HTTP/2 connection begins with is used up. Nobody opens it again.
async fn fill_window(client: &mut FrameClient) {
    let mut came = 0;
    while came < 65_535 {
        let frame = client.next().await.expect("an open connection");
        assert_ne!(frame.kind, GOAWAY);
        if frame.kind == DATA {
            came += frame.payload.len();
        }
    }
}

/// That so long has passed. Timers go by whole milliseconds.
#[track_caller]
fn assert_took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    let late = took.checked_sub(expected);
    assert!(
        late.is_some_and(|late| late <= Duration::from_millis(2)),
        "{took:?} in place of {expected:?}"
    );
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
