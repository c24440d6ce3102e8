//! Uploads whose response is there before all of them.

use std::time::Duration;

use http_body_util::Collected;

use super::*;
use crate::support::{eventually, unprotected};

type RequestBodies = mpsc::UnboundedReceiver<hyper::Result<Collected<bytes::Bytes>>>;

/// Answers at once, and tells what comes of each request body.
fn hasty() -> (SocketAddr, RequestBodies) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = server::serve(None, move |request| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move { tell.send(request.into_body().collect().await) });
            response(200, "done")
        }
    });
    (address, told)
}

fn patient(version: &str, address: SocketAddr, idle: &str) -> Sidebearer {
    let lines = format!("http = \"{version}\"\nstream_idle_timeout = \"{idle}\"");
    let upstream = unprotected(&format!("http://{address}"), &lines);
    Sidebearer::start(&format!("[server]\nidle_timeout = \"{idle}\"\n{upstream}"))
}

async fn done(stream: &mut TcpStream) {
    let head = timeout(PATIENCE, read_head(stream)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut body = [0; 4];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"done");
}

async fn half_an_upload(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let half = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    stream.write_all(half.as_bytes()).await.unwrap();
    done(&mut stream).await;
    stream
}

#[tokio::test]
async fn an_upload_goes_on_behind_its_response_and_the_next_request_behind_it() {
    for version in ["1.1", "2"] {
        let (api, mut told) = hasty();
        let sidebearer = patient(version, api, "20s");
        let mut stream = half_an_upload(sidebearer.address()).await;
        let rest = "67890GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(rest.as_bytes()).await.unwrap();
        done(&mut stream).await;
        for expected in ["1234567890", ""] {
            let body = timeout(PATIENCE, told.recv()).await.unwrap();
            assert_eq!(body.unwrap().unwrap().to_bytes(), expected, "{version}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_stops_behind_its_response_ends_with_its_connection() {
    for version in ["1.1", "2"] {
        let (api, mut told) = hasty();
        let sidebearer = patient(version, api, "500ms");
        let mut stream = half_an_upload(sidebearer.address()).await;
        let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(end.expect("it has an end").unwrap(), 0);
        let body = timeout(PATIENCE, told.recv()).await.unwrap();
        assert!(body.unwrap().is_err(), "half of it is not all of it");
    }
}

/// Writes its response while it reads the request, whether or not anyone reads the response.
fn both_ways() -> SocketAddr {
    server::bytes(|_, stream| async move {
        let (mut from, mut to) = stream.into_split();
        read_head(&mut from).await;
        let answering = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
            to.write_all(head.as_bytes()).await.unwrap();
            to.write_all(&vec![b'd'; MUCH]).await.unwrap();
            to
        });
        from.read_exact(&mut vec![0; MUCH]).await.unwrap();
        let _to = answering.await.unwrap();
    })
}

/// More than sockets on the way hold.
const MUCH: usize = 64_000_000;

#[tokio::test]
async fn a_client_may_send_all_of_its_request_before_it_reads_a_long_response() {
    let sidebearer = patient("1.1", both_ways(), "20s");
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MUCH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let sending = stream.write_all(&vec![b'u'; MUCH]).await;
    sending.expect("it is read");
    read_head(&mut stream).await;
    let mut body = vec![0; MUCH];
    stream.read_exact(&mut body).await.unwrap();
    assert!(body.iter().all(|byte| *byte == b'd'));
}

/// Begins an answer that never ends, and does with the request body as it is told by the path. Tells when
/// the answer is not wanted any more.
fn endless(version: &str) -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    if version == "1.1" {
        let address = server::bytes(move |_, mut stream| {
            let tell = tell.clone();
            async move {
                let asked = read_head(&mut stream).await;
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await.unwrap();
                if asked.starts_with("POST /reads ") {
                    stream.read_exact(&mut [0; 10]).await.unwrap();
                }
                stream.write_all(b"4\r\ndone\r\n").await.unwrap();
                let end = stream.read(&mut [0]).await;
                assert_eq!(end.unwrap_or(0), 0);
                let _ = tell.send(());
            }
        });
        return (address, told);
    }
    let address = server::serve(None, move |request| {
        let tell = tell.clone();
        async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                if request.uri().path() == "/reads" {
                    let _ = request.into_body().collect().await;
                }
                feed.send(Ok(Frame::data("done".into()))).await.unwrap();
                feed.closed().await;
                let _ = tell.send(());
            });
            http::Response::new(body)
        }
    });
    (address, told)
}

#[tokio::test]
async fn a_client_that_goes_while_its_answer_goes_on_is_noticed() {
    let whole = "POST /reads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
    let unasked = "POST /ignores HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    for version in ["1.1", "2"] {
        // What stands behind the request waits for its turn, and hides nothing.
        for (head, body) in [
            (whole, "1234567890"),
            (whole, "1234567890\r\n"),
            (whole, "1234567890GET"),
            (whole, "1234567890GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (unasked, ""),
            (unasked, "12345"),
        ] {
            let (api, mut told) = endless(version);
            let sidebearer = patient(version, api, "10m");
            let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // Behind the head of the response, and so by another task over HTTP/2.
            let answer = timeout(PATIENCE, async {
                while !read_head(&mut stream)
                    .await
                    .starts_with("HTTP/1.1 200 OK\r\n")
                {}
            });
            answer.await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|seen| seen == b"done") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
            drop(stream);
            let noticed = timeout(PATIENCE, told.recv()).await;
            assert!(noticed.is_ok(), "{version} {head}");
        }
    }
}

/// An upload that the API does not read is held back, so that nothing is read from its client either.
#[tokio::test]
async fn a_client_that_breaks_off_an_upload_that_is_held_back_is_noticed() {
    for version in ["1.1", "2"] {
        let api = match version {
            "1.1" => server::bytes(|_, mut stream| async move {
                read_head(&mut stream).await;
                std::future::pending().await
            }),
            _ => endless(version).0,
        };
        let sidebearer = patient(version, api, "10m");
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let head =
            "POST /ignores HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        // Until the buffers of both connections are full.
        while let Ok(written) = timeout(Duration::from_secs(1), stream.write(&piece)).await {
            sent += written.unwrap();
            assert!(sent < 500_000_000, "somebody takes it all");
        }
        let active = r#"sidebearer_upstream_connections{state="active",upstream="api"}"#;
        assert_eq!(sidebearer.metric(active).await, 1.0);
        stream.set_zero_linger().unwrap();
        drop(stream);
        eventually("the API is let go", async || {
            sidebearer.metric(active).await == 0.0
        })
        .await;
    }
}
