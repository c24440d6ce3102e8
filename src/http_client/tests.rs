use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::*;
use crate::config::{Dialing, HttpVersion, Tls};

const SOON: Duration = Duration::from_secs(30);

fn settings(http: HttpVersion, max_body_bytes: Option<usize>) -> NetworkSettings {
    NetworkSettings {
        tls: Tls::default(),
        certificate: None,
        http,
        dialing: Dialing::default(),
        connect_timeout: SOON,
        max_header_bytes: 1024,
        max_body_bytes,
        proxy: None,
        address_policy: None,
        own_sockets: Arc::default(),
        redactor: Arc::default(),
    }
}

async fn listen() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?q=1", listener.local_addr().unwrap());
    (listener, url.parse().unwrap())
}

/// The result of a request to a server that sends these bytes, and what the server was sent. It keeps the
/// connection open for as long as the client does unless `close`.
async fn raw(answer: &str, close: bool, max: Option<usize>) -> (Result<Response, Error>, String) {
    let (listener, url) = listen().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // The client may have seen enough before the end.
        let _ = stream.write_all(answer.as_bytes()).await;
        if close {
            drop(stream);
        } else {
            let _ = stream.read_to_end(&mut head).await;
        }
        String::from_utf8(head).unwrap()
    };
    let client = HttpClient::connecting(&url, settings(HttpVersion::Http1, max)).unwrap();
    let ask = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new());
    let both = async { tokio::join!(ask, server) };
    tokio::time::timeout(SOON, both).await.unwrap()
}

#[tokio::test]
async fn one_request_goes_out_and_its_bounded_response_comes_back() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 3\r\n\r\nabc";
    let (response, head) = raw(answer, false, Some(3)).await;
    let response = response.unwrap();
    assert_eq!(response.status, 302, "redirects are not followed");
    assert_eq!(response.headers[header::LOCATION], "/login");
    assert_eq!(**response.body.as_ref().unwrap(), b"abc");
    assert!(response.peer.unwrap().ip().is_loopback());
    assert!(head.starts_with("GET /path?q=1 HTTP/1.1\r\n"), "{head}");
    let agent = concat!("User-Agent: sidebearer/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(head.contains(agent), "{head}");
    assert!(!head.contains("Content-Length"), "{head}");

    let (response, _) = raw(answer, false, Some(2)).await;
    assert_eq!(response.unwrap().body, Err(UnreadableBody::TooLarge));
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_waited_for() {
    let endless = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let (response, _) = raw(endless, false, None).await;
    assert_eq!(response.unwrap().body, Err(UnreadableBody::NotRead));
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_status() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let (response, _) = raw(cut, true, Some(100)).await;
    let response = response.unwrap();
    assert_eq!(response.status, 200);
    let Err(UnreadableBody::Broken(error)) = response.body else {
        panic!("it breaks off: {response:?}")
    };
    assert_eq!(error.kind, RequestErrorKind::Disconnected);
}

#[tokio::test]
async fn what_is_no_response_is_told_apart() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2000));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    for (answer, kind) in [
        ("", RequestErrorKind::Disconnected),
        ("SSH-2.0-OpenSSH_9.2\r\n", RequestErrorKind::InvalidResponse),
        (&large, RequestErrorKind::HeadTooLarge),
        (&interim, RequestErrorKind::InvalidResponse),
    ] {
        let (response, _) = raw(answer, true, Some(100)).await;
        let error = response.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.message.contains("q=1"), "{error}");
    }
}

/// The result of a request over HTTP/2 to a server that sends this number of interim responses, and then a
/// body of two pieces.
async fn over_http2(
    interim: usize,
    max: Option<usize>,
) -> (Result<Response, Error>, http::request::Parts) {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        for _ in 0..interim {
            let early = http::Response::builder().status(102).body(()).unwrap();
            respond.send_informational(early).unwrap();
        }
        let mut body = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        body.send_data("abc".into(), false).unwrap();
        body.send_data("def".into(), true).unwrap();
        // Until the client leaves.
        while connection.accept().await.is_some_and(|more| more.is_ok()) {}
        request.into_parts().0
    });
    let client = HttpClient::connecting(&url, settings(HttpVersion::Http2, max)).unwrap();
    let host = HeaderValue::from_static("api.example");
    let headers = HeaderMap::from_iter([(header::HOST, host)]);
    let ask = client.send(Method::GET, &url, headers, Bytes::new());
    let response = tokio::time::timeout(SOON, ask).await.unwrap();
    let head = tokio::time::timeout(SOON, server).await.unwrap();
    (response, head.unwrap())
}

#[tokio::test]
async fn http2_is_spoken_where_the_connection_does() {
    let (response, head) = over_http2(3, Some(6)).await;
    let response = response.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(**response.body.as_ref().unwrap(), b"abcdef");
    assert_eq!(head.uri.path_and_query().unwrap(), "/path?q=1");
    assert_eq!(
        head.uri.host(),
        Some("127.0.0.1"),
        "a header decides nothing"
    );
    assert!(!head.headers.contains_key(header::HOST));

    let (response, _) = over_http2(0, Some(5)).await;
    assert_eq!(response.unwrap().body, Err(UnreadableBody::TooLarge));
    let (response, _) = over_http2(0, None).await;
    assert_eq!(response.unwrap().body, Err(UnreadableBody::NotRead));
}

#[tokio::test]
async fn interim_responses_over_http2_are_bounded() {
    let (response, _) = over_http2(1000, Some(100)).await;
    let error = response.unwrap_err();
    assert_eq!(error.kind, RequestErrorKind::InvalidResponse, "{error}");
}
