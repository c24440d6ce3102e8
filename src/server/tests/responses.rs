//! How long an API may take, and how long the bodies of both may pause.

use super::*;

#[test]
fn an_api_that_does_not_answer_within_response_timeout_is_504() {
    on_paused_time(async {
        serve_nothing();
        for (lines, expected) in [("", secs(60)), ("response_timeout = \"7s\"", secs(7))] {
            let shard = shard("", lines);
            let start = Instant::now();
            let (head, problem) = exchange(&mut shard.connect(), GET).await;
            assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
            assert!(problem.contains("error:upstream_timeout"), "{problem}");
            assert_took(start, expected);
        }
    });
}

#[test]
fn a_response_that_stalls_breaks_off_after_stream_idle_timeout() {
    on_paused_time(async {
        serve(|_, mut stream| async move {
            read_head(&mut stream).await;
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
            stream.write_all(half).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let shard = shard("", "stream_idle_timeout = \"30s\"");
        let mut client = shard.connect();
        client.write_all(GET).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let start = Instant::now();
        assert_eq!(read_rest(&mut client).await, "half");
        assert_took(start, secs(30));
    });
}

#[test]
fn an_upload_that_stalls_is_408_after_stream_idle_timeout() {
    on_paused_time(async {
        serve_nothing();
        let shard = shard("", "stream_idle_timeout = \"30s\"");
        let half = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf";
        let start = Instant::now();
        let (head, problem) = exchange(&mut shard.connect(), half).await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(problem.contains("error:request_timeout"), "{problem}");
        assert_took(start, secs(30));
    });
}

#[test]
fn a_slow_stream_that_moves_goes_on_for_longer_than_its_idle_timeout() {
    on_paused_time(async {
        serve(|_, mut stream| async move {
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let lines = "response_timeout = \"10s\"\nstream_idle_timeout = \"10s\"";
        let shard = shard("", lines);
        let mut client = shard.connect();
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n";
        client.write_all(head).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        for _ in 0..6 {
            sleep(secs(9)).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'x');
        }
    });
}

#[test]
fn a_408_that_comes_late_on_a_used_connection_may_answer_the_request() {
    const TIMED_OUT: &[u8] =
        b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow";
    on_paused_time(async {
        for (pause, status, body) in [
            (Duration::from_millis(990), 200, "ok"),
            (Duration::from_millis(1010), 408, "slow"),
        ] {
            serve(move |number, mut stream| async move {
                read_head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
                if number == 0 {
                    read_head(&mut stream).await;
                    sleep(pause).await;
                    let _ = stream.write_all(TIMED_OUT).await;
                }
            });
            let shard = shard("", "");
            let mut client = shard.connect();
            assert_eq!(exchange(&mut client, GET).await.1, "ok");
            let (head, got) = exchange(&mut client, GET).await;
            let line = format!("HTTP/1.1 {status} ");
            assert!(head.starts_with(&line), "{pause:?}: {head}");
            assert_eq!(got, body);
        }
    });
}

#[test]
fn an_answer_of_ours_to_head_is_a_head_alone() {
    const PATHS: [&str; 2] = ["/x%2fy", "/"];
    on_paused_time(async {
        serve_nothing();
        let shard = shard("", "response_timeout = \"1s\"");
        for path in PATHS {
            let asked =
                format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut client = shard.connect();
            client.write_all(asked.as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.contains("\r\nproxy-status: sidebearer; "), "{head}");
            assert_eq!(read_rest(&mut client).await, "");

            let (mut sender, connection) = h2::client::handshake(shard.connect()).await.unwrap();
            spawn_local(connection);
            let asked = http::Request::head(format!("http://localhost{path}"));
            let (answer, _) = sender.send_request(asked.body(()).unwrap(), true).unwrap();
            let answer = answer.await.unwrap();
            let status = answer.status();
            assert!(
                head.starts_with(&format!("HTTP/1.1 {} ", status.as_u16())),
                "{head}"
            );
            assert!(answer.into_body().is_end_stream());
        }
    });
}
