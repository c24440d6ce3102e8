//! Bodies over TLS: large ones both ways, upgrades, and how they end.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{NAME, config, connect, speaking, write};
use crate::support::api::Api;
use crate::support::client::streaming;
use crate::support::server::{self, read_head, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

/// A listener with TLS before an API of a test's own.
struct Before {
    ca: Ca,
    sidebearer: Sidebearer,
}

impl Before {
    fn api(api: &Api) -> Self {
        Self::with(&config(api, "", ""))
    }

    fn address(api: std::net::SocketAddr) -> Self {
        let other = Api::open();
        Self::with(&config(&other, "", "").replace(&other.url(), &format!("http://{api}")))
    }

    fn with(config: &str) -> Self {
        let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
        write(dir.path(), "own", &ca.certificate(&[NAME]));
        let sidebearer = Sidebearer::start_in(dir, config);
        Self { ca, sidebearer }
    }

    async fn connect(
        &self,
        alpn: &[&str],
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let config = speaking(self.ca.client(), alpn);
        connect(self.sidebearer.address(), config, NAME)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn large_bodies_pass_whole_both_ways_in_both_versions() {
    let api = Api::start(|seen| Response::new(whole(seen.body.clone())));
    let before = Before::api(&api);
    let body: Bytes = (0..5_000_000_u32).map(|at| (at / 7) as u8).collect();
    for alpn in ["http/1.1", "h2"] {
        let io = TokioIo::new(before.connect(&[alpn]).await);
        let request = streaming(Method::POST, "/", whole(body.clone()));
        let answer = if alpn == "h2" {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let back = answer.unwrap().into_body().collect().await.unwrap();
        assert!(back.to_bytes() == body, "{alpn}");
    }
}

#[tokio::test]
async fn a_websocket_works_over_tls() {
    let address = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switching = "HTTP/1.1 101 Switching Protocols\r\n\
                         Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switching.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.write_all(b"bye").await;
    });
    let before = Before::address(address);
    let mut client = before.connect(&["http/1.1"]).await;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    client.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    for word in [b"one", b"two"] {
        client.write_all(word).await.unwrap();
        let mut back = [0; 3];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, word);
    }
    // Its direction ends alone; what comes back is still read, to an end that is said.
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_to_its_client() {
    let address = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        // It would last until the connection ends.
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
    });
    let before = Before::address(address);
    // To HTTP/1.0 the end of the connection is the end of the body.
    let mut client = before.connect(&[]).await;
    let request = format!("GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let error = client.read_to_end(&mut answer).await.unwrap_err();
    let broken = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(broken.contains(&error.kind()), "{error}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_arrive_as_a_whole_one() {
    let (tell, mut seen) = mpsc::unbounded_channel();
    let address = server::bytes(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            let mut body = Vec::new();
            while !body.ends_with(b"ok\r\n") {
                assert!(stream.read_buf(&mut body).await.unwrap() > 0);
            }
            let _ = tell.send(body.clone());
            let _ = stream.read_to_end(&mut body).await;
            let _ = tell.send(body);
        }
    });
    let before = Before::address(address);
    let head = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for is_reset in [false, true] {
        let mut client = before.connect(&[]).await;
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(b"2\r\nok\r\n").await.unwrap();
        client.flush().await.unwrap();
        // A reset could overtake what came before it.
        assert!(seen.recv().await.unwrap().ends_with(b"2\r\nok\r\n"));
        if is_reset {
            let linger = Some(Duration::ZERO);
            SockRef::from(client.get_ref().0)
                .set_linger(linger)
                .unwrap();
        }
        // Neither says that TLS ends.
        drop(client);
        let body = seen.recv().await.unwrap();
        assert!(!body.ends_with(b"0\r\n\r\n"), "{body:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_said() {
    let api = Api::open();
    let before = Before::api(&api);
    let mut client = before.connect(&[]).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
}
