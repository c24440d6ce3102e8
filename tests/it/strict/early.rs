//! Answers that are given before anybody reads the request: the connection ends, or the next request
//! begins exactly where RFC 9112 says, whatever answered and for whatever reason.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HOST, PROBE, answers, attack, config, converse};
use crate::support::idp::{Behaviour, Idp};
use crate::support::sidebearer::Sidebearer;
use crate::support::strict::Recorder;
use crate::support::{PATIENCE, any_port, loopback};

/// A request inside of a body, for a parser that sees the end of the first request elsewhere.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Every way to be answered early, in one process.
struct World {
    recorder: Recorder,
    sidebearer: Sidebearer,
    _idps: [Idp; 2],
}

/// The head of a request that is answered early, up to its framing, and the status of that answer.
struct Early {
    status: u16,
    head: String,
    /// Nothing follows, whatever the framing.
    ends: bool,
}

impl World {
    async fn start() -> Self {
        let recorder = Recorder::start();
        let idps = [Idp::start(), Idp::start()];
        idps[1].behave(Behaviour::Answers(
            400,
            "{\"error\":\"invalid_client\"}".to_owned(),
        ));
        let credential = |name: &str, idp: &Idp| {
            format!(
                "[credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\n\
                 client_secret = {{ file = \"secret\" }}\n",
                idp.endpoint()
            )
        };
        let config = format!(
            r#"
[server]
header_timeout = "1s"
max_header_bytes = "8KiB"

[[listeners]]
name = "app"
address = "{}"

[upstreams]
api = {{ url = "{api}", credential = "api" }}
poor = {{ url = "{api}", credential = "poor" }}
down = {{ url = "http://127.0.0.1:1" }}

[[routes]]
host = "localhost"
upstream = "api"

[[routes]]
host = "narrow"
methods = ["PUT"]
upstream = "api"

[[routes]]
host = "poor"
upstream = "poor"

[[routes]]
host = "down"
upstream = "down"

{}
{}
"#,
            any_port(),
            credential("api", &idps[0]),
            credential("poor", &idps[1]) + "acquire_timeout = \"200ms\"\n",
            api = recorder.url(),
        );
        Self {
            recorder,
            sidebearer: Sidebearer::start(&config),
            _idps: idps,
        }
    }

    async fn early(&self) -> Vec<Early> {
        attack(&self.recorder, &self.sidebearer, b"").await;
        let via = self.recorder.requests()[0].value("via");
        let early = |status, line: &str, more: &str| Early {
            status,
            head: format!("{line} HTTP/1.1\r\n{more}"),
            ends: status == 400 || line.starts_with("CONNECT"),
        };
        vec![
            early(404, "POST /", "Host: foreign.example\r\n"),
            early(404, "POST /", "Host: narrow\r\n"),
            early(
                403,
                "POST /",
                &format!("{HOST}Sec-Fetch-Site: cross-site\r\n"),
            ),
            early(405, "TRACE /", HOST),
            early(405, "trace /", HOST),
            early(405, "CONNECT localhost:80", HOST),
            early(405, "CONNECT /", HOST),
            early(508, "POST /", &format!("{HOST}Via: {via}\r\n")),
            early(503, "POST /", "Host: poor\r\n"),
            early(502, "POST /", "Host: down\r\n"),
            early(400, "POST /a/../b", HOST),
            early(400, "POST /%C0%AE", HOST),
            early(400, "POST /", &HOST.repeat(2)),
            early(400, "POST /", ""),
            early(400, "POST *", HOST),
            early(400, "TRACE /caf\u{e9}", HOST),
            early(400, "TRACE /", &HOST.repeat(2)),
        ]
    }
}

#[tokio::test]
async fn behind_an_early_answer_the_next_request_begins_where_it_should() {
    let world = World::start().await;
    for Early { status, head, ends } in world.early().await {
        let length = HIDDEN.len();
        for (framing, body) in [
            (String::new(), String::new()),
            ("Content-Length: 0\r\n".to_owned(), String::new()),
            (format!("Content-Length: {length}\r\n"), HIDDEN.to_owned()),
            (
                "Transfer-Encoding: chunked\r\n".to_owned(),
                format!("{length:x}\r\n{HIDDEN}\r\n0\r\nX: y\r\n\r\n"),
            ),
        ] {
            let bytes = format!("{head}{framing}\r\n{body}");
            let sent = [bytes.as_bytes(), PROBE.as_bytes()].concat();
            let before = world.recorder.requests().len();
            let answers = answers(&converse(&world.sidebearer, &sent).await);
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            let arrived = world.recorder.requests().split_off(before);
            let targets: Vec<_> = arrived.iter().map(|arrived| &*arrived.target).collect();
            let told = bytes.escape_debug();
            if ends {
                assert_eq!(
                    (&statuses[..], &targets[..]),
                    (&[status][..], &[][..]),
                    "{told}"
                );
                assert!(answers[0].closes(), "{told}");
            } else {
                assert_eq!(statuses, [status, 200], "{told}");
                assert_eq!(targets, ["/probe"], "{told}");
            }
        }
    }
}

#[tokio::test]
async fn unsound_framing_ends_the_connection_whatever_else_would_be_answered() {
    let world = World::start().await;
    let length = HIDDEN.len();
    for Early { head, .. } in world.early().await {
        for framing in [
            &format!("Content-Length: {length}\r\nContent-Length: 1\r\n"),
            &format!("Content-Length: 1\r\nContent-Length: {length}\r\n"),
            "Content-Length: 18446744073709551617\r\n",
            "Content-Length: 9223372036854775808\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: x\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
            "Transfer-Encoding:\r\n",
            "Content-Length : 5\r\n",
            " Content-Length: 5\r\n",
        ] {
            let bytes = format!("{head}{framing}\r\n{HIDDEN}");
            let (answers, arrived) =
                attack(&world.recorder, &world.sidebearer, bytes.as_bytes()).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            let told = bytes.escape_debug();
            assert_eq!((arrived, &statuses[..]), (0, &[400][..]), "{told}");
            assert!(answers[0].closes(), "{told}");
        }
    }
}

