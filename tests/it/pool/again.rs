//! When a request is sent again, and on which connection.

use super::*;

/// Answers the first request of each connection, and meets the second with `second` before it
/// closes. Tells the methods it saw.
fn meets_second_with(second: &'static [u8]) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let address = server::bytes(move |_, mut stream| {
        let seen = Arc::clone(&keep);
        async move {
            for answer in [OK, second] {
                let head = read_head(&mut stream).await;
                let method = head.split(' ').next().unwrap().to_owned();
                seen.lock().unwrap().push(method);
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again() {
    for (begun, status, times) in [
        (&b""[..], 200, 2),
        (b"H", 502, 1),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 502, 1),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 502, 1),
    ] {
        let (api, seen) = meets_second_with(begun);
        let sidebearer = to(api);
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let answer = client::get(sidebearer.address(), "/").await;
        let begun = String::from_utf8_lossy(begun);
        assert_eq!(answer.status, status, "{begun}");
        assert_eq!(seen.lock().unwrap().len(), 1 + times, "{begun}");
    }
}

#[tokio::test]
async fn a_connection_that_hears_nothing_more_is_not_used_again() {
    let api = server::bytes(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() || stream.write_all(OK).await.is_err() {
                return;
            }
            if head.starts_with("PUT") {
                // Closed on unread bytes, though the answer promises to go on.
                return;
            }
        }
    });
    let sidebearer = to(api);
    let address = sidebearer.address();
    for _ in 0..20 {
        let (feed, body) = fed();
        let feeding = tokio::spawn(async move {
            let block = Bytes::from(vec![0; 100_000]);
            while feed.send(Ok(Frame::data(block.clone()))).await.is_ok() {}
        });
        let mut connection = http1(address).await;
        let upload = streaming(Method::PUT, "/", body);
        let answer = connection.send_request(upload).await.unwrap();
        assert_eq!(read(answer).await.unwrap().text(), "ok");
        let next = client::post(address, "/", "not idempotent").await;
        assert_eq!(next.status, 200, "{}", next.text());
        feeding.abort();
    }
}

#[tokio::test]
async fn a_request_that_was_not_written_is_sent_again_with_a_body_of_any_size() {
    const LENGTH: usize = 1 << 20;
    let (closed, mut closings) = mpsc::unbounded_channel();
    let api = server::bytes(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            let head = read_head(&mut stream).await;
            if head.starts_with("POST") {
                let mut body = vec![0; LENGTH];
                stream.read_exact(&mut body).await.unwrap();
            }
            stream.write_all(OK).await.unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let sidebearer = to(api);
    for _ in 0..10 {
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        closings.recv().await.unwrap();
        let answer = client::post(sidebearer.address(), "/", vec![7; LENGTH]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        closings.recv().await.unwrap();
    }
}

#[tokio::test]
async fn an_idempotent_request_with_a_body_is_sent_again_without_a_credential_too() {
    for (method, replay_buffer, status, times) in [
        (Method::PUT, "64KiB", 200, 2),
        (Method::DELETE, "3B", 200, 2),
        (Method::PUT, "2B", 502, 1),
        (Method::POST, "64KiB", 502, 1),
    ] {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = Arc::clone(&seen);
        let api = server::bytes(move |connection, mut stream| {
            let seen = Arc::clone(&keep);
            async move {
                read_head(&mut stream).await;
                if connection == 0 {
                    stream.write_all(OK).await.unwrap();
                    read_head(&mut stream).await;
                }
                let mut body = [0; 3];
                stream.read_exact(&mut body).await.unwrap();
                let body = String::from_utf8_lossy(&body).into_owned();
                seen.lock().unwrap().push(body);
                if connection > 0 {
                    stream.write_all(OK).await.unwrap();
                }
            }
        });
        let lines = format!("replay_buffer = \"{replay_buffer}\"");
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), &lines));
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let asked = request(method.clone(), "/", "abc");
        let answer = client::send(sidebearer.address(), asked).await;
        assert_eq!(answer.status, status, "{method} {replay_buffer}");
        assert_eq!(*seen.lock().unwrap(), vec!["abc"; times], "{method}");
    }
}

/// As HAProxy says that it has given up an idle connection.
const TIMED_OUT: &[u8] =
    b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow";

#[tokio::test]
async fn a_408_that_crosses_a_request_is_not_its_answer() {
    for method in [Method::GET, Method::POST] {
        let (api, seen) = meets_second_with(TIMED_OUT);
        let sidebearer = to(api);
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let asked = request(method.clone(), "/", "");
        let answer = client::send(sidebearer.address(), asked).await;
        assert_eq!((answer.status, &*answer.text()), (200, "ok"), "{method}");
        let seen = seen.lock().unwrap().split_off(1);
        assert_eq!(seen, vec![method.to_string(); 2]);
    }
}

#[tokio::test]
async fn a_body_that_was_kept_is_sent_again_after_a_408_that_crosses_it() {
    for (replay_buffer, status) in [("3B", 200), ("2B", 502)] {
        let api = server::bytes(|connection, mut stream| async move {
            for answer in [OK, TIMED_OUT] {
                let head = read_head(&mut stream).await;
                if head.starts_with("POST") {
                    let mut body = [0; 3];
                    stream.read_exact(&mut body).await.unwrap();
                    assert_eq!(&body, b"abc");
                }
                let answer = if connection == 0 { answer } else { OK };
                stream.write_all(answer).await.unwrap();
            }
        });
        let lines = format!("replay_buffer = \"{replay_buffer}\"");
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), &lines));
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let answer = client::post(sidebearer.address(), "/", "abc").await;
        assert_eq!(answer.status, status, "{replay_buffer}");
    }
}

#[tokio::test]
async fn a_408_that_may_answer_the_request_is_passed_on() {
    let keeps_on = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nslow";
    let knew = [&b"HTTP/1.1 102 Processing\r\n\r\n"[..], TIMED_OUT]
        .concat()
        .leak();
    for second in [&keeps_on[..], knew] {
        let (api, seen) = meets_second_with(second);
        let sidebearer = to(api);
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.text()), (408, "slow"));
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
    // On a new connection.
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(TIMED_OUT).await;
    });
    let answer = client::get(to(api).address(), "/").await;
    assert_eq!((answer.status, &*answer.text()), (408, "slow"));
}
