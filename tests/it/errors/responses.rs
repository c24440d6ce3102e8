//! Responses that are none, or could be read in two ways.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::towards;
use crate::support::client::{self, http2, read, streaming};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PUSH_PROMISE, RST_STREAM, SETTINGS,
    block, frame,
};
use crate::support::server::{self, read_head, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::unprotected;

const WHOLE: u8 = END_HEADERS | END_STREAM;
const CHUNKS: &str = "b\r\nhello world\r\n0\r\n\r\n";

/// Answers every request with these bytes, written in pieces of this size.
fn answering(answer: String, piece: usize) -> Sidebearer {
    let api = server::bytes(move |_, mut stream| {
        let answer = answer.clone();
        async move {
            while !read_head(&mut stream).await.is_empty() {
                for piece in answer.as_bytes().chunks(piece) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let config = unprotected(&format!("http://{api}"), "");
    Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"))
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_pass_and_ends_the_connection() {
    for length in [3, 11, 20] {
        for lines in [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            format!("transfer-encoding: Chunked\r\nX: y\r\ncontent-length: {length}"),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{CHUNKS}");
            let sidebearer = answering(answer, 1 << 20);
            for asked in 1..=2 {
                let answer = client::get(sidebearer.address(), "/").await;
                assert_eq!((answer.status, &*answer.text()), (200, "hello world"));
                assert_eq!(answer.header("content-length"), "");
                assert_eq!(
                    sidebearer.connects("api").await,
                    f64::from(asked),
                    "{lines}"
                );
            }
            let mut connection = http2(sidebearer.address()).await;
            let asked = streaming(Method::GET, "/", whole(""));
            let answer = connection.send_request(asked).await.unwrap();
            let answer = read(answer).await.unwrap();
            assert_eq!((answer.status, &*answer.text()), (200, "hello world"));
            assert_eq!(answer.header("content-length"), "");
        }
    }
}

#[tokio::test]
async fn transfer_codings_other_than_chunked_are_not_passed_on_without_their_name() {
    for lines in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip\r\nContent-Length: 5",
        "Content-Length: 21\r\nTransfer-Encoding: xchunked",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{CHUNKS}");
        let sidebearer = answering(answer, 1 << 20);
        for asked in 1..=2 {
            let answer = client::get(sidebearer.address(), "/").await;
            assert_eq!(answer.code(), "upstream_protocol", "{lines}");
            assert!(answer.text().contains("Transfer-Encoding"));
            assert_eq!(
                sidebearer.connects("api").await,
                f64::from(asked),
                "{lines}"
            );
        }
    }
}

#[tokio::test]
async fn a_204_has_no_length() {
    let answer = "HTTP/1.1 204 No Content\r\nX-One: 1\r\nContent-Length: 5\r\nX-Two: 2\r\n\r\n";
    let sidebearer = answering(answer.to_owned(), 1 << 20);
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!((answer.status, answer.header("content-length")), (204, ""));
    let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names[..2], ["x-one", "x-two"]);
    // Where the library does not look after it.
    let mut connection = http2(sidebearer.address()).await;
    let asked = streaming(Method::GET, "/", whole(""));
    let answer = connection.send_request(asked).await.unwrap();
    assert_eq!(answer.headers().get("content-length"), None);
}

#[tokio::test]
async fn how_much_of_a_head_passes_does_not_depend_on_how_it_arrives() {
    const LIMIT: usize = 64 * 1024;
    for (length, passes) in [
        (LIMIT - 1000, true),
        (LIMIT, true),
        (LIMIT + 1, false),
        (LIMIT + 1000, false),
        (75_000, false),
        (110_000, false),
    ] {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: ";
        let value = "x".repeat(length - head.len() - 4);
        for piece in [1 << 20, 60_000, 1000] {
            let sidebearer = answering(format!("{head}{value}\r\n\r\nok"), piece);
            // The second time as the library has learnt to read it.
            for _ in 0..2 {
                let answer = client::get(sidebearer.address(), "/").await;
                let code = if passes { "" } else { "upstream_protocol" };
                assert_eq!(answer.code(), code, "{length} in pieces of {piece}");
                assert_eq!(answer.status == 200, passes);
                assert!(passes || answer.text().contains("max_response_header_bytes"));
            }
        }
    }
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    let sidebearer = answering(format!("HTTP/1.1 200 OK\r\n{many}\r\n"), 1 << 20);
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!(answer.code(), "upstream_protocol");
    assert!(
        answer.text().contains("max_response_headers"),
        "{}",
        answer.text()
    );
}

/// Meets the first request of a connection of HTTP/2 with these frames.
fn framing(frames: Vec<u8>) -> std::net::SocketAddr {
    server::bytes(move |_, mut stream| {
        let frames = frames.clone();
        async move {
            stream.read_exact(&mut [0; 24]).await.unwrap();
            let settings = frame(SETTINGS, 0, 0, b"");
            stream.write_all(&settings).await.unwrap();
            let mut head = [0; 9];
            while head[3] != HEADERS {
                stream.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
            }
            let _ = stream.write_all(&frames).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
}

#[tokio::test]
async fn an_http2_upstream_that_breaks_the_rules_is_told_apart_from_one_that_is_away() {
    let headers = |fields: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &block(fields));
    let reset = |code: u32| frame(RST_STREAM, 0, 1, &code.to_be_bytes());
    let push = block(&[
        (":method", "GET"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "a"),
    ]);
    let long = "x".repeat(10_000);
    let mut large = frame(HEADERS, 0, 1, &block(&[(":status", "200")]));
    for number in 0..8 {
        let name = format!("x-{number}");
        large.extend(frame(CONTINUATION, 0, 1, &block(&[(&*name, &*long)])));
    }
    large.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
    for (frames, code, in_detail) in [
        (headers(&[("x", "y")]), "upstream_protocol", "HTTP/2"),
        (
            headers(&[(":status", "abc")]),
            "upstream_protocol",
            "HTTP/2",
        ),
        (
            frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&[0, 0, 0, 2], &push[..]].concat(),
            ),
            "upstream_protocol",
            "HTTP/2",
        ),
        (large, "upstream_protocol", "max_response_header_bytes"),
        (
            headers(&[(":status", "200"), ("x", " y")]),
            "upstream_protocol",
            "space",
        ),
        (
            headers(&[(":status", "200"), ("x", "y\t")]),
            "upstream_protocol",
            "space",
        ),
        (frame(DATA, 0, 1, b"x"), "upstream_protocol", "HTTP/2"),
        (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "upstream_protocol",
            "http = \"2\"",
        ),
        (b"HTTP/1.1 ".to_vec(), "upstream_protocol", "http = \"2\""),
        (
            reset(2),
            "upstream_connect",
            "reset the request (INTERNAL_ERROR)",
        ),
        (
            reset(11),
            "upstream_connect",
            "reset the request (ENHANCE_YOUR_CALM)",
        ),
        (reset(13), "upstream_connect", "HTTP_1_1_REQUIRED"),
    ] {
        let url = format!("http://{}", framing(frames.clone()));
        let sidebearer = towards(&url, "http = \"2\"\nresponse_timeout = \"20s\"");
        let answer = client::get(sidebearer.address(), "/").await;
        let told = frames[..frames.len().min(99)].escape_ascii();
        assert_eq!(answer.code(), code, "{told}: {}", answer.text());
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(in_detail), "{told}: {detail}");
    }
}

#[tokio::test]
async fn a_server_of_http1_alone_that_is_spoken_to_in_http2_is_known_for_it() {
    let api = server::bytes(|_, mut stream| async move {
        // As servers do that take the preface for a request.
        read_head(&mut stream).await;
        let no = b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(no).await;
    });
    let sidebearer = towards(&format!("http://{api}"), "http = \"2\"");
    for method in [Method::GET, Method::POST] {
        let asked = client::request(method, "/", "");
        let answer = client::send(sidebearer.address(), asked).await;
        assert_eq!(answer.code(), "upstream_protocol");
        assert!(answer.text().contains("HTTP/1.1"), "{}", answer.text());
    }
}

#[tokio::test]
async fn folded_lines_and_white_space_before_a_colon_pass_as_if_they_were_not_there() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink :\r\n </a>\r\n\r\n";
    let lines = "X-Long: a,\r\n\tb\r\nContent-Length :\r\n  2\r\nX-Last \t: z\r\n";
    let answer = format!("{interim}HTTP/1.1 200 OK\r\n{lines}\r\nok");
    for piece in [1, 1 << 20] {
        let sidebearer = answering(answer.clone(), piece);
        for _ in 0..2 {
            let answer = client::get(sidebearer.address(), "/").await;
            assert_eq!((answer.status, &*answer.text()), (200, "ok"));
            assert_eq!(answer.header("x-long"), "a, b");
            assert_eq!(answer.header("x-last"), "z");
        }
        assert_eq!(sidebearer.connects("api").await, 1.0);
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_given_up() {
    let some = "HTTP/1.1 102 Processing\r\n\r\n";
    for (times, status) in [(200, 200), (300, 502)] {
        let answer = format!(
            "{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            some.repeat(times)
        );
        let sidebearer = answering(answer, 1 << 20);
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!(answer.status, status, "{times}");
        if status == 502 {
            assert_eq!(answer.code(), "upstream_protocol");
        }
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_given_up_over_http2_and_other_streams_go_on() {
    let api = server::http2(|asked, mut respond| async move {
        let times = if asked.uri().path() == "/endless" {
            300
        } else {
            200
        };
        for _ in 0..times {
            let interim = http::Response::builder().status(102).body(()).unwrap();
            respond.send_informational(interim).unwrap();
        }
        let ok = http::Response::new(());
        let mut body = respond.send_response(ok, false).unwrap();
        let _ = body.send_data("ok".into(), true);
    });
    let config = unprotected(&format!("http://{api}"), "http = \"2\"");
    let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
    for _ in 0..2 {
        let endless = client::get(sidebearer.address(), "/endless").await;
        assert_eq!(
            (endless.status, &*endless.code()),
            (502, "upstream_protocol")
        );
        let other = client::get(sidebearer.address(), "/").await;
        assert_eq!((other.status, &*other.text()), (200, "ok"));
    }
    assert_eq!(sidebearer.connects("api").await, 1.0);
}
