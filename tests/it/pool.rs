//! Connections to upstreams: kept, given up, and never the cause of a second request.

mod again;
mod http2;
mod unasked;
mod waiting;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::server::conn::http2 as http2_server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::api::Api;
use crate::support::client::{self, Connection, http1, http2, read, request, streaming};
use crate::support::idp::Idp;
use crate::support::server::{self, fed, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{PATIENCE, eventually, unprotected};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One upstream without a credential, one shard; `lines` are more of the upstream's.
fn config(url: &str, lines: &str) -> String {
    let upstream = unprotected(url, lines);
    format!("[server]\nworkers = 1\n{upstream}")
}

fn to(address: std::net::SocketAddr) -> Sidebearer {
    Sidebearer::start(&config(&format!("http://{address}"), ""))
}

async fn idle(sidebearer: &Sidebearer) -> f64 {
    let series = r#"sidebearer_upstream_connections{state="idle",upstream="api"}"#;
    sidebearer.metric(series).await
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_fails_no_request() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            stream.shutdown().await.unwrap();
            closed.send(()).unwrap();
        }
    });
    let sidebearer = to(api);
    let mut connection = Connection::open(sidebearer.address()).await;
    for method in [Method::GET, Method::POST].into_iter().cycle().take(20) {
        let answer = connection.send(request(method, "/", "")).await.unwrap();
        assert_eq!(answer.status, 200);
        closings.recv().await.unwrap();
    }
    assert_eq!(sidebearer.connects("api").await, 20.0);
}

