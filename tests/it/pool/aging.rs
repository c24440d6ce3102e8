//! Connections that have been open for long.

use super::*;

/// Counts connections, and answers every request with the number of its own; tells when one has ended.
fn counting(http2: bool) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = server::bytes(move |number, mut stream| {
        let tell = tell.clone();
        async move {
            if http2 {
                let answer =
                    move |_| async move { Ok::<_, Infallible>(response(200, number.to_string())) };
                let serving = http2_server::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                let _ = serving.await;
            } else {
                while !read_head(&mut stream).await.is_empty() {
                    let text = number.to_string();
                    let length = text.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            let _ = tell.send(number);
        }
    });
    (address, told)
}

#[tokio::test]
async fn an_old_connection_ends_when_another_is_there_and_no_request_fails() {
    for http in ["1.1", "2"] {
        let (api, mut ended) = counting(http == "2");
        let lines = format!("http = \"{http}\"\nmax_connection_age = \"500ms\"");
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), &lines));
        let mut client = Connection::open(sidebearer.address()).await;
        let mut last = String::new();
        // Without a pause: it is never idle for long.
        while last != "1" {
            let answer = client.send(request(Method::POST, "/", "x")).await.unwrap();
            assert_eq!(answer.status, 200);
            last = answer.text();
        }
        assert_eq!(timeout(PATIENCE, ended.recv()).await.unwrap(), Some(0));
    }
}

/// Attempts to connect, whatever came of them.
async fn attempts(sidebearer: &Sidebearer) -> f64 {
    let page = sidebearer.page("/metrics").await;
    let lines = page.lines();
    let lines = lines.filter_map(|line| line.strip_prefix("sidebearer_upstream_connects_total{"));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// Takes one connection, and refuses all others from then on.
fn taking_one(http2: bool) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(crate::support::loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        stream.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let mut stream = TcpStream::from_std(stream).unwrap();
            if http2 {
                let answer = |_| async { Ok::<_, Infallible>(response(200, "ok")) };
                let serving = http2_server::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                let _ = serving.await;
            } else {
                while !read_head(&mut stream).await.is_empty() {
                    stream.write_all(OK).await.unwrap();
                }
            }
        });
    });
    address
}

#[tokio::test]
async fn an_old_connection_serves_on_as_long_as_no_other_can_be_had() {
    for http in ["1.1", "2"] {
        let api = taking_one(http == "2");
        let lines = format!("http = \"{http}\"\nmax_connection_age = \"300ms\"");
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), &lines));
        let mut client = Connection::open(sidebearer.address()).await;
        eventually("another is tried", async || {
            let answer = client.send(request(Method::POST, "/", "x")).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            attempts(&sidebearer).await > 1.0
        })
        .await;
        for _ in 0..3 {
            let answer = client.send(request(Method::POST, "/", "x")).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(connects(&sidebearer).await, 1.0);
    }
}

#[tokio::test]
async fn an_old_connection_in_use_serves_on_where_there_is_no_place_for_another() {
    let (hold, mut held) = mpsc::unbounded_channel();
    let api = server::serve(None, move |request| {
        let hold = hold.clone();
        async move {
            let (feed, body) = fed();
            if request.uri().path() == "/endless" {
                hold.send(feed).unwrap();
            }
            Response::new(body)
        }
    });
    let lines = "http = \"2\"\nmax_connections = 1\nmax_connection_age = \"200ms\"";
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), lines));
    let mut endless = Connection::open(sidebearer.address()).await;
    let asked = request(Method::GET, "/endless", "");
    let waiting = tokio::spawn(async move { endless.send(asked).await });
    let _held = timeout(PATIENCE, held.recv()).await.unwrap();
    let mut client = Connection::open(sidebearer.address()).await;
    // Longer than until old ones are looked for.
    let end = tokio::time::Instant::now() + Duration::from_millis(1500);
    while tokio::time::Instant::now() < end {
        let answer = client.send(request(Method::POST, "/", "x")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(attempts(&sidebearer).await, 1.0);
    waiting.abort();
}
