//! Bodies pass through; they do not gather.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{send, speaking};
use crate::support::client::{read, streaming};
use crate::support::server::{self, Body, Feed, fed, response, whole};
use crate::support::{any_port, eventually};

/// Bytes whose place can be told, since the period is no power of two.
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
    fn start(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sidebearer.toml");
        let any = any_port();
        let config = format!(
            r#"
[server]
workers = 1
[admin]
address = "{any}"
[[listeners]]
address = "unix:{}/app.sock"
upstream = "api"
[upstreams.api]
url = "{url}"
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

    async fn connect(&self) -> SendRequest<Body> {
        let path = self.dir.path().join("app.sock");
        let mut stream = None;
        eventually("it listens", async || {
            stream = UnixStream::connect(&path).await.ok();
            stream.is_some()
        })
        .await;
        let io = TokioIo::new(stream.unwrap());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Resident memory, in KiB.
    fn resident(&self) -> usize {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let resident = status.split("VmRSS:").nth(1).unwrap();
        resident.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn bodies_of_200_mb_pass_both_ways_in_constant_memory() {
    const BLOCKS: usize = 3200;
    const LENGTH: usize = BLOCKS * Pattern::PERIOD;
    let api = server::serve(None, |request| async move {
        if request.method() == Method::POST {
            let length = compared(request.into_body()).await;
            return response(200, length.to_string());
        }
        let (feed, body) = fed();
        tokio::spawn(Pattern::new().feed(feed, BLOCKS));
        Response::new(body)
    });
    let process = Process::start(&format!("http://{api}"));
    let mut connection = process.connect().await;
    let warm = streaming(Method::POST, "/", whole(""));
    let warm = connection.send_request(warm).await.unwrap();
    read(warm).await.unwrap();
    let before = process.resident();

    let (feed, body) = fed();
    let feeding = tokio::spawn(Pattern::new().feed(feed, BLOCKS));
    let asked = streaming(Method::POST, "/", body);
    let answer = connection.send_request(asked).await.unwrap();
    assert_eq!(read(answer).await.unwrap().text(), LENGTH.to_string());
    feeding.await.unwrap();

    connection.ready().await.unwrap();
    let asked = streaming(Method::GET, "/", whole(""));
    let answer = connection.send_request(asked).await.unwrap();
    assert_eq!(compared(answer.into_body()).await, LENGTH);

    let grown = process.resident().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
}

/// Feeds until nothing is taken any more; how much was.
async fn feed_until_it_stalls(feed: &Feed) -> usize {
    const STALLED: Duration = Duration::from_secs(1);
    let block = Bytes::from(vec![0; 64 * 1024]);
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
        assert!(feed_until_it_stalls(&feed).await > 0);

        let (feed, body) = fed();
        let asked = streaming(Method::POST, "/", body);
        let upload = tokio::spawn(async move { send(address, version, asked).await.status() });
        arrived.notified().await;
        assert!(feed_until_it_stalls(&feed).await > 0);
        go.notify_one();
        assert_eq!(upload.await.unwrap(), 200);
    }
}
