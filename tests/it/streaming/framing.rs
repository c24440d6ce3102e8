//! How messages end, whatever the versions on both sides.

use super::*;
use crate::support::client::Connection;
use crate::support::{eventually, unprotected};

/// Answers by path, to the byte, on connections that stay open.
fn framed() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let Some(path) = head.split(' ').nth(1) else {
                return;
            };
            let answer = match path {
                "/sized" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsized",
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nchunked\r\n0\r\n\r\n"
                }
                "/204" => "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n\r\n",
                "/304" => {
                    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n"
                }
                "/head" => "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n",
                "/closed" => "HTTP/1.1 200 OK\r\n\r\nuntil the end",
                "/old" => "HTTP/1.0 200 OK\r\n\r\nolder",
                _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            if ["/closed", "/old"].contains(&path) {
                return;
            }
        }
    })
}

#[tokio::test]
async fn that_an_http2_request_has_no_body_is_said_to_an_http11_api_where_it_could_have_one() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&unprotected(&api.url(), ""));
    for (method, length) in [
        ("POST", "0"),
        ("PUT", "0"),
        ("PATCH", "0"),
        ("REPORT", "0"),
        ("GET", ""),
        ("HEAD", ""),
        ("DELETE", ""),
        ("OPTIONS", ""),
    ] {
        // The end is said by the headers, or by a frame of its own that comes with them.
        for by_headers in [true, false] {
            let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let method: Method = method.parse().unwrap();
            let mut request = streaming(method.clone(), "/", whole("")).map(drop);
            request.headers_mut().remove("host");
            let mut sender: h2::client::SendRequest<bytes::Bytes> = sender.ready().await.unwrap();
            let (answer, mut body) = sender.send_request(request, by_headers).unwrap();
            if !by_headers {
                body.send_data(bytes::Bytes::new(), true).unwrap();
            }
            assert_eq!(answer.await.unwrap().status(), 200);
            let seen = api.seen().pop().unwrap();
            assert_eq!(seen.header("content-length"), length, "{method}");
            assert!(!seen.headers.contains_key("transfer-encoding"), "{method}");
        }
    }
}

#[tokio::test]
async fn an_http10_client_gets_no_chunks_and_an_end_it_can_see() {
    let sidebearer = to(framed());
    for (path, body) in [
        ("/sized", "sized"),
        ("/chunked", "chunked"),
        ("/closed", "until the end"),
        ("/old", "older"),
    ] {
        // Once without, and where the length is not known, with keep-alive too.
        let plain = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = client::raw(sidebearer.address(), plain).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.0 200 ") || head.starts_with("HTTP/1.1 200 "),
            "{head}"
        );
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(rest, body);
        if path != "/sized" {
            let kept =
                format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
            let answer = client::raw(sidebearer.address(), kept).await;
            let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
            assert!(!head.contains("transfer-encoding"), "{head}");
            assert_eq!(rest, body, "and then the connection ends");
        }
    }
}

#[tokio::test]
async fn an_http10_client_may_keep_its_connection() {
    let sidebearer = to(framed());
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    for _ in 0..3 {
        let asked = "GET /sized HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(
            head.to_lowercase().contains("connection: keep-alive"),
            "{head}"
        );
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"sized");
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_their_headers() {
    let sidebearer = to(framed());
    let mut connection = Connection::open(sidebearer.address()).await;
    for _ in 0..2 {
        for (method, path, status, length) in [
            (Method::GET, "/204", 204, ""),
            (Method::GET, "/304", 304, "1234"),
            (Method::HEAD, "/head", 200, "1234"),
        ] {
            let asked = client::request(method, path, "");
            let answer = connection.send(asked).await.unwrap();
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("etag"), "\"x\"", "{path}");
            assert_eq!(answer.header("content-length"), length, "{path}");
            assert_eq!(answer.header("transfer-encoding"), "", "{path}");
            assert!(answer.body.is_empty());
        }
    }
}

