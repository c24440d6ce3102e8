//! How long a client may take: until its request has come, and between two requests.

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, get, request};
use super::*;

/// A request in stream 1, whole.
fn whole() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]))
}

#[test]
fn a_head_that_is_not_whole_after_header_timeout_is_refused_with_408() {
    on_paused_time(async {
        serve_ok();
        let shard = shard("header_timeout = \"10s\"", "");
        // The second begins like HTTP/2, the third comes behind a good request.
        for (good, slow) in [
            (false, "GET / HT"),
            (false, "PRI * HT"),
            (true, "GET / HTTP/1.1\r\nho"),
        ] {
            let mut client = shard.connect();
            if good {
                let (head, _) = exchange(&mut client, GET).await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                sleep(secs(5)).await;
            }
            let start = Instant::now();
            let (head, problem) = exchange(&mut client, slow.as_bytes()).await;
            assert!(head.starts_with("HTTP/1.1 408 "), "{slow}: {head}");
            assert!(head.contains("connection: close"), "{head}");
            assert!(problem.contains("error:request_timeout"), "{problem}");
            assert!(problem.contains("header_timeout"), "{problem}");
            assert_took(start, secs(10));
        }
        let errors =
            r#"sidebearer_errors_total{error="request_timeout",listener="app",upstream=""}"#;
        assert_eq!(shard.metric(errors), 3.0);
    });
}

#[test]
fn a_head_of_http2_that_is_not_whole_after_header_timeout_ends_its_connection() {
    on_paused_time(async {
        serve_ok();
        let shard = shard("header_timeout = \"10s\"", "");
        let head = get("/", &[]);
        let go_on = |stream, bytes: &[u8]| frame(CONTINUATION, 0, stream, bytes);
        let begun = |stream, bytes: &[u8]| frame(HEADERS, END_STREAM, stream, bytes);
        for (good, slow, trickle) in [
            (false, begun(1, &head), &[][..]),
            (false, whole()[..whole().len() - 1].to_vec(), &[]),
            (false, whole()[..12].to_vec(), &[]),
            (false, begun(1, &head[..5]), &head[5..]),
            (true, begun(3, &head[..5]), &head[5..]),
            (true, [begun(3, &head[..5]), go_on(3, b"")].concat(), &[]),
        ] {
            let mut client = FrameClient::over(shard.connect(), &[]).await;
            if good {
                client.send(&whole()).await;
                assert!(client.outcome(1).await.0.is_ok());
            }
            let start = Instant::now();
            client.send(&slow).await;
            let mut trickle = trickle.iter();
            loop {
                match timeout(Duration::from_millis(2400), client.next()).await {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(_) => {
                        if let Some(byte) = trickle.next() {
                            let stream = if good { 3 } else { 1 };
                            client.send(&go_on(stream, &[*byte])).await;
                        }
                    }
                }
            }
            assert_took(start, secs(10));
        }
    });
}

#[test]
fn a_connection_that_is_always_in_the_middle_of_some_head_of_http2_goes_on() {
    on_paused_time(async {
        serve_ok();
        let shard = shard("header_timeout = \"10s\"", "");
        let head = get("/", &[]);
        let begin = |stream| frame(HEADERS, END_STREAM, stream, &head[..5]);
        let mut client = FrameClient::over(shard.connect(), &[]).await;
        client.send(&begin(1)).await;
        for stream in (1..20).step_by(2) {
            sleep(secs(9)).await;
            let end = frame(CONTINUATION, END_HEADERS, stream, &head[5..]);
            client.send(&[end, begin(stream + 2)].concat()).await;
            let (outcome, _) = client.outcome(stream).await;
            assert!(outcome.is_ok(), "{stream}: {outcome:?}");
        }
    });
}

#[test]
fn a_connection_that_says_nothing_ends_after_idle_timeout() {
    on_paused_time(async {
        serve_ok();
        let shard = shard("idle_timeout = \"60s\"\nheader_timeout = \"10s\"", "");
        for said in [&b""[..], GET] {
            let mut client = shard.connect();
            client.write_all(said).await.unwrap();
            let start = Instant::now();
            read_rest(&mut client).await;
            assert_took(start, secs(60));
        }
    });
}

