//! `Expect: 100-continue`.

use super::*;

const EXPECTS: &[u8] =
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

/// Reads a head, says `first`, and answers the body with 200.
fn serve_after(first: &'static str) {
    serve(move |_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("expect: 100-continue"), "{head}");
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
        stream.write_all(OK).await.unwrap();
    });
}

/// Sends the body when asked to, which must be after so long.
async fn assert_asked_after(shard: &InMemoryShard, expected: Duration) {
    let mut client = shard.connect();
    let start = Instant::now();
    client.write_all(EXPECTS).await.unwrap();
    let interim = read_head(&mut client).await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    assert_took(start, expected);
    let (head, body) = exchange(&mut client, b"body").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "ok");
}

#[test]
fn continue_of_the_upstream_asks_for_the_body_at_once() {
    on_paused_time(async {
        serve_after("HTTP/1.1 100 Continue\r\n\r\n");
        assert_asked_after(&shard("", ""), Duration::ZERO).await;
    });
}

#[test]
fn the_body_is_asked_for_after_continue_timeout_of_silence() {
    on_paused_time(async {
        serve_after("");
        for (lines, expected) in [("", secs(1)), ("continue_timeout = \"40s\"", secs(40))] {
            assert_asked_after(&shard("", lines), expected).await;
        }
    });
}

#[test]
fn the_body_is_asked_for_before_stream_idle_timeout_ends_the_request() {
    on_paused_time(async {
        serve_after("");
        let lines = "stream_idle_timeout = \"900ms\"";
        assert_asked_after(&shard("", lines), Duration::from_millis(450)).await;
    });
}

#[test]
fn who_is_asked_and_sends_no_body_gets_408_after_stream_idle_timeout() {
    on_paused_time(async {
        serve_after("");
        let shard = shard("", "stream_idle_timeout = \"10s\"");
        let mut client = shard.connect();
        client.write_all(EXPECTS).await.unwrap();
        let interim = read_head(&mut client).await;
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        let asked = Instant::now();
        let (head, problem) = read_message(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(problem.contains("error:request_timeout"), "{problem}");
        assert_took(asked, secs(10));
    });
}
