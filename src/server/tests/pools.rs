//! Connections to an API that are kept, and for how long.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

pub(super) const CONNECTS: &str =
    r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;
const REFUSED: &str = r#"sidebearer_upstream_connects_total{outcome="unreachable",upstream="api"}"#;
const IDLE: &str = r#"sidebearer_upstream_connections{state="idle",upstream="api"}"#;
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

/// When a connection of each number ended.
type Ends = Rc<RefCell<Vec<(usize, Instant)>>>;

/// Answers every request on a connection with its number, until it ends.
async fn answer_with_number(number: usize, mut stream: DuplexStream, http2: bool) {
    if !http2 {
        while !read_head(&mut stream).await.is_empty() {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        return;
    }
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let answer = http::Response::builder().header("content-length", 1);
        let mut sending = respond.send_response(answer.body(()).unwrap(), false);
        let body = bytes::Bytes::from(number.to_string());
        sending.as_mut().unwrap().send_data(body, true).unwrap();
    }
}

/// Such servers. Behind a proxy, HTTP/2 begins in a tunnel.
fn serve_numbers(http2: bool, is_proxied: bool) -> Ends {
    let ends = Ends::default();
    let ended = Rc::clone(&ends);
    serve(move |number, mut stream| {
        let ended = Rc::clone(&ended);
        async move {
            if http2 && is_proxied {
                let head = read_head(&mut stream).await;
                assert!(head.starts_with("CONNECT "), "{head}");
                let opened = b"HTTP/1.1 200 OK\r\n\r\n";
                stream.write_all(opened).await.unwrap();
            }
            answer_with_number(number, stream, http2).await;
            ended.borrow_mut().push((number, Instant::now()));
        }
    });
    ends
}

#[test]
fn no_more_than_pool_idle_connections_stay_and_not_for_longer_than_its_timeout() {
    on_paused_time(async {
        let ends = Ends::default();
        let ended = Rc::clone(&ends);
        serve(move |number, mut stream| {
            let ended = Rc::clone(&ended);
            async move {
                read_head(&mut stream).await;
                // All ten are asked before one answers.
                sleep(secs(1)).await;
                stream.write_all(OK).await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                ended.borrow_mut().push((number, Instant::now()));
            }
        });
        let shard = shard("", "pool_idle = 3\npool_idle_timeout = \"40s\"");
        let start = Instant::now();
        let mut clients: Vec<_> = (0..10).map(|_| shard.connect()).collect();
        for client in &mut clients {
            client.write_all(GET).await.unwrap();
        }
        for client in &mut clients {
            assert_eq!(read_message(client).await.1, "ok");
        }
        assert_eq!(shard.metric(CONNECTS), 10.0);
        sleep(secs(2)).await;
        assert_eq!((shard.metric(IDLE), ends.borrow().len()), (3.0, 7));
        sleep(secs(50)).await;
        assert_eq!((shard.metric(IDLE), ends.borrow().len()), (0.0, 10));
        // They are looked at once a second.
        let kept = ends.borrow().last().unwrap().1 - start - secs(1);
        assert!((secs(40)..secs(42)).contains(&kept), "{kept:?}");
    });
}

#[test]
fn an_old_connection_ends_when_another_is_there_and_no_request_fails() {
    const PROXY: &str = "proxy = \"http://127.0.0.1:80\"";
    on_paused_time(async {
        for (http, proxy) in [("1.1", ""), ("2", ""), ("1.1", PROXY), ("2", PROXY)] {
            let ends = serve_numbers(http == "2", !proxy.is_empty());
            let lines = format!("http = \"{http}\"\nmax_connection_age = \"60s\"\n{proxy}");
            let shard = shard("", &lines);
            let mut client = shard.connect();
            let start = Instant::now();
            // It is never idle for long.
            while start.elapsed() < secs(70) {
                let (head, number) = exchange(&mut client, POST).await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let age = start.elapsed();
                // Some live shorter, so that not all are replaced at once.
                if age < secs(45) {
                    assert_eq!(number, "0", "after {age:?}");
                } else if age > secs(62) {
                    assert_ne!(number, "0", "after {age:?}");
                }
                sleep(Duration::from_millis(100)).await;
            }
            let first = ends.borrow().first().map(|(number, _)| *number);
            assert_eq!(first, Some(0), "HTTP/{http} {proxy}");
        }
    });
}

#[test]
fn an_old_connection_serves_on_as_long_as_no_other_can_be_had() {
    on_paused_time(async {
        for http in ["1.1", "2"] {
            let mut listener = InMemoryListener::bind(api());
            spawn_local(async move {
                let stream = listener.accept().await;
                // From now on it refuses.
                drop(listener);
                answer_with_number(0, stream, http == "2").await;
            });
            let lines = format!("http = \"{http}\"\nmax_connection_age = \"60s\"");
            let shard = shard("", &lines);
            let mut client = shard.connect();
            let start = Instant::now();
            while start.elapsed() < secs(600) {
                let (head, number) = exchange(&mut client, POST).await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                assert_eq!(number, "0");
                sleep(secs(1)).await;
            }
            assert_eq!(shard.metric(CONNECTS), 1.0);
            assert!(shard.metric(REFUSED) > 1.0, "others were tried");
        }
    });
}

#[test]
fn an_old_connection_in_use_serves_on_where_there_is_no_place_for_another() {
    on_paused_time(async {
        serve(|_, stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut endless = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let is_endless = request.uri().path() == "/endless";
                let answer = http::Response::new(());
                let sending: h2::SendStream<bytes::Bytes> =
                    respond.send_response(answer, !is_endless).unwrap();
                if is_endless {
                    endless.push(sending);
                }
            }
        });
        let lines = "http = \"2\"\nmax_connections = 1\nmax_connection_age = \"60s\"\nstream_idle_timeout = \"0s\"";
        let shard = shard("", lines);
        let mut waiting = shard.connect();
        let endless = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n";
        waiting.write_all(endless).await.unwrap();
        assert!(read_head(&mut waiting).await.starts_with("HTTP/1.1 200 "));
        let mut client = shard.connect();
        let start = Instant::now();
        while start.elapsed() < secs(300) {
            let (head, _) = exchange(&mut client, POST).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            sleep(secs(1)).await;
        }
        assert_eq!(shard.metric(CONNECTS), 1.0);
        let limited = r#"sidebearer_upstream_connects_total{outcome="limit",upstream="api"}"#;
        assert_eq!((shard.metric(REFUSED), shard.metric(limited)), (0.0, 0.0));
    });
}