#[tokio::test]
async fn an_offer_of_cleartext_http2_goes_nowhere() {
    let api = Api::start(|seen| response(200, seen.body.clone()));
    let sidebearer = to(api.address);
    let mut connection = Connection::open(sidebearer.address()).await;
    for _ in 0..2 {
        let mut asked = client::request(Method::POST, "/", "body");
        let headers = asked.headers_mut();
        headers.insert("connection", "Upgrade, HTTP2-Settings".parse().unwrap());
        headers.insert("upgrade", "h2c".parse().unwrap());
        headers.insert(
            "http2-settings",
            "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA".parse().unwrap(),
        );
        let answer = connection.send(asked).await.unwrap();
        assert_eq!((answer.status, &*answer.text()), (200, "body"));
    }
    for seen in api.seen() {
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), "", "{name}");
        }
    }
}

/// Hints, and the response once it is told to go on.
fn hints(go: mpsc::UnboundedReceiver<()>) -> SocketAddr {
    let go = std::sync::Arc::new(tokio::sync::Mutex::new(go));
    server::bytes(move |_, mut stream| {
        let go = std::sync::Arc::clone(&go);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let hints = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
                stream.write_all(hints.as_bytes()).await.unwrap();
                go.lock().await.recv().await.unwrap();
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
}

#[tokio::test]
async fn early_hints_keep_the_spelling_of_their_names() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLiNK: </a>\r\nx-lower: 1\r\nX-UPPER: 2\r\n\r\n";
    let api = server::bytes(move |_, mut stream| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let all = [hint, answer].concat();
        stream.write_all(all.as_bytes()).await.unwrap();
    });
    let asked = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = client::raw(to(api).address(), asked).await;
    assert!(answer.starts_with(hint), "{answer}");
}

#[tokio::test]
async fn early_hints_come_before_the_answer_where_both_sides_are_http11() {
    let (go, wait) = mpsc::unbounded_channel();
    let sidebearer = to(hints(wait));
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    for _ in 0..3 {
        let asked = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let processing = timeout(PATIENCE, read_head(&mut stream)).await.unwrap();
        assert_eq!(processing, "HTTP/1.1 102 Processing\r\n\r\n");
        let early = timeout(PATIENCE, read_head(&mut stream)).await.unwrap();
        assert_eq!(early, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        go.send(()).unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"ok");
    }
    // Nobody else would know them for what they are.
    go.send(()).unwrap();
    let old = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = client::raw(sidebearer.address(), old).await;
    assert!(
        answer.contains(" 200 OK\r\n") && !answer.contains("103"),
        "{answer}"
    );
    go.send(()).unwrap();
    let asked = streaming(Method::GET, "/", whole(""));
    let answer = send(sidebearer.address(), "2", asked).await;
    assert_eq!(read(answer).await.unwrap().text(), "ok");
}

/// Answers the first request behind more hints than sockets hold, and the
/// others without.
fn hints_without_end() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        let mut first = true;
        while !read_head(&mut stream).await.is_empty() {
            if std::mem::take(&mut first) {
                let hint = format!(
                    "HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n",
                    "x".repeat(60_000)
                );
                for _ in 0..250 {
                    stream.write_all(hint.as_bytes()).await.unwrap();
                }
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
}

#[tokio::test]
async fn hints_that_were_left_out_do_not_come_with_the_next_answer() {
    let sidebearer = to(hints_without_end());
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let asked = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    // Nothing is read before all of them have come.
    let answered = "sidebearer_requests_total{code=\"200\"";
    eventually("an answer", async || {
        sidebearer.page("/metrics").await.contains(answered)
    })
    .await;
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\nok") {
        assert!(stream.read_buf(&mut all).await.unwrap() > 0);
    }
    stream.write_all(asked.as_bytes()).await.unwrap();
    let next = read_head(&mut stream).await;
    assert!(
        next.starts_with("HTTP/1.1 200 OK"),
        "{}",
        &next[..next.len().min(40)]
    );
}
