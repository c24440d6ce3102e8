//! Errors of the connection itself: what the library refuses, what comes too slowly, and what only
//! looks like an error.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{GET, answers, assert_error, exchange, impatient, only, towards};
use tokio::time::timeout;

use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::idp::Idp;
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, smallest, unprotected};

#[tokio::test]
async fn what_the_library_refuses_gets_the_same_form() {
    let long = "x".repeat(65_600);
    let wide = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx-wide: {}\r\n\r\n",
        "x".repeat(110 * 1024)
    );
    let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (bytes, status, code, in_detail) in [
        (
            "what is this\r\n\r\n".to_owned(),
            400,
            "bad_request",
            "well-formed",
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}hello tls".repeat(20),
            400,
            "bad_request",
            "speaks plain HTTP",
        ),
        (
            format!("{}no colon\r\n\r\n", &GET[..GET.len() - 2]),
            400,
            "bad_request",
            "well-formed",
        ),
        (
            "GET / HTTP/3.7\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
            "bad_request",
            "well-formed",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            414,
            "uri_too_long",
            "shorten",
        ),
        (wide, 431, "header_too_large", "max_header_bytes"),
        (
            format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            431,
            "header_too_large",
            "",
        ),
    ] {
        let (api, idp) = (Api::open(), Idp::start());
        let sidebearer = Sidebearer::start(&impatient(&api, &idp));
        let answer = only(&exchange(sidebearer.address(), bytes).await);
        assert_eq!(answer.header("connection"), "close");
        assert_error(&sidebearer, &answer, (status, code, ""), in_detail).await;
        assert!(api.seen().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_ends_its_sending_side_before_its_answer_gets_nothing() {
    let (told, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let told = told.clone();
        async move {
            server::read_head(&mut stream).await;
            told.send("asked").unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            told.send("cancelled").unwrap();
        }
    });
    let sidebearer = towards(&format!("http://{api}"), "");
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(steps.recv().await, Some("asked"));
    stream.shutdown().await.unwrap();
    let step = timeout(PATIENCE, steps.recv()).await;
    assert_eq!(step.expect("not kept waiting"), Some("cancelled"));
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok() && answer.is_empty(), "{end:?}");
}

#[tokio::test]
async fn a_refusal_comes_behind_the_good_answer_before_it() {
    let body = "x".repeat(300_000);
    for size in [2, 5_000, 300_000] {
        let answer = body[..size].to_owned();
        let api = Api::start(move |_| response(200, answer.clone()));
        let sidebearer = towards(&api.url(), "");
        for garbage in [
            "what is this\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        ] {
            let both = exchange(sidebearer.address(), format!("{GET}{garbage}")).await;
            let [good, refusal] = &answers(&both)[..] else {
                panic!("not two answers: {both}");
            };
            assert_eq!((good.status, good.body.len()), (200, size));
            assert_eq!(
                (refusal.status, refusal.code().as_str()),
                (400, "bad_request")
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_looks_like_a_refusal_arrives_as_it_is() {
    let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for body in [
        refusal.to_owned(),
        format!("{}{refusal}", "x".repeat(100_000)),
    ] {
        let answer = body.clone();
        let api = Api::start(move |_| response(200, answer.clone()));
        let sidebearer = towards(&api.url(), "");
        let mut connection = Connection::open(sidebearer.address()).await;
        for _ in 0..3 {
            let got = tokio::time::timeout(PATIENCE, connection.get("/")).await;
            assert_eq!(got.expect("promptly").unwrap().text(), body);
        }
        // The end of the connection does not swallow it either.
        let last = GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        let got = only(&exchange(sidebearer.address(), last).await);
        assert_eq!((got.status, got.text()), (200, body));
    }
}

#[tokio::test]
async fn a_slow_reader_that_reads_on_is_not_cut() {
    const SIZE: usize = 600_000;
    let api = Api::start(|_| response(200, vec![b'x'; SIZE]));
    let sidebearer = Sidebearer::start(&format!(
        "[server]\nidle_timeout = \"1s\"\nmax_header_bytes = \"1MiB\"\n{}",
        unprotected(&api.url(), "")
    ));
    // Buffers are as large as the largest head. Small packets and windows: progress shows in small
    // steps.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&sidebearer.address().into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    let last = GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all(last.as_bytes()).await.unwrap();
    let (mut read, mut chunk) = (0, [0; 4096]);
    let mut pause = tokio::time::interval(Duration::from_millis(15));
    loop {
        match stream.read(&mut chunk).await.expect("not reset") {
            0 => break,
            length => read += length,
        }
        pause.tick().await;
    }
    assert!(read > SIZE, "cut after {read} bytes");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_does_not_reset_the_upload() {
    const SIZE: usize = 8 << 20;
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    for bytes in [
        format!("POST /a/../b HTTP/1.1\r\nhost: localhost\r\ncontent-length: {SIZE}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nbad header\r\ncontent-length: {SIZE}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let body = vec![b'x'; SIZE];
        stream.write_all(&body).await.expect("not reset");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("not reset");
        assert_eq!(only(&answer).code(), "bad_request");
    }
    assert!(api.seen().is_empty());
}
