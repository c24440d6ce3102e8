//! A server that reads strictly: what reaches an upstream must leave no reader a choice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rfc9112::Parsed;
pub(crate) use super::rfc9112::{Request, parse, reading};
use super::server;

/// An upstream that reads strictly and keeps everything it saw.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    faults: Vec<String>,
    answers: VecDeque<Vec<u8>>,
}

impl Recorder {
    /// Answers every request with 200, and with its method and target as the body.
    pub(crate) fn start() -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let kept = Arc::clone(&seen);
        let address = server::bytes(move |_, stream| record(stream, Arc::clone(&kept)));
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request gets these bytes for an answer.
    pub(crate) fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.seen.lock().unwrap().answers.push_back(bytes.into());
    }

    /// Every request that arrived whole. Panics when any of what arrived could be read differently.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        assert!(seen.faults.is_empty(), "{:?}", seen.faults);
        seen.requests.clone()
    }

    /// As [`Recorder::requests`], of which there is one.
    pub(crate) fn only(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

async fn record(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    // What is left when the other side closes was the beginning of a request, and none.
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let fault = match parse(&bytes) {
            Parsed::More => continue,
            Parsed::Complete(request, length)
                if length == bytes.len() && request.doubts.is_empty() =>
            {
                let usual = usual_answer(&request);
                let answer = {
                    let mut seen = seen.lock().unwrap();
                    seen.requests.push(*request);
                    seen.answers.pop_front().unwrap_or(usual)
                };
                bytes.clear();
                let _ = stream.write_all(&answer).await;
                continue;
            }
            Parsed::Complete(request, length) if length == bytes.len() => request.doubts.join(", "),
            // Every answer is waited for.
            Parsed::Complete(..) => "something follows a request".to_owned(),
            Parsed::Bad(why) => why.to_owned(),
        };
        let bytes = bytes.escape_ascii();
        seen.lock()
            .unwrap()
            .faults
            .push(format!("{fault}: {bytes}"));
        return;
    }
}

fn usual_answer(request: &Request) -> Vec<u8> {
    let body = format!("{} {}", request.method, request.target);
    let length = body.len();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    if request.method != "HEAD" {
        answer.push_str(&body);
    }
    answer.into_bytes()
}
