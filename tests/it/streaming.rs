//! Bodies of any size, both ways, as they come; and what breaks off.

mod broken;
mod connect;
mod expect;
mod framing;
mod grpc;
mod interim;
mod leftover;
mod memory;
mod upgrade;

use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::api::Api;
use crate::support::client::{self, http1, http2, read, streaming};
use crate::support::idp::Idp;
use crate::support::server::{self, Body, fed, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{PATIENCE, unprotected};

/// The client's version of HTTP, and the upstream's.
const VERSIONS: [(&str, &str); 4] = [("1.1", "1.1"), ("2", "1.1"), ("1.1", "2"), ("2", "2")];

fn to(address: SocketAddr) -> Sidebearer {
    Sidebearer::start(&unprotected(&format!("http://{address}"), ""))
}

/// Speaks this version of HTTP to the upstream.
fn speaking(version: &str, address: SocketAddr) -> Sidebearer {
    let lines = format!("http = \"{version}\"");
    Sidebearer::start(&unprotected(&format!("http://{address}"), &lines))
}

/// Sends with this version of HTTP.
async fn send(address: SocketAddr, version: &str, request: Request<Body>) -> Response<Incoming> {
    let sent = match version {
        "2" => http2(address).await.send_request(request).await,
        _ => http1(address).await.send_request(request).await,
    };
    sent.unwrap()
}

#[tokio::test]
async fn a_piece_arrives_before_the_next_is_made() {
    for (client, upstream) in VERSIONS {
        let api = server::serve(None, |request| async move {
            // What comes goes back at once.
            let (feed, body) = fed();
            let mut incoming = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(frame)) = incoming.frame().await {
                    feed.send(Ok(frame)).await.unwrap();
                }
            });
            Response::new(body)
        });
        let sidebearer = speaking(upstream, api);
        let (feed, body) = fed();
        let asked = streaming(Method::POST, "/", body);
        let mut answer = send(sidebearer.address(), client, asked).await;
        for piece in ["event: 1\n\n", "event: 2\n\n", "event: 3\n\n"] {
            feed.send(Ok(Frame::data(piece.into()))).await.unwrap();
            let arrived = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(arrived, piece);
        }
        drop(feed);
        assert_eq!(read(answer).await.unwrap().text(), "");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_without_credentials() {
    for (client, upstream) in VERSIONS {
        let api = server::serve(None, |request| async move {
            let te = request.headers()["te"].clone();
            let collected = request.into_body().collect().await.unwrap();
            let mut trailers = collected.trailers().cloned().unwrap_or_default();
            assert!(!trailers.contains_key("authorization"));
            trailers.insert("grpc-status", "0".parse().unwrap());
            let (feed, body) = fed();
            tokio::spawn(async move {
                let data = Frame::data(collected.to_bytes());
                feed.send(Ok(data)).await.unwrap();
                feed.send(Ok(Frame::trailers(trailers))).await.unwrap();
            });
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert("trailer", "grpc-status, x-sum".parse().unwrap());
            headers.insert("x-te", te);
            response
        });
        let sidebearer = speaking(upstream, api);
        let (feed, body) = fed();
        let mut asked = streaming(Method::POST, "/", body);
        let headers = asked.headers_mut();
        headers.insert("te", "trailers".parse().unwrap());
        headers.insert("trailer", "x-sum, authorization".parse().unwrap());
        headers.insert("content-type", "application/grpc".parse().unwrap());
        tokio::spawn(async move {
            feed.send(Ok(Frame::data("message".into()))).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            trailers.insert("authorization", "Bearer stolen".parse().unwrap());
            feed.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let answer = send(sidebearer.address(), client, asked).await;
        assert_eq!(answer.headers()["x-te"], "trailers");
        let collected = answer.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap();
        let case = format!("{client} to {upstream}");
        assert_eq!(trailers["x-sum"], "42", "{case}");
        assert_eq!(trailers["grpc-status"], "0", "{case}");
        assert_eq!(collected.to_bytes(), "message");
    }
}

#[tokio::test]
async fn head_keeps_the_length_and_a_get_may_have_a_body() {
    let api = Api::start(|seen| {
        if seen.body.is_empty() {
            response(200, "0123456789")
        } else {
            response(200, "with a body")
        }
    });
    let sidebearer = to(api.address);
    let asked = client::request(Method::HEAD, "/", "");
    let answer = client::send(sidebearer.address(), asked).await;
    let length = answer.header("content-length");
    assert_eq!((length, answer.body.len()), ("10", 0));

    let chunked = "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = client::raw(sidebearer.address(), chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(api.seen()[1].body, "abc");
}

#[tokio::test]
async fn http2_is_agreed_on_by_alpn_and_one_connection_serves() {
    let ca = Ca::new();
    let tls = ca.own_certificate().server(&["h2", "http/1.1"]);
    let api = Api::with_tls(Some(tls), |seen| response(200, seen.body.clone()));
    let lines = format!("tls = {{ ca_file = \"{}\" }}", ca.file().display());
    let config = unprotected(&format!("https://{}", api.address), &lines);
    let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
    for version in ["1.1", "2"] {
        for body in ["", "small"] {
            let asked = streaming(Method::POST, "/", whole(body));
            let answer = send(sidebearer.address(), version, asked).await;
            assert_eq!(read(answer).await.unwrap().text(), body);
        }
    }
    // HTTP/1.1 would carry it.
    assert!(api.seen().iter().all(|seen| seen.header("host").is_empty()));
    assert_eq!(sidebearer.connects("api").await, 1.0);
}

/// Says when a request was dropped unanswered.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_gives_up_cancels_the_request_to_the_upstream() {
    for (client, upstream) in VERSIONS {
        let (dropped, mut drops) = mpsc::unbounded_channel();
        let (begun, mut begins) = mpsc::unbounded_channel();
        let api = server::serve(None, move |_| {
            let (dropped, begun) = (Dropped(dropped.clone()), begun.clone());
            async move {
                begun.send(()).unwrap();
                let _until_dropped = dropped;
                std::future::pending().await
            }
        });
        let sidebearer = speaking(upstream, api);
        let address = sidebearer.address();
        let asking = tokio::spawn(async move {
            let asked = streaming(Method::GET, "/", whole(""));
            send(address, client, asked).await
        });
        begins.recv().await.unwrap();
        asking.abort();
        let cancelled = timeout(PATIENCE, drops.recv()).await;
        assert!(cancelled.is_ok(), "{client} to {upstream}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_reaches_the_client() {
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let refusal =
            "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        // Closed on unread bytes: a reset.
    });
    let sidebearer = to(api);
    for _ in 0..20 {
        let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n";
        writing.write_all(head.as_bytes()).await.unwrap();
        let upload =
            tokio::spawn(async move { while writing.write_all(&[0; 10_000]).await.is_ok() {} });
        let answer = read_head(&mut reading).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let mut body = [0; 3];
        reading.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"big");
        upload.abort();
    }
}
