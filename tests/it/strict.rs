//! What reaches the upstream is exactly one request, or none, for each one that a client sent,
//! whatever it sends: shown by an upstream that reads strictly and keeps everything.

mod bodies;
mod corpus;
mod early;
mod floods;
mod http1;
mod http2;
mod hygiene;
mod targets;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::strict::{Recorder, Request, reading};
use crate::support::{PATIENCE, protected};

const HOST: &str = "Host: localhost\r\n";
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Sidebearer in front of a recorder, with short patience for what stops in the middle.
fn world(lines: &str) -> (Recorder, Sidebearer) {
    let (recorder, idp) = (Recorder::start(), Idp::start());
    let sidebearer = Sidebearer::start(&config(&recorder.url(), &idp, lines));
    (recorder, sidebearer)
}

fn config(url: &str, idp: &Idp, lines: &str) -> String {
    let lines = format!("stream_idle_timeout = \"1s\"\n{lines}");
    let protected = protected(url, &idp.endpoint(), &lines, "");
    format!("[server]\nheader_timeout = \"1s\"\nidle_timeout = \"2s\"\n{protected}")
}

/// Sends bytes, however early they are refused, and reads until the other side closes.
async fn converse(sidebearer: &Sidebearer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answers = Vec::new();
    let both = async {
        // Either may end in a reset: what was read until then counts.
        let _ = tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut answers));
    };
    let ended = tokio::time::timeout(PATIENCE, both).await;
    assert!(ended.is_ok(), "still open: {}", bytes.escape_ascii());
    answers
}

/// An answer on an HTTP/1.1 connection.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// Whether it is sidebearer's own.
    fn is_ours(&self) -> bool {
        self.head
            .to_lowercase()
            .contains("\r\nproxy-status: sidebearer;")
    }

    /// Whether it says that nothing follows.
    fn closes(&self) -> bool {
        self.head.to_lowercase().contains("\r\nconnection: close")
    }
}

/// Answers with a length, one behind the other; those to HEAD have no body all the same.
fn answers(raw: &[u8]) -> Vec<Answer> {
    let mut rest = String::from_utf8_lossy(raw).into_owned();
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let is_head = behind.is_empty() || behind.starts_with("HTTP/1.");
        let lines = head.to_lowercase();
        let length = lines
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        let (body, behind) = behind.split_at(if is_head { 0 } else { length });
        answers.push(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        });
        rest = behind.to_owned();
    }
    answers
}

/// Sends `bytes` with a request behind them, and checks what arrived against what RFC 9112 reads in
/// them. What came back, and how many requests arrived.
async fn attack(
    recorder: &Recorder,
    sidebearer: &Sidebearer,
    bytes: &[u8],
) -> (Vec<Answer>, usize) {
    let sent = [bytes, PROBE.as_bytes()].concat();
    let before = recorder.requests().len();
    let answers = answers(&converse(sidebearer, &sent).await);
    let arrived = recorder.requests().split_off(before);
    let told = format!("{}: {answers:?}", sent.escape_ascii());
    let (read, _) = reading(&sent);
    assert!(arrived.len() <= read.len(), "{arrived:?} for {told}");
    let gist = |request: &Request| (request.method.clone(), request.body.clone());
    for (arrived, read) in arrived.iter().zip(&read) {
        assert_eq!(gist(arrived), gist(read), "{told}");
        assert_eq!(arrived.values("host").len(), 1, "{told}");
    }
    let theirs = answers.iter().filter(|answer| !answer.is_ours()).count();
    assert_eq!(theirs, arrived.len(), "{told}");
    (answers, arrived.len())
}

/// The process is as it was: ready, and with another connection served.
async fn assert_healthy(recorder: &Recorder, sidebearer: &Sidebearer) {
    let get = b"GET /healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let healthy = converse(sidebearer, get);
    let healthy = tokio::time::timeout(PATIENCE, healthy).await;
    let healthy = answers(&healthy.expect("promptly"));
    assert_eq!((healthy[0].status, healthy.len()), (200, 1), "{healthy:?}");
    assert_eq!(recorder.requests().last().unwrap().target, "/healthy");
    let ready = crate::support::client::get(sidebearer.admin(), "/readyz").await;
    assert_eq!(ready.status, 200);
}
