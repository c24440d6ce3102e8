//! Bodies over a long way: windows must not make it longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Semaphore;

use super::*;
use crate::support::relay::delayed;
use crate::support::{eventually, unprotected};

const ROUND_TRIP: Duration = Duration::from_millis(40);
const LENGTH: usize = 6_000_000;
/// With windows of 64 KiB it would be 92 round trips. How many it is exactly is counted on virtual time, beside
/// the code.
const MOST: Duration = Duration::from_millis(40 * 25);
/// A window that stands in nobody's way.
const ROOMY: u32 = 1 << 30;
/// More uploads or responses than wide windows have room for.
const MANY: usize = 20;

/// What has come to an API.
struct Seen {
    connections: AtomicUsize,
    waiting: AtomicUsize,
    /// How many requests may go on that wait.
    go: Semaphore,
}

/// A server whose own window for the connection stands in nobody's way, and whose streams have this one. It answers
/// a body with its length, and what has none with a long one; `/waits` reads no body before it may go on.
fn api(window: u32) -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen {
        connections: AtomicUsize::new(0),
        waiting: AtomicUsize::new(0),
        go: Semaphore::new(0),
    });
    let kept = Arc::clone(&seen);
    let address = server::bytes(move |_, stream| {
        let seen = Arc::clone(&kept);
        seen.connections.fetch_add(1, Relaxed);
        async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(window)
                .initial_connection_window_size(ROOMY);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let waits = request.uri().path() == "/waits";
                seen.waiting.fetch_add(usize::from(waits), Relaxed);
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    if waits {
                        seen.go.acquire().await.unwrap().forget();
                    }
                    let mut body = request.into_body();
                    let mut length = 0;
                    while let Some(Ok(data)) = body.data().await {
                        length += data.len();
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let mut sending = respond.send_response(Response::new(()), false).unwrap();
                    let answer = match length {
                        0 => vec![b'x'; LENGTH],
                        length => length.to_string().into_bytes(),
                    };
                    sending.send_data(answer.into(), true).unwrap();
                });
            }
        }
    });
    (address, seen)
}

/// A client whose own windows stand in nobody's way.
async fn roomy_client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(ROOMY)
        .initial_connection_window_size(ROOMY)
        .max_send_buffer_size(2 * LENGTH);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body of [`LENGTH`] up or down: how long it takes, or that the connection takes no more requests.
async fn exchange(client: &mut SendRequest<Bytes>, up: bool) -> Result<Duration, h2::Error> {
    let start = Instant::now();
    let asked = streaming(Method::POST, "/", whole("")).map(drop);
    let (answer, mut sending) = client.send_request(asked, !up)?;
    if up {
        sending.send_data(vec![b'x'; LENGTH].into(), true)?;
    }
    let mut body = answer.await?.into_body();
    let mut came = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        came.extend(data);
    }
    if up {
        assert_eq!(came, LENGTH.to_string().into_bytes());
    } else {
        assert_eq!(came.len(), LENGTH);
    }
    Ok(start.elapsed())
}

#[tokio::test]
async fn a_body_over_http2_waits_for_no_windows_on_a_long_way() {
    // The way to the API, and the way to the client.
    for far_api in [true, false] {
        let (api, _) = api(ROOMY);
        let way = if far_api {
            delayed(api, ROUND_TRIP)
        } else {
            api
        };
        let config = unprotected(&format!("http://{way}"), "http = \"2\"");
        let sidebearer = Sidebearer::start(&config);
        let address = if far_api {
            sidebearer.address()
        } else {
            delayed(sidebearer.address(), ROUND_TRIP)
        };
        let mut client = roomy_client(address).await;
        for up in [true, false] {
            // On a loaded machine one may take long.
            let way = format!("far API: {far_api}, up: {up}");
            eventually(&way, async || {
                exchange(&mut client, up).await.unwrap() < MOST
            })
            .await;
        }
    }
}

#[tokio::test]
async fn responses_beyond_the_windows_of_a_connection_come_on_another() {
    let (api, seen) = api(ROOMY);
    let way = delayed(api, ROUND_TRIP);
    let config = unprotected(&format!("http://{way}"), "http = \"2\"");
    let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
    let mut client = roomy_client(sidebearer.address()).await;
    // On a loaded machine windows may grow late.
    eventually("another connection", async || {
        exchange(&mut client, false).await.unwrap();
        let before = seen.waiting.load(Relaxed);
        let mut waiting = Vec::new();
        for _ in 0..MANY {
            let asked = streaming(Method::GET, "/waits", whole("")).map(drop);
            client = client.clone().ready().await.unwrap();
            waiting.push(client.send_request(asked, true).unwrap());
        }
        eventually("all have come", async || {
            seen.waiting.load(Relaxed) == before + MANY
        })
        .await;
        seen.connections.load(Relaxed) == 2
    })
    .await;
}

/// How much of an upload may be sent before any of it was read.
async fn window(client: &mut SendRequest<Bytes>) -> usize {
    let asked = streaming(Method::POST, "/", whole("")).map(drop);
    let (_, mut sending) = client.send_request(asked, false).unwrap();
    sending.reserve_capacity(LENGTH);
    let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
    capacity.unwrap().unwrap()
}

#[tokio::test]
async fn a_client_whose_uploads_are_not_read_is_told_to_open_another_connection_and_loses_none() {
    const UPLOAD: usize = 1 << 20;
    let (api, seen) = api(65_535);
    let config = unprotected(&format!("http://{api}"), "http = \"2\"");
    let server = "[server]\nworkers = 1\nwindow_budget = \"8MiB\"\n";
    let sidebearer = Sidebearer::start(&format!("{server}{config}"));
    let mut client = roomy_client(delayed(sidebearer.address(), ROUND_TRIP)).await;
    // On a loaded machine windows may grow late.
    eventually("wide windows", async || {
        exchange(&mut client, true).await.unwrap();
        window(&mut client).await >= UPLOAD
    })
    .await;
    let mut uploads = Vec::new();
    for _ in 0..MANY {
        let asked = streaming(Method::POST, "/waits", whole("")).map(drop);
        client = client.clone().ready().await.unwrap();
        let (answer, mut sending) = client.send_request(asked, false).unwrap();
        sending.send_data(vec![b'x'; UPLOAD].into(), true).unwrap();
        uploads.push(answer);
    }
    eventually("the connection takes no more", async || {
        exchange(&mut client, false).await.is_err()
    })
    .await;
    seen.go.add_permits(MANY);
    for answer in uploads {
        let mut body = answer.await.unwrap().into_body();
        let length = body.data().await.unwrap().unwrap();
        assert_eq!(length, UPLOAD.to_string());
    }
}
