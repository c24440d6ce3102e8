//! HTTP/2 towards upstreams: streams that share a connection, and those a server did not process.

use super::*;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM, frame, get,
};

/// Requests that are all in flight at once on `asked` permits, then answered.
async fn concurrent(
    sidebearer: &Sidebearer,
    requests: usize,
    gate: &Semaphore,
    arrived: &AtomicUsize,
) {
    let mut connection = http2(sidebearer.address()).await;
    let mut answers = JoinSet::new();
    let before = arrived.load(SeqCst);
    for _ in 0..requests {
        answers.spawn(connection.send_request(streaming(Method::GET, "/", whole(""))));
    }
    eventually("all in flight", async || {
        arrived.load(SeqCst) == before + requests
    })
    .await;
    gate.add_permits(requests);
    for answer in answers.join_all().await {
        assert_eq!(read(answer.unwrap()).await.unwrap().status, 200);
    }
}

/// An HTTP/2 server with this limit of streams, whose answers wait for permits.
fn gated(limit: u32) -> (std::net::SocketAddr, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (g, a) = (Arc::clone(&gate), Arc::clone(&arrived));
    let address = server::bytes(move |_, stream| {
        let (gate, arrived) = (Arc::clone(&g), Arc::clone(&a));
        async move {
            let service = service_fn(move |_| {
                let gate = Arc::clone(&gate);
                arrived.fetch_add(1, SeqCst);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(response(200, "ok"))
                }
            });
            let mut builder = http2_server::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(limit);
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (address, gate, arrived)
}

#[tokio::test]
async fn streams_share_a_connection_up_to_a_hundred_or_the_servers_limit() {
    let (api, gate, arrived) = gated(1000);
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
    concurrent(&sidebearer, 100, &gate, &arrived).await;
    assert_eq!(
        sidebearer.connects("api").await,
        1.0,
        "100 cold requests, one connection"
    );
    concurrent(&sidebearer, 101, &gate, &arrived).await;
    assert_eq!(sidebearer.connects("api").await, 2.0);

    let (api, gate, arrived) = gated(10);
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
    // The limit is known with the first answer.
    concurrent(&sidebearer, 1, &gate, &arrived).await;
    concurrent(&sidebearer, 25, &gate, &arrived).await;
    assert_eq!(sidebearer.connects("api").await, 3.0);
}

/// HTTP/2 to the byte: meets the first stream of its first connection with these frames, and
/// serves later connections well.
fn meets_first_stream_with(frames: &[u8]) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let frames = frames.to_vec();
    let address = server::bytes(move |number, mut stream| {
        let (served, frames) = (Arc::clone(&count), frames.clone());
        async move {
            if number == 0 {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
                read_frames_to_headers(&mut stream).await;
                stream.write_all(&frames).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                served.fetch_add(1, SeqCst);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(response(200, body))
                }
            });
            let builder = http2_server::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (address, served)
}

async fn read_frames_to_headers(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_server_did_not_process_is_sent_again() {
    // GOAWAY below the first stream: nothing was processed, whatever the reason.
    for reason in [0, 2, 11] {
        let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, reason]);
        let (api, served) = meets_first_stream_with(&goaway);
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
        let answer = client::post(sidebearer.address(), "/", "").await;
        assert_eq!((answer.status, served.load(SeqCst)), (200, 1), "{reason}");
        assert_eq!(sidebearer.connects("api").await, 2.0);
    }

    // INTERNAL_ERROR of the stream: it may have been.
    let (api, served) = meets_first_stream_with(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]));
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
    let answer = client::post(sidebearer.address(), "/", "").await;
    assert_eq!((answer.status, served.load(SeqCst)), (502, 0));
}

