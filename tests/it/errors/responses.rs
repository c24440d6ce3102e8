//! Responses that are none, or could be read in two ways.

use http::Method;
use tokio::io::AsyncWriteExt;

use super::only_listener;
use crate::support::client::{self, http2, read, streaming};
use crate::support::server::{self, read_head, whole};
use crate::support::sidebearer::Sidebearer;

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
    let config = only_listener(&format!("http://{api}"), "");
    Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"))
}

async fn connects(sidebearer: &Sidebearer) -> f64 {
    let series = r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;
    sidebearer.metric(series).await
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
                assert_eq!(connects(&sidebearer).await, f64::from(asked), "{lines}");
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
            assert_eq!(connects(&sidebearer).await, f64::from(asked), "{lines}");
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
