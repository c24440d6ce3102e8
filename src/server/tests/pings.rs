//! Pings of HTTP/2, to clients and to APIs.

use super::frames::{END_HEADERS, END_STREAM, HEADERS, PING, frame, get};
use super::*;

const PINGS: &str = "ping_interval = \"20s\"\nping_timeout = \"5s\"";

async fn send_get(shard: &InMemoryShard) -> FrameClient {
    let mut client = FrameClient::over(shard.connect(), &[]).await;
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]));
    client.send(&head).await;
    client
}

#[test]
fn an_http2_client_that_does_not_answer_pings_is_given_up() {
    on_paused_time(async {
        serve_nothing();
        let shard = shard(PINGS, "");
        let start = Instant::now();
        let mut client = send_get(&shard).await;
        while client.next().await.expect("it is pinged first").kind != PING {}
        assert_took(start, secs(20));
        while client.next().await.is_some() {}
        assert_took(start, secs(25));
    });
}

#[test]
fn an_http2_client_that_reads_later_is_not_pinged_meanwhile() {
    on_paused_time(async {
        serve(|_, mut stream| async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 20);
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = stream.write_all(&vec![b'x'; 1 << 20]).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let shard = shard(&format!("{PINGS}\nidle_timeout = \"10m\""), "");
        let mut client = send_get(&shard).await;
        fill_window(&mut client).await;
        let more = timeout(secs(290), client.next()).await;
        assert!(more.is_err(), "{more:?}");
    });
}

#[test]
fn an_http2_client_that_waits_for_nothing_is_not_pinged() {
    on_paused_time(async {
        serve_ok();
        let shard = shard(&format!("{PINGS}\nidle_timeout = \"120s\""), "");
        let mut client = FrameClient::over(shard.connect(), &[]).await;
        let start = Instant::now();
        // With the GOAWAY comes a ping, which tells when the last request can have come.
        loop {
            match client.next().await.expect("it is told first").kind {
                PING => panic!("it was pinged after {:?}", start.elapsed()),
                GOAWAY => break,
                _ => {}
            }
        }
        assert_took(start, secs(120));
    });
}

#[test]
fn an_http2_api_that_does_not_answer_pings_is_given_up() {
    on_paused_time(async {
        // It sends its settings, and nothing else ever.
        serve(|_, mut stream| async move {
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let shard = shard("", &format!("http = \"2\"\n{PINGS}"));
        let start = Instant::now();
        let (head, problem) = exchange(&mut shard.connect(), GET).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(problem.contains("error:upstream_connect"), "{problem}");
        assert_took(start, secs(25));
    });
}

#[test]
fn a_connection_on_which_a_request_timed_out_gets_no_other_unless_something_came() {
    on_paused_time(async {
        for (talks, connections) in [(false, 2.0), (true, 1.0)] {
            serve(move |_, stream| async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut pings = connection.ping_pong().unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if request.uri().path() != "/never" {
                        let answer = http::Response::new(());
                        let sent: h2::SendStream<bytes::Bytes> =
                            respond.send_response(answer, true).unwrap();
                        drop(sent);
                        continue;
                    }
                    if talks {
                        pings.send_ping(h2::Ping::opaque()).unwrap();
                    }
                    // Not reset either.
                    std::mem::forget(respond);
                }
            });
            let shard = shard("", "http = \"2\"\nresponse_timeout = \"10s\"");
            let mut client = shard.connect();
            // What it says to begin with has come.
            let (head, _) = exchange(&mut client, GET).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let never = b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let start = Instant::now();
            let (head, _) = exchange(&mut client, never).await;
            assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
            assert_took(start, secs(10));
            let (head, _) = exchange(&mut client, GET).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let connects =
                r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;
            assert_eq!(shard.metric(connects), connections, "{talks}");
        }
    });
}
