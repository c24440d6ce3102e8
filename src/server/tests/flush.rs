//! Clients whose socket holds everything back until it is flushed, as TLS may do.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::duplex;

use super::*;
use crate::client_socket::ClientSocket;
use crate::client_socket::in_memory::HoldsUntilFlushed;

/// A client with such a socket, before an API that sends back the body of each request, or what comes behind an
/// upgrade.
fn connect() -> (InMemoryShard, DuplexStream) {
    serve(|_, mut socket| async move {
        loop {
            let head = read_head(&mut socket).await;
            if head.is_empty() {
                return;
            }
            if head.contains("upgrade: x") {
                let switching = "HTTP/1.1 101 Switching Protocols\r\n\
                                 Connection: upgrade\r\nUpgrade: x\r\n\r\n";
                socket.write_all(switching.as_bytes()).await.unwrap();
                let (mut read, mut write) = tokio::io::split(socket);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return;
            }
            let length = head.split("content-length: ").nth(1).unwrap_or("0\r\n");
            let length = length.lines().next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(&body).await.unwrap();
        }
    });
    let shard = shard("", "");
    let (near, far) = duplex(10_000);
    let socket = HoldsUntilFlushed::new(far, 20_000);
    shard.serve(ClientSocket::Memory(Box::new(socket)));
    (shard, near)
}

#[test]
fn http1_is_served_on_a_socket_that_holds_everything_back_until_it_is_flushed() {
    on_paused_time(async {
        let (_shard, mut client) = connect();
        for length in [0, 3, 100_000] {
            let head =
                format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            let body = vec![b'x'; length];
            let (mut read, mut write) = tokio::io::split(&mut client);
            let asking = async {
                write.write_all(head.as_bytes()).await.unwrap();
                write.write_all(&body).await.unwrap();
            };
            let reading = async {
                let head = read_head(&mut read).await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let mut got = vec![0; length];
                read.read_exact(&mut got).await.unwrap();
                got
            };
            let ((), got) = tokio::join!(asking, reading);
            assert!(got == body, "{length}");
        }

        let expects =
            b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.write_all(expects).await.unwrap();
        let interim = read_head(&mut client).await;
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        let (head, body) = exchange(&mut client, b"ok").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "ok");

        let upgrade =
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        client.write_all(upgrade).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        for word in [b"one", b"two"] {
            client.write_all(word).await.unwrap();
            let mut echoed = [0; 3];
            client.read_exact(&mut echoed).await.unwrap();
            assert_eq!(&echoed, word);
        }
    });
}

#[test]
fn what_is_no_request_is_refused_on_a_socket_that_holds_everything_back() {
    on_paused_time(async {
        let (_shard, mut client) = connect();
        client.write_all(b"GET /\x01 HTTP/1.1\r\n").await.unwrap();
        let answer = read_rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

#[test]
fn http2_is_served_on_a_socket_that_holds_everything_back_until_it_is_flushed() {
    on_paused_time(async {
        let (_shard, client) = connect();
        let client = TokioIo::new(client);
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), client).await;
        let (sender, connection) = shaken.unwrap();
        tokio::spawn(connection);
        let requests = [0, 3, 100_000, 300_000].map(|length| {
            let mut sender = sender.clone();
            async move {
                let body = Full::new(Bytes::from(vec![b'x'; length]));
                let request = Request::builder()
                    .method(Method::POST)
                    .uri("http://localhost/");
                let response = sender.send_request(request.body(body).unwrap()).await;
                let response = response.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body == vec![b'x'; length], "{length}");
            }
        });
        let [none, small, large, larger] = requests;
        tokio::join!(none, small, large, larger);
    });
}