#[test]
fn an_idle_http2_connection_is_told_before_it_is_closed() {
    on_paused_time(async {
        let shard = shard("idle_timeout = \"60s\"", "");
        let mut client = FrameClient::over(shard.connect(), &[]).await;
        let start = Instant::now();
        while client.next().await.expect("it is told first").kind != GOAWAY {}
        assert_took(start, secs(60));
        // It ends though nothing is acknowledged.
        while client.next().await.is_some() {}
    });
}

#[test]
fn an_empty_http2_request_without_its_end_is_reset_after_idle_timeout() {
    const CANCEL: u32 = 8;
    on_paused_time(async {
        serve(|_, mut stream| async move {
            let head = read_head(&mut stream).await;
            assert!(head.is_empty(), "{head}");
        });
        // Before it would be pinged, which it would not answer.
        let shard = shard("idle_timeout = \"15s\"", "");
        let mut client = FrameClient::over(shard.connect(), &[]).await;
        let head = request("POST", "/", &[("content-length", "0")]);
        let start = Instant::now();
        client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        let (outcome, goaway) = client.outcome(1).await;
        assert_eq!((outcome.reset, goaway), (Some(CANCEL), None));
        assert_took(start, secs(15));
    });
}

/// A request over HTTP/2 that promises this many bytes, has sent `sent` of them, and waits since then.
async fn promise(shard: &InMemoryShard, length: &str, sent: &str) -> FrameClient {
    let head = request("POST", "/", &[("content-length", length)]);
    let mut client = FrameClient::over(shard.connect(), &[]).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    client.send(&frame(DATA, 0, 1, sent.as_bytes())).await;
    sleep(secs(10)).await;
    client
}

const PROMISES: [(&str, &str); 2] = [("0", ""), ("5", "hello")];

/// The API sees no request, or one that lacks its end: what comes too much may come late.
#[test]
fn more_data_than_an_http2_request_promised_completes_it_never_however_late_it_comes() {
    on_paused_time(async {
        serve(|_, mut stream| async move {
            let head = read_head(&mut stream).await;
            let mut body = Vec::new();
            let _ = stream.read_to_end(&mut body).await;
            if !head.is_empty() {
                assert!(head.contains("content-length: 5"), "{head}");
                assert!(body.len() < 5, "it was sent as if it were whole");
            }
        });
        let shard = shard("", "");
        for (length, sent) in PROMISES {
            let mut client = promise(&shard, length, sent).await;
            client.send(&frame(DATA, END_STREAM, 1, b"!")).await;
            let (outcome, _) = client.outcome(1).await;
            assert!(!outcome.is_ok(), "{length}: {outcome:?}");
        }
    });
}

#[test]
fn an_http2_request_that_ends_late_with_what_it_promised_is_sent() {
    on_paused_time(async {
        serve(|_, mut stream| async move {
            loop {
                let (head, _) = read_message(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                stream.write_all(OK).await.unwrap();
            }
        });
        let shard = shard("", "");
        for (length, sent) in PROMISES {
            let mut client = promise(&shard, length, sent).await;
            client.send(&frame(DATA, END_STREAM, 1, b"")).await;
            let (outcome, _) = client.outcome(1).await;
            assert!(outcome.is_ok(), "{length}: {outcome:?}");
        }
    });
}

#[test]
fn a_connection_reads_on_for_linger_timeout_after_its_last_response() {
    on_paused_time(async {
        for seconds in [0, 1, 30] {
            let shard = shard(&format!("linger_timeout = \"{seconds}s\""), "");
            let mut client = shard.connect();
            let (head, _) = exchange(&mut client, b"nonsense\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
            let start = Instant::now();
            assert_eq!(read_rest(&mut client).await, "", "its end comes at once");
            assert_took(start, Duration::ZERO);
            while client.write_all(b"more").await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
            let late = Duration::from_millis(10);
            let lingered = start.elapsed();
            assert!(lingered >= secs(seconds), "{lingered:?}");
            assert!(lingered <= secs(seconds) + late, "{lingered:?}");
        }
    });
}