/// Answers the first request of its first connection and closes on the second; answers those of
/// later connections. Tells the methods it saw.
fn closes_on_reuse() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let address = server::bytes(move |connection, mut stream| {
        let seen = Arc::clone(&keep);
        async move {
            for number in 0.. {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let method = head.split(' ').next().unwrap().to_owned();
                seen.lock().unwrap().push(method);
                if connection == 0 && number == 1 {
                    return;
                }
                stream.write_all(OK).await.unwrap();
            }
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_sent_again_only_if_idempotent() {
    for (method, status, times) in [
        (Method::GET, 200, 2),
        (Method::PUT, 200, 2),
        (Method::DELETE, 200, 2),
        (Method::POST, 502, 1),
        (Method::PATCH, 502, 1),
    ] {
        let (api, seen) = closes_on_reuse();
        let sidebearer = to(api);
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let answer = client::send(sidebearer.address(), request(method.clone(), "/", "")).await;
        assert_eq!(answer.status, status, "{method}");
        if status == 502 {
            assert_eq!(answer.code(), "upstream_connect");
        }
        let seen = seen.lock().unwrap().split_off(1);
        assert_eq!(seen, vec![method.to_string(); times]);
    }
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_not_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let api = server::bytes(move |_, mut stream| {
        let asked = Arc::clone(&counted);
        async move {
            read_head(&mut stream).await;
            asked.fetch_add(1, SeqCst);
        }
    });
    let sidebearer = to(api);
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_connect"));
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn keep_alive_of_the_upstream_is_respected() {
    for (timeout, connections) in [("timeout=1", 3.0), ("timeout=60", 1.0)] {
        let api = Api::start(move |_| {
            let mut answer = response(200, "ok");
            let headers = answer.headers_mut();
            headers.insert("keep-alive", timeout.parse().unwrap());
            answer
        });
        let sidebearer = to(api.address);
        for _ in 0..3 {
            assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        }
        assert_eq!(sidebearer.connects("api").await, connections, "{timeout}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_after_every_kind_of_response() {
    let api = server::serve(None, |request| async move {
        let status = match request.uri().path() {
            "/204" => 204,
            "/304" => 304,
            _ => 200,
        };
        match request.uri().path() {
            "/chunked" | "/chunked-empty" => {
                let (feed, body) = fed();
                let empty = request.uri().path() == "/chunked-empty";
                tokio::spawn(async move {
                    if !empty {
                        let _ = feed.send(Ok(Frame::data("chunk".into()))).await;
                    }
                });
                Response::new(body)
            }
            "/204" | "/304" | "/empty" => {
                Response::builder().status(status).body(whole("")).unwrap()
            }
            _ => response(200, vec![b'x'; 100_000]),
        }
    });
    let sidebearer = to(api);
    let mut connection = Connection::open(sidebearer.address()).await;
    for path in [
        "/204",
        "/304",
        "/empty",
        "/chunked",
        "/chunked-empty",
        "/large",
    ] {
        for method in [Method::HEAD, Method::GET, Method::POST] {
            let answer = connection.send(request(method, path, "")).await.unwrap();
            assert!([200, 204, 304].contains(&answer.status), "{path}");
        }
    }
    assert_eq!(sidebearer.connects("api").await, 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_response_spoils_no_other() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let api = server::bytes(move |_, mut stream| {
        let gone = Arc::clone(&told);
        async move {
            while read_head(&mut stream).await.starts_with("GET /other") {
                stream.write_all(OK).await.unwrap();
            }
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
            let _ = stream.write_all(half).await;
            // Left open: the next request on this connection would read nonsense.
            assert_eq!(stream.read(&mut [0; 100]).await.unwrap_or(0), 0);
            gone.notify_one();
        }
    });
    let sidebearer = to(api);
    for _ in 0..10 {
        let mut connection = http1(sidebearer.address()).await;
        let asked = streaming(Method::GET, "/half", whole(""));
        let mut answer = connection.send_request(asked).await.unwrap();
        let half = answer.frame().await.unwrap().unwrap();
        assert_eq!(half.into_data().unwrap(), "half");
        drop((answer, connection));
        let other = client::get(sidebearer.address(), "/other").await;
        assert_eq!((other.status, &*other.text()), (200, "ok"));
        gone.notified().await;
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_passes_and_the_body_goes_on() {
    let (whole_body, mut arrived) = mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let whole_body = whole_body.clone();
        async move {
            let head = read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            if head.starts_with("POST") {
                let mut body = [0; 10];
                stream.read_exact(&mut body).await.unwrap();
                whole_body.send(body).unwrap();
            }
            read_head(&mut stream).await;
            let _ = stream.write_all(OK).await;
        }
    });
    let sidebearer = to(api);
    let (feed, body) = fed();
    let mut upload = streaming(Method::POST, "/", body);
    let length = "10".parse().unwrap();
    upload.headers_mut().insert("content-length", length);
    let mut connection = http1(sidebearer.address()).await;
    let answering = tokio::spawn(connection.send_request(upload));
    feed.send(Ok(Frame::data("first".into()))).await.unwrap();
    let answer = read(answering.await.unwrap().unwrap()).await.unwrap();
    assert_eq!(answer.text(), "ok");

    let other = client::get(sidebearer.address(), "/").await;
    assert_eq!(other.text(), "ok", "on another connection");
    feed.send(Ok(Frame::data("later".into()))).await.unwrap();
    assert_eq!(&arrived.recv().await.unwrap(), b"firstlater");
}

#[tokio::test]
async fn the_connection_of_a_superseded_attempt_is_closed() {
    let idp = Idp::start();
    let (closed, mut ends) = mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            if read_head(&mut stream).await.contains("Bearer token-1") {
                let no = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(no).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                closed.send(()).unwrap();
            } else {
                stream.write_all(OK).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    });
    let config = crate::support::smallest(&Api::open(), &idp);
    let url = config
        .split("url = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let sidebearer = Sidebearer::start(&config.replacen(url, &format!("http://{api}"), 1));
    sidebearer.ready().await;

    let (feed, body) = fed();
    let mut connection = http1(sidebearer.address()).await;
    let upload = streaming(Method::POST, "/", body);
    let answering = tokio::spawn(connection.send_request(upload));
    feed.send(Ok(Frame::data("first".into()))).await.unwrap();
    // While the client still uploads.
    let closed = timeout(PATIENCE, ends.recv()).await;
    assert!(closed.is_ok());
    drop(feed);
    assert_eq!(answering.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn cold_requests_to_an_http1_upstream_over_tls_connect_side_by_side() {
    const BURST: usize = 20;
    let ca = Ca::new();
    let tls = ca.own_certificate().server(&["http/1.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    // All but the first finish their handshake when the last has dialed.
    let (dialed, asked) = (
        Arc::new(Barrier::new(BURST - 1)),
        Arc::new(Barrier::new(BURST)),
    );
    let api = server::bytes(move |number, stream| {
        let (dialed, asked) = (Arc::clone(&dialed), Arc::clone(&asked));
        let acceptor = acceptor.clone();
        async move {
            if number > 0 {
                dialed.wait().await;
            }
            let mut stream = acceptor.accept(stream).await.unwrap();
            read_head(&mut stream).await;
            asked.wait().await;
            stream.write_all(OK).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    });
    let lines = format!("tls = {{ ca_file = \"{}\" }}", ca.file().display());
    let sidebearer = Sidebearer::start(&config(&format!("https://{api}"), &lines));
    let address = sidebearer.address();
    let mut requests = JoinSet::new();
    for _ in 0..BURST {
        requests.spawn(async move { client::get(address, "/").await.status });
    }
    assert_eq!(requests.join_all().await, [200; BURST]);
    assert_eq!(sidebearer.connects("api").await, BURST as f64);
}
