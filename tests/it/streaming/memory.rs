//! Bodies pass through; they do not gather.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{send, speaking};
use crate::support::client::{read, streaming};
use crate::support::process::{Memory, memory, scale};
use crate::support::server::{self, Body, Feed, fed, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, any_port, eventually, unprotected};

/// Bytes whose place can be told, since the period is not a power of two.
struct Pattern {
    block: Bytes,
    at: usize,
}

impl Pattern {
    const PERIOD: usize = 65_521;

    fn new() -> Self {
        let block = (0..Self::PERIOD).map(|at| (at * 31 % 253) as u8);
        Self {
            block: block.collect(),
            at: 0,
        }
    }

    /// Compares the next piece of it.
    fn goes_on_with(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let from = self.at % Self::PERIOD;
            let length = piece.len().min(Self::PERIOD - from);
            let same = piece[..length] == self.block[from..from + length];
            assert!(same, "differs behind {}", self.at);
            self.at += length;
            piece = &piece[length..];
        }
    }

    async fn feed(self, feed: Feed, blocks: usize) {
        for _ in 0..blocks {
            let block = Frame::data(self.block.clone());
            feed.send(Ok(block)).await.unwrap();
        }
    }
}

async fn compared(mut body: Incoming) -> usize {
    let mut pattern = Pattern::new();
    while let Some(frame) = body.frame().await {
        pattern.goes_on_with(&frame.unwrap().into_data().unwrap());
    }
    pattern.at
}