/// HTTP/2 to the byte: meets the first two streams of its first connection with these frames, and
/// closes it. Tells that a stream has come, and the paths of what later connections brought.
fn meets_two_streams_with(
    frames: Vec<u8>,
) -> (
    std::net::SocketAddr,
    mpsc::UnboundedReceiver<()>,
    Arc<Mutex<Vec<String>>>,
) {
    let (tell, come) = mpsc::unbounded_channel();
    let later = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&later);
    let address = server::bytes(move |number, mut stream| {
        let (seen, frames, tell) = (Arc::clone(&seen), frames.clone(), tell.clone());
        async move {
            if number == 0 {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
                for _ in 0..2 {
                    read_frames_to_headers(&mut stream).await;
                    tell.send(()).unwrap();
                }
                stream.write_all(&frames).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                seen.lock().unwrap().push(request.uri().path().to_owned());
                async move { Ok::<_, Infallible>(response(200, "")) }
            });
            let builder = http2_server::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (address, come, later)
}

/// How two requests fare whose streams are met with these frames, and the paths of those that were
/// sent again.
async fn two_met_with(frames: Vec<u8>) -> ([u16; 2], Vec<String>) {
    let (api, mut come, later) = meets_two_streams_with(frames);
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
    let address = sidebearer.address();
    let first = tokio::spawn(async move { client::post(address, "/first", "").await });
    come.recv().await.unwrap();
    let second = client::post(address, "/second", "").await;
    let statuses = [first.await.unwrap().status, second.status];
    (statuses, later.lock().unwrap().clone())
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_goaway_is_sent_again_whatever_its_reason_and_no_other_is() {
    for reason in [0, 1, 2, 11] {
        let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, reason]);
        let again = ([502, 200], vec!["/second".to_owned()]);
        assert_eq!(two_met_with(goaway.clone()).await, again, "{reason}");
        // What else it says of the one that it disowned tells nothing of the other.
        let promise = [&[0, 0, 0, 2][..], &get("/pushed", &[])].concat();
        for more in [
            frame(PUSH_PROMISE, END_HEADERS, 3, &promise),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x88]),
            frame(RST_STREAM, 0, 3, &[0, 0, 0, 7]),
            frame(DATA, END_STREAM, 3, b"data"),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2]),
        ] {
            let frames = [goaway.clone(), more].concat();
            assert_eq!(two_met_with(frames.clone()).await, again, "{frames:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_with_its_body() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let api = server::http2(move |request, mut respond| {
        let is_first = count.fetch_add(1, SeqCst) == 0;
        async move {
            if is_first {
                return respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            let mut body = request.into_body();
            let mut echo = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                echo.extend_from_slice(&data);
            }
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(echo.into(), true).unwrap();
        }
    });
    let idp = Idp::start();
    let mut config = config(
        &format!("http://{api}"),
        "http = \"2\"\ncredential = \"api\"",
    );
    config.push_str(&format!(
        "[credentials.api]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    ));
    let sidebearer = Sidebearer::start(&config);
    let answer = client::post(sidebearer.address(), "/", "body").await;
    assert_eq!((answer.status, &*answer.text()), (200, "body"));
    assert_eq!(refused.load(SeqCst), 2);
}

/// Meets the first stream of its first `ends` connections with these frames and an end, and serves later
/// ones well.
fn ends_connections(ends: usize, frames: Vec<u8>) -> std::net::SocketAddr {
    server::bytes(move |number, mut stream| {
        let frames = frames.clone();
        async move {
            if number < ends {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
                read_frames_to_headers(&mut stream).await;
                stream.write_all(&frames).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let service = service_fn(async |_| Ok::<_, Infallible>(response(200, "")));
            let builder = http2_server::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
}

#[tokio::test]
async fn an_idempotent_request_whose_new_connection_ended_without_a_word_is_sent_once_more() {
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let hint = frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']);
    for (method, ends, frames, status, connections) in [
        (Method::GET, 1, vec![], 200, 2.0),
        (Method::PUT, 1, vec![], 200, 2.0),
        (Method::GET, 2, vec![], 502, 2.0),
        (Method::POST, 1, vec![], 502, 1.0),
        (Method::GET, 1, goaway, 502, 1.0),
        (Method::GET, 1, hint, 502, 1.0),
    ] {
        let api = ends_connections(ends, frames);
        let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "http = \"2\""));
        let asked = request(method.clone(), "/", "");
        let answer = client::send(sidebearer.address(), asked).await;
        assert_eq!(answer.status, status, "{method} {ends}");
        assert_eq!(
            sidebearer.connects("api").await,
            connections,
            "{method} {ends}"
        );
    }
}

#[tokio::test]
async fn host_of_the_client_never_reaches_an_http2_upstream() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&config(&api.url(), "http = \"2\""));
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
    assert_eq!(api.seen()[0].header("host"), "");
}