#[tokio::test]
async fn two_framings_that_agree_end_the_connection_behind_any_answer() {
    let world = World::start().await;
    let length = HIDDEN.len();
    for Early { status, head, .. } in world.early().await {
        let chunks = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
        for (framing, body) in [
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n".to_owned(),
                &*chunks,
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                &chunks,
            ),
            (format!("Content-Length: {length}\r\n").repeat(2), HIDDEN),
        ] {
            let bytes = format!("{head}{framing}\r\n{body}");
            let (answers, arrived) =
                attack(&world.recorder, &world.sidebearer, bytes.as_bytes()).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            let told = bytes.escape_debug();
            assert_eq!((arrived, &statuses[..]), (0, &[status][..]), "{told}");
            assert!(answers[0].closes(), "{told}");
        }
    }
}

/// What comes later could be the rest of the body, or another request: nobody reads it.
#[tokio::test]
async fn an_answer_before_the_end_of_the_body_ends_the_connection() {
    let world = World::start().await;
    let length = HIDDEN.len() + 5;
    for Early { status, head, .. } in world.early().await {
        for (framing, begun) in [
            (format!("Content-Length: {length}\r\n"), "hello"),
            (
                "Transfer-Encoding: chunked\r\n".to_owned(),
                "5\r\nhello\r\n",
            ),
            (
                format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"),
                "",
            ),
        ] {
            let bytes = format!("{head}{framing}\r\n{begun}");
            let told = bytes.escape_debug().to_string();
            let before = world.recorder.requests().len();
            let mut stream = TcpStream::connect(world.sidebearer.address())
                .await
                .unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut raw = Vec::new();
            let read = async {
                // Up to the end of the head: the rest is sent before anything was closed.
                while !raw.ends_with(b"\r\n\r\n") {
                    raw.push(stream.read_u8().await.unwrap());
                }
                let _ = stream
                    .write_all(format!("{HIDDEN}{PROBE}").as_bytes())
                    .await;
                let _ = stream.read_to_end(&mut raw).await;
            };
            let ended = tokio::time::timeout(PATIENCE, read).await;
            assert!(ended.is_ok(), "still open: {told}");
            let answers = answers(&raw);
            assert_eq!((answers.len(), answers[0].status), (1, status), "{told}");
            assert!(answers[0].closes(), "{told}");
            assert_eq!(world.recorder.requests().len(), before, "{told}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_refused_for_its_size_or_its_slowness_is_the_last() {
    let world = World::start().await;
    let long = "x".repeat(9_000);
    for (bytes, status) in [
        (format!("GET /{long} HTTP/1.1\r\n{HOST}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{HOST}X: {long}\r\n\r\n"), 431),
        (
            format!("TRACE / HTTP/1.1\r\n{HOST}{}\r\n", "X: y\r\n".repeat(300)),
            431,
        ),
    ] {
        let (answers, arrived) = attack(&world.recorder, &world.sidebearer, bytes.as_bytes()).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!((arrived, &statuses[..]), (0, &[status][..]));
        assert!(answers[0].closes());
    }
    // What would end the head comes when it was given up.
    let mut stream = TcpStream::connect(world.sidebearer.address())
        .await
        .unwrap();
    let slow = format!("TRACE / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n");
    stream.write_all(slow.as_bytes()).await.unwrap();
    let mut raw = vec![stream.read_u8().await.unwrap()];
    let _ = stream
        .write_all(format!("\r\nhello{PROBE}").as_bytes())
        .await;
    let _ = stream.read_to_end(&mut raw).await;
    let answers = answers(&raw);
    assert_eq!((answers.len(), answers[0].status), (1, 408));
    assert!(answers[0].closes());
    assert!(world.recorder.requests().is_empty());
}

/// No page takes a body, and no other reader is to see a request where we see one.
#[tokio::test]
async fn a_page_that_is_asked_for_with_a_body_ends_the_connection() {
    let health = loopback();
    let (recorder, idp) = (Recorder::start(), Idp::start());
    let pages = format!("[health]\naddress = \"{health}\"\n");
    let sidebearer = Sidebearer::start(&format!("{pages}{}", config(&recorder.url(), &idp, "")));
    let length = HIDDEN.len();
    for address in [sidebearer.admin(), health] {
        for line in [
            "GET /livez",
            "POST /livez",
            "POST /reload",
            "GET /nowhere",
            "TRACE /livez",
        ] {
            for (framing, body) in [
                (format!("Content-Length: {length}\r\n"), HIDDEN.to_owned()),
                (
                    format!("Content-Length: {length}\r\n").repeat(2),
                    HIDDEN.to_owned(),
                ),
                (
                    format!("Content-Length: {length}\r\nContent-Length: 1\r\n"),
                    HIDDEN.to_owned(),
                ),
                ("Transfer-Encoding: gzip\r\n".to_owned(), HIDDEN.to_owned()),
                (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
                ),
                (
                    "Transfer-Encoding: chunked, chunked\r\n".to_owned(),
                    format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
                ),
                (
                    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                    format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
                ),
            ] {
                let bytes = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{body}");
                let sent = format!("{bytes}GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let raw = crate::support::client::raw(address, sent);
                let raw = tokio::time::timeout(PATIENCE, raw).await.expect("it ends");
                let count = raw.matches("\r\ncontent-length: ").count();
                assert_eq!(count, 1, "{}: {raw}", bytes.escape_debug());
            }
        }
    }
}
