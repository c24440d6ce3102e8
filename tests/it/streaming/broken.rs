//! What breaks off never looks complete.

use std::sync::Arc;

use tokio::sync::Notify;

use super::*;
use crate::support::unprotected;

/// Answers `/` with this and closes the connection; `/ok` well.
fn breaks_off(answer: &'static str) -> SocketAddr {
    server::bytes(move |_, mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer = if head.starts_with("GET /ok") {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        } else {
            answer
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_complete() {
    for broken in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let sidebearer = to(breaks_off(broken));
        let address = sidebearer.address();
        let asking = |path| streaming(Method::GET, path, whole(""));

        let answer = send(address, "1.1", asking("/")).await;
        assert_eq!(answer.status(), 200);
        assert!(read(answer).await.is_err());

        let mut connection = http2(address).await;
        let answer = connection.send_request(asking("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(read(answer).await.is_err());
        let other = connection.send_request(asking("/ok")).await.unwrap();
        assert_eq!(read(other).await.unwrap().text(), "ok", "others go on");

        let mut old = TcpStream::connect(address).await.unwrap();
        let asked = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
        old.write_all(asked).await.unwrap();
        let end = old.read_to_end(&mut Vec::new()).await;
        let reset = std::io::ErrorKind::ConnectionReset;
        assert_eq!(end.unwrap_err().kind(), reset);
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_reset_at_once() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    // A connection that lingers would do so for longer than anything here waits.
    let server = "[server]\nlinger_timeout = \"1h\"\n";
    let config = unprotected(&format!("http://{}", breaks_off(half)), "");
    let sidebearer = Sidebearer::start(&(server.to_owned() + &config));
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(get).await.unwrap();
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let end = end.expect("it ends at once").unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Reads what arrives until the other side closes or resets.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn an_upload_that_is_reset_never_looks_complete() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        let (seen, mut uploads) = mpsc::unbounded_channel();
        let api = server::bytes(move |_, mut stream| {
            let seen = seen.clone();
            async move {
                read_head(&mut stream).await;
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await.unwrap();
                seen.send(read_all(&mut stream).await).unwrap();
            }
        });
        let sidebearer = to(api);
        let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let asked = streaming(Method::POST, "/", whole("")).map(drop);
        let (answer, mut upload) = sender.send_request(asked, false).unwrap();
        upload.send_data("half".into(), false).unwrap();
        let answer = answer.await.unwrap();
        upload.send_reset(reason);
        let seen = timeout(PATIENCE, uploads.recv()).await.unwrap().unwrap();
        assert_eq!(seen, "4\r\nhalf\r\n", "{reason:?}");
        drop(answer);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_before_its_end_never_looks_complete() {
    let arrived = Arc::new(Notify::new());
    let api = {
        let arrived = Arc::clone(&arrived);
        server::http2(move |asked, mut respond| {
            let reason = match asked.uri().path() {
                "/none" => h2::Reason::NO_ERROR,
                _ => h2::Reason::CANCEL,
            };
            let arrived = Arc::clone(&arrived);
            async move {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data("half".into(), false).unwrap();
                // A reset overtakes what waits to be sent.
                arrived.notified().await;
                body.send_reset(reason);
            }
        })
    };
    let sidebearer = speaking("2", api);
    for version in ["1.1", "2"] {
        for path in ["/none", "/cancel"] {
            let asked = streaming(Method::GET, path, whole(""));
            let mut answer = send(sidebearer.address(), version, asked).await;
            assert_eq!(answer.status(), 200);
            let half = timeout(PATIENCE, answer.frame()).await.unwrap();
            assert_eq!(half.unwrap().unwrap().into_data().unwrap(), "half");
            arrived.notify_one();
            assert!(read(answer).await.is_err(), "{path} {version}");
        }
    }
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_reset() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            if read_head(&mut stream).await.starts_with("GET /ok") {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[0; 65536]).await.is_ok() {}
            ended.send(()).unwrap();
        }
    });
    let server = "[server]\nidle_timeout = \"500ms\"\n";
    let config = unprotected(&format!("http://{api}"), "stream_idle_timeout = \"500ms\"");
    let sidebearer = Sidebearer::start(&(server.to_owned() + &config));
    let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let asking = |path| streaming(Method::GET, path, whole("")).map(drop);
    // The upstream's answer, and one of ours.
    for path in ["/", "/%2e%2e"] {
        let (answer, _) = sender.send_request(asking(path), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let data = timeout(PATIENCE, body.data()).await.unwrap();
        assert!(data.unwrap().unwrap_err().is_reset());
    }
    timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
    let (other, _) = sender.send_request(asking("/ok"), true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200, "others go on");
}