/// The product as a process of its own, to measure it alone.
struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    fn start(url: &str, http: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sidebearer.toml");
        let any = any_port();
        let config = format!(
            r#"
[server]
workers = 1
# Else windows of HTTP/2 grow where the way is long, as every way seems to be on a busy machine.
window_budget = "0B"
[admin]
address = "{any}"
[[listeners]]
address = "unix:{}/app.sock"
upstream = "api"
[upstreams.api]
url = "{url}"
http = "{http}"
"#,
            dir.path().display()
        );
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sidebearer"))
            .args(["run", "--config"])
            .arg(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    async fn connect(&self) -> UnixStream {
        let path = self.dir.path().join("app.sock");
        let mut stream = None;
        eventually("it listens", async || {
            stream = UnixStream::connect(&path).await.ok();
            stream.is_some()
        })
        .await;
        stream.unwrap()
    }

    /// Sends on a connection of its own.
    async fn send(&self, version: &str, request: Request<Body>) -> Response<Incoming> {
        let io = TokioIo::new(self.connect().await);
        if version == "1.1" {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            return sender.send_request(request).await.unwrap();
        }
        let executor = TokioExecutor::new();
        let (mut sender, connection) = http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `SIDEBEARER_TEST_BODY_MB` has them larger than 100 MB.
#[tokio::test]
async fn large_bodies_pass_both_ways_in_constant_memory() {
    let megabytes = scale("SIDEBEARER_TEST_BODY_MB", 100);
    let blocks = megabytes * 1_000_000 / Pattern::PERIOD + 1;
    let length = blocks * Pattern::PERIOD;
    let api = server::serve(None, move |request| async move {
        if request.method() == Method::POST {
            let length = compared(request.into_body()).await;
            return response(200, length.to_string());
        }
        let (feed, body) = fed();
        tokio::spawn(Pattern::new().feed(feed, blocks));
        Response::new(body)
    });
    for version in ["1.1", "2"] {
        let process = Process::start(&format!("http://{api}"), version);
        let warm = streaming(Method::POST, "/", whole(""));
        read(process.send(version, warm).await).await.unwrap();
        let before = memory(process.child.id(), Memory::Now);

        let start = Instant::now();
        let (feed, body) = fed();
        let feeding = tokio::spawn(Pattern::new().feed(feed, blocks));
        let asked = streaming(Method::POST, "/", body);
        let answer = process.send(version, asked).await;
        assert_eq!(read(answer).await.unwrap().text(), length.to_string());
        feeding.await.unwrap();
        let up = memory(process.child.id(), Memory::Peak).saturating_sub(before);

        let asked = streaming(Method::GET, "/", whole(""));
        let answer = process.send(version, asked).await;
        assert_eq!(compared(answer.into_body()).await, length);

        let grown = memory(process.child.id(), Memory::Peak).saturating_sub(before);
        let took = start.elapsed();
        println!(
            "HTTP/{version}: {length} bytes up and down in {took:.0?}: {before} KiB before, at most {up} KiB more up, {grown} KiB more in all"
        );
        assert!(grown < 4096, "HTTP/{version}: {grown} KiB more");
    }
}

const BLOCK: usize = 64 * 1024;

/// Feeds blocks of this size until nothing is taken any more; how much was.
async fn feed_until_it_stalls(feed: &Feed, size: usize) -> usize {
    const STALLED: Duration = Duration::from_secs(1);
    let block = Bytes::from(vec![0; size]);
    let mut fed = 0;
    while let Ok(sent) = timeout(STALLED, feed.send(Ok(Frame::data(block.clone())))).await {
        sent.unwrap();
        fed += block.len();
        assert!(fed < 64 << 20, "somebody gathers it all");
    }
    fed
}

#[tokio::test]
async fn who_does_not_read_holds_the_other_side_back() {
    for version in ["1.1", "2"] {
        let (feeds, mut responses) = mpsc::unbounded_channel();
        let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let api = {
            let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
            server::serve(None, move |request| {
                let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
                let feeds = feeds.clone();
                async move {
                    if request.method() == Method::POST {
                        arrived.notify_one();
                        go.notified().await;
                        return response(200, "");
                    }
                    let (feed, body) = fed();
                    feeds.send(feed).unwrap();
                    Response::new(body)
                }
            })
        };
        let sidebearer = speaking(version, api);
        let address = sidebearer.address();

        let asked = streaming(Method::GET, "/", whole(""));
        let _unread = send(address, version, asked).await;
        let feed = responses.recv().await.unwrap();
        assert!(feed_until_it_stalls(&feed, BLOCK).await > 0);

        let (feed, body) = fed();
        let asked = streaming(Method::POST, "/", body);
        let upload = tokio::spawn(async move { send(address, version, asked).await.status() });
        arrived.notified().await;
        assert!(feed_until_it_stalls(&feed, BLOCK).await > 0);
        go.notify_one();
        assert_eq!(upload.await.unwrap(), 200);
    }
}

/// Streams that nobody reads, at once on one connection; more than share its window anywhere.
const UNREAD: usize = 40;
const READ: usize = 1 << 20;

/// Answers `/long` at more length than anybody buffers, reads nothing of `/unread`, and everything else before it
/// answers. With HTTP/2 its own window for the connection stands in nobody's way.
fn partly_read() -> SocketAddr {
    let mut settings = h2::server::Builder::new();
    settings.initial_connection_window_size(1 << 30);
    server::http2_with(None, settings, |request, mut respond| async move {
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        if path == "/unread" {
            return std::future::pending().await;
        }
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        let length = if path == "/long" { 4 * READ } else { READ };
        // The library queues it; it leaves as it is read.
        sending.send_data(vec![0; length].into(), true).unwrap();
    })
}

async fn read_partly(request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == "/unread" {
        let _request = request;
        return std::future::pending().await;
    }
    if request.uri().path() == "/long" {
        return response(200, vec![0; 4 * READ]);
    }
    request.into_body().collect().await.unwrap();
    response(200, vec![0; READ])
}

/// A connection whose own window stands in nobody's way.
async fn with_room(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 30);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn streams_that_nobody_reads_stop_no_other() {
    let http1 = server::serve(None, read_partly);
    for (version, api) in [("1.1", http1), ("2", partly_read())] {
        let lines = format!("http = \"{version}\"");
        let config = unprotected(&format!("http://{api}"), &lines);
        let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
        let mut sender = with_room(sidebearer.address()).await;
        let mut ask = async |method, path, last| {
            let asked = streaming(method, path, whole("")).map(drop);
            // On a loaded machine the way seems long, so that windows grow and fewer streams share them.
            sender = match sender.clone().ready().await {
                Ok(sender) => sender,
                Err(_) => with_room(sidebearer.address()).await,
            };
            sender.send_request(asked, last).unwrap()
        };
        let (mut unread, mut stuck) = (Vec::new(), Vec::new());
        for _ in 0..UNREAD {
            let (answer, _) = ask(Method::GET, "/long", true).await;
            let answer = timeout(PATIENCE, answer).await.expect("it is answered");
            let mut body = answer.unwrap().into_body();
            let begun = timeout(PATIENCE, body.data()).await;
            begun.expect("it begins to come").unwrap().unwrap();
            unread.push(body);
            let (answer, mut sending) = ask(Method::POST, "/unread", false).await;
            sending.send_data(vec![0; READ].into(), false).unwrap();
            stuck.push((answer, sending));
        }
        let (answer, mut sending) = ask(Method::POST, "/", false).await;
        sending.send_data(vec![0; READ].into(), true).unwrap();
        let answer = timeout(PATIENCE, answer).await.expect("the upload goes on");
        let mut body = answer.unwrap().into_body();
        let mut read = 0;
        while read < READ {
            let data = timeout(PATIENCE, body.data()).await;
            let length = data.expect("the download goes on").unwrap().unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
            read += length;
        }
    }
}

/// The library takes many small frames for an attack, as those are that an API sends piece by piece.
#[tokio::test]
async fn small_pieces_that_nobody_reads_cut_no_other_stream() {
    let (feeds, mut responses) = mpsc::unbounded_channel();
    let api = server::serve(None, move |_| {
        let feeds = feeds.clone();
        async move {
            let (feed, body) = fed();
            feeds.send(feed).unwrap();
            Response::new(body)
        }
    });
    let config = unprotected(&format!("http://{api}"), "http = \"2\"");
    let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
    let mut sender = with_room(sidebearer.address()).await;
    let mut ask = async || {
        let asked = streaming(Method::GET, "/", whole("")).map(drop);
        sender = sender.clone().ready().await.unwrap();
        let (answer, _) = sender.send_request(asked, true).unwrap();
        let answer = timeout(PATIENCE, answer).await.expect("it is answered");
        let feed = responses.recv().await.unwrap();
        (answer.unwrap().into_body(), feed)
    };
    let (mut read, fed) = ask().await;
    // More frames of 24 bytes than the library takes of as many bytes of another connection.
    const STREAMS: usize = 12;
    let (mut unread, mut feeding) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let (body, feed) = ask().await;
        unread.push(body);
        let filling = async move { (feed_until_it_stalls(&feed, 24).await, feed) };
        feeding.push(tokio::spawn(filling));
    }
    let mut full = Vec::new();
    for filled in feeding {
        let (length, feed) = filled.await.unwrap();
        assert!(length > BLOCK, "{length}");
        full.push(feed);
    }
    fed.send(Ok(Frame::data("still here".into())))
        .await
        .unwrap();
    let data = timeout(PATIENCE, read.data()).await.expect("it arrives");
    assert_eq!(data.unwrap().unwrap(), "still here");
}
