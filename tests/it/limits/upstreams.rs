//! `[upstreams.NAME]`: what an API may take.

use http::{HeaderName, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config;
use crate::support::PATIENCE;
use crate::support::client::{self, http2, streaming};
use crate::support::server::{self, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;

#[tokio::test]
async fn a_response_head_larger_than_max_response_header_bytes_is_502() {
    let api = server::serve(None, |_| async {
        let mut answer = response(200, "");
        let value = HeaderValue::from_bytes(&[b'x'; 10_000]).unwrap();
        answer.headers_mut().insert("x-large", value);
        answer
    });
    for http in ["1.1", "2"] {
        for (bytes, status) in [("64KiB", 200), ("8KiB", 502)] {
            let lines = format!("http = \"{http}\"\nmax_response_header_bytes = \"{bytes}\"");
            let sidebearer = Sidebearer::start(&config("", api, &lines));
            let answer = client::get(sidebearer.address(), "/").await;
            assert_eq!(answer.status, status, "HTTP/{http}, {bytes}");
        }
    }
}

#[tokio::test]
async fn a_response_with_more_than_max_response_headers_is_502() {
    let api = server::serve(None, |request| async move {
        let number: usize = request.uri().path()[1..].parse().unwrap();
        let mut answer = response(200, "");
        for number in 0..number {
            let name: HeaderName = format!("x-{number}").parse().unwrap();
            answer
                .headers_mut()
                .insert(name, HeaderValue::from_static("1"));
        }
        answer
    });
    for (most, few, many) in [(10, 5, 11), (100, 90, 101), (200, 150, 201)] {
        let lines = format!("max_response_headers = {most}");
        let sidebearer = Sidebearer::start(&config("", api, &lines));
        for (number, status) in [(few, 200), (many, 502)] {
            // The test's own HTTP/1.1 client takes no more than 100.
            let request = streaming(Method::GET, &format!("/{number}"), whole(""));
            let mut connection = http2(sidebearer.address()).await;
            let answer = connection.send_request(request).await.unwrap();
            assert_eq!(answer.status(), status, "{number} of {most}");
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_again_as_often_as_max_retries() {
    // Serves one request a connection, and closes when it gets another.
    let once = || {
        server::bytes(|_, mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            read_head(&mut stream).await;
        })
    };
    for (retries, status) in [(0, 502), (1, 200)] {
        let lines = format!("max_retries = {retries}");
        let sidebearer = Sidebearer::start(&config("", once(), &lines));
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let again = client::get(sidebearer.address(), "/").await;
        assert_eq!(again.status, status, "{retries} retries");
    }
}

/// An HTTP/2 server that sends its settings, and nothing else ever. Tells what it read first.
fn mute() -> (
    std::net::SocketAddr,
    tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let address = server::bytes(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            let mut read = vec![0; 1 << 16];
            while let Ok(length @ 1..) = stream.read(&mut read).await {
                let _ = tell.send(read[..length].to_vec());
            }
        }
    });
    (address, told)
}

#[tokio::test]
async fn an_api_is_told_the_windows() {
    let (api, mut told) = mute();
    let lines =
        "http = \"2\"\nmax_streams = 3\nstream_window = \"128KiB\"\nresponse_timeout = \"1s\"";
    let sidebearer = Sidebearer::start(&config("", api, lines));
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 504);
    // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE of the connection, which begins with 65,535.
    let settings = b"\0\x04\0\x02\0\0";
    let more = (3 * (128 << 10) - 65_535_u32).to_be_bytes();
    let update = [&b"\0\0\x04\x08\0\0\0\0\0"[..], &more].concat();
    let mut begin = Vec::new();
    let has = |begin: &[u8], bytes: &[u8]| begin.windows(bytes.len()).any(|window| window == bytes);
    while !has(&begin, settings) || !has(&begin, &update) {
        let read = tokio::time::timeout(PATIENCE, told.recv()).await;
        begin.extend(read.expect("both are told").expect("both are told"));
    }
}

#[tokio::test]
async fn a_response_breaks_off_at_trailers_larger_than_max_response_header_bytes() {
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let long = "x".repeat(10_000);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
        let answer = format!("{head}0\r\nX-Long: {long}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    for (max, good) in [("64KiB", true), ("8KiB", false)] {
        let lines = format!("max_response_header_bytes = \"{max}\"");
        let sidebearer = Sidebearer::start(&config("", api, &lines));
        let mut connection = client::Connection::open(sidebearer.address()).await;
        let answer = connection.get("/").await;
        assert_eq!(
            answer.is_ok_and(|answer| answer.status == 200),
            good,
            "{max}"
        );
    }
}
