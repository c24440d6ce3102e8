//! Raw HTTP/1.1: each line here is read differently by some pair of servers that have been sold.

use super::{HOST, assert_healthy, attack, world};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n";

/// Asserts that each of these is refused with this status, that nothing of it arrives, and that
/// nothing behind it is answered.
async fn all_refused(status: u16, cases: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let (recorder, sidebearer) = world("");
    for case in cases {
        let case = case.as_ref();
        let (answers, arrived) = attack(&recorder, &sidebearer, case).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(
            (arrived, &statuses[..]),
            (0, &[status][..]),
            "{}",
            case.escape_ascii()
        );
        assert!(answers[0].head.to_lowercase().contains("connection: close"));
    }
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn a_body_of_two_lengths_is_refused() {
    let with =
        |lines: &str| format!("POST / HTTP/1.1\r\n{HOST}{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    all_refused(
        400,
        [
            // TE.TE: a coding that one side overlooks.
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-encoding: x",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: 'chunked'",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding:\u{b}chunked",
            "Transfer-Encoding: chunked\u{c}",
            "Transfer-Encoding: \u{a0}chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            " Transfer-Encoding: chunked",
            "X: y\r\n Transfer-Encoding: chunked",
            "X: y\r\n\tTransfer-Encoding: chunked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding: chunked\r\n ",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
            "\0Transfer-Encoding: chunked",
            "Transfer-Encoding: chunked\0",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding:",
            "Transfer-Encoding",
            "Transfer-Encoding: gzip\r\nContent-Length: 5",
            // CL.CL.
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: 5,6",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 5 5",
            "Content-Length: 0x5",
            "Content-Length: 5.0",
            "Content-Length: 5e0",
            "Content-Length: \"5\"",
            "Content-Length:",
            "Content-Length: 18446744073709551614",
            "Content-Length: 18446744073709551615",
            "Content-Length: 18446744073709551616",
            "Content-Length: 184467440737095516165",
            "Content-Length : 5",
            "Content-Length\u{b}: 5",
            "Content-Length: 5\r\n 6",
            "Content-Length: \u{b2}",
        ]
        .map(with),
    )
    .await;
}

#[tokio::test]
async fn a_length_beside_chunked_never_counts_and_ends_the_connection() {
    let (recorder, sidebearer) = world("");
    for lines in [
        // CL.TE and TE.CL: what stands behind the body by one of both, is read by neither.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 500",
        "Content-Length: 0\r\ntransfer-ENCODING:chunked",
        "Content-Length: 7\r\nTransfer-Encoding: \t chunked \t",
        "Content-Length: 7\r\nTransfer-Encoding: CHUNKED",
    ] {
        let post = format!("POST / HTTP/1.1\r\n{HOST}{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let (answers, arrived) = attack(&recorder, &sidebearer, post.as_bytes()).await;
        assert_eq!((arrived, answers.len()), (1, 1), "{lines}");
        let seen = recorder.requests().pop().unwrap();
        assert_eq!(seen.body, b"hello");
        assert!(seen.values("content-length").is_empty());
    }
    // The classic attacks, whose second request hides in the body of the first.
    for (length, body) in [
        (6, "0\r\n\r\nG"),
        (4, "5c\r\nGET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (
            13,
            "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
    ] {
        let both = format!("{CHUNKED}Content-Length: {length}\r\n\r\n{body}");
        attack(&recorder, &sidebearer, both.as_bytes()).await;
    }
    assert!(recorder.requests().iter().all(|seen| seen.target == "/"));
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn a_length_said_twice_arrives_once_and_nothing_follows() {
    let (recorder, sidebearer) = world("");
    for (lines, arrives) in [
        ("Content-Length: 5\r\ncontent-length: 5", 1),
        ("Content-Length: 5\r\nX: y\r\nContent-Length: 05", 1),
        // Octal, for some.
        ("Content-Length: 0005", 2),
    ] {
        let post = format!("POST / HTTP/1.1\r\n{HOST}{lines}\r\n\r\nhello");
        let (answers, arrived) = attack(&recorder, &sidebearer, post.as_bytes()).await;
        assert_eq!((arrived, answers.len()), (arrives, arrives), "{lines}");
        let seen = recorder.requests();
        assert_eq!(seen[seen.len() - arrives].value("content-length"), "5");
    }
}

#[tokio::test]
async fn a_head_that_is_no_head_is_refused() {
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n");
    let field = |field: &str| format!("GET / HTTP/1.1\r\n{HOST}{field}\r\n\r\n");
    let lines = [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/3.7",
        "GET / http/1.1",
        "GET / HTTP/1,1",
        "GET / HTTP/01.1",
        "GET / HTTP/1.",
        "GET / ",
        "GET /",
        "GET",
        "",
        "G\u{e9}T / HTTP/1.1",
        "GE(T / HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET /../a HTTP/1.1",
        "GET /a/%2e%2e/b HTTP/1.1",
        "GET /./.. HTTP/1.1",
        "GET /a/.;/b HTTP/1.1",
        "GET /a%2F./b HTTP/1.1",
        "GET /%c0%ae%c0%ae/b HTTP/1.1",
        "GET /a%E0%80%AFb HTTP/1.1",
        "GET /a%f0%80%80%afb HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "POST * HTTP/1.1",
        "OPTIONS *? HTTP/1.1",
        "OPTIONS *a HTTP/1.1",
        "OPTIONS a* HTTP/1.1",
        "GET localhost:80 HTTP/1.1",
        "GET //a:b@c/ HTTP/1.1\u{b}",
        "GET ftp://localhost/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://u:p@localhost/ HTTP/1.1",
        "GET http://localhost:99999/ HTTP/1.1",
        "GET http://local host/ HTTP/1.1",
        "GET / RTSP/1.0",
        "GET / HTTP/1.1\n",
        "GET /\nHTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.1\rX: y",
    ]
    .map(line);
    let fields = [
        "no colon",
        ": empty",
        "X : y",
        "X\t: y",
        "X\u{b}: y",
        "X\0: y",
        "X: y\0",
        "X: y\u{1}z",
        "X: y\u{7f}",
        "X: a\rb",
        "X: a\nY: b",
        "X: y\r\n z",
        "X: y\r\n\tz",
        " X: y",
        "X(: y",
        "X\u{e9}: y",
        "\"X\": y",
        "X: y\r",
        "X: y\n",
        "Host: localhost",
        "Host: other.example",
        "host: localhost",
        "HOST:",
    ]
    .map(field);
    let hosts = [
        "",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: u@localhost\r\n",
        "Host: localhost:x\r\n",
        "Host: localhost:99999\r\n",
        "Host: local/host\r\n",
        "Host: a,b\r\n",
        "Host: [::1\r\n",
        "Host : localhost\r\n",
        "Host: localhost\r\n x\r\n",
    ]
    .map(|host| format!("GET / HTTP/1.1\r\n{host}\r\n"));
    // A client and a server of HTTP/2 that talk past each other.
    let preface = ["PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"].map(str::to_owned);
    let all = lines.into_iter().chain(fields).chain(hosts).chain(preface);
    // An empty line before the request, which is not a fault.
    all_refused(400, all.filter(|case| !case.starts_with("\r\n"))).await;
}

#[tokio::test]
async fn http_0_9_gets_no_answer_of_the_upstreams() {
    all_refused(
        400,
        ["GET /\r\n", "GET /\r\n\r\n", "GET / \r\n\r\n", "GET /\n\n"],
    )
    .await;
}

#[tokio::test]
async fn methods_that_would_echo_the_token_or_tunnel_are_405() {
    let (recorder, sidebearer) = world("");
    for line in [
        "TRACE / HTTP/1.1",
        "trace / HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "CONNECT / HTTP/1.1",
    ] {
        let bytes = format!("{line}\r\n{HOST}Connection: close\r\n\r\n");
        let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
        assert_eq!((arrived, answers.len()), (0, 1), "{line}");
        assert!([400, 405].contains(&answers[0].status), "{line}");
    }
}

#[tokio::test]
async fn an_absolute_target_without_a_path_arrives_with_a_slash() {
    let (recorder, sidebearer) = world("");
    for (target, arrives) in [
        ("http://localhost", "/"),
        ("http://localhost?x=1", "/?x=1"),
        ("http://localhost/?x=1", "/?x=1"),
    ] {
        let get = format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
        attack(&recorder, &sidebearer, get.as_bytes()).await;
        let seen = recorder.requests();
        assert_eq!(seen[seen.len() - 2].target, arrives);
    }
}
