mod pings;

use h2::Reason;
use http::{Response, Version, header};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

fn settings() -> ClientSettings {
    ClientSettings {
        windows: Sizes {
            stream: 65_536,
            connection: 65_535,
            budget: super::super::Budget::new(0),
        },
        small_frames: 65_536,
        max_header_bytes: 65_536,
        send_buffer: 65_536,
        ping_interval: PingInterval::new(INTERVAL),
        ping_timeout: TIMEOUT,
    }
}

/// An empty SETTINGS frame, with which a server begins.
const SETTINGS_FRAME: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: u8 = 6;

fn request() -> Request<Option<Empty<Bytes>>> {
    let request = Request::get("http://api/").version(Version::HTTP_2);
    request.body(None).unwrap()
}

/// The types of the frames that have come, as they come, until the client ends.
async fn frames(mut server: DuplexStream, mut seen: impl FnMut(u8)) {
    let mut preface = [0; 24];
    server.read_exact(&mut preface).await.unwrap();
    server.write_all(&SETTINGS_FRAME).await.unwrap();
    let mut head = [0; 9];
    while server.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        server.read_exact(&mut payload).await.unwrap();
        seen(head[3]);
    }
}

fn upload() -> Request<Option<Full<Bytes>>> {
    let request = Request::post("http://api/").version(Version::HTTP_2);
    request
        .body(Some(Full::new(vec![b'x'; 100_000].into())))
        .unwrap()
}

/// A server that takes nothing of a request's body and answers, with an end or without one. What becomes
/// of the body, and when.
async fn takes_nothing(server: DuplexStream, ends: bool) -> (Option<Reason>, Duration) {
    let mut builder = h2::server::Builder::new();
    let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(server);
    let mut server = handshake.await.unwrap();
    let (asked, mut respond) = server.accept().await.unwrap().unwrap();
    let _held = respond.send_response(Response::new(()), ends).unwrap();
    spawn_local(async move { while server.accept().await.is_some() {} });
    let start = Instant::now();
    let broken = asked.into_body().data().await.unwrap().unwrap_err();
    (broken.reason(), start.elapsed())
}

async fn head(trip: &mut RoundTrip) -> Result<Response<super::super::IncomingBody>, Error> {
    std::future::poll_fn(|cx| trip.poll_head(cx, &mut drop)).await
}

#[tokio::test]
async fn a_connection_that_nobody_holds_ends_behind_its_last_stream() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            let (answer, answered) = tokio::sync::oneshot::channel::<()>();
            let server = spawn_local(async move {
                let mut server = h2::server::handshake(server).await.unwrap();
                let (_, mut respond) = server.accept().await.unwrap().unwrap();
                spawn_local(async move {
                    answered.await.unwrap();
                    let response = respond.send_response(Response::new(()), false);
                    response.unwrap().send_data("late".into(), true).unwrap();
                });
                // `None`: the client has ended the connection in good order.
                server.accept().await.map(|asked| asked.map(drop))
            });
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            let mut trip = connection.send(request()).unwrap();
            drop(connection);
            answer.send(()).unwrap();
            let body = head(&mut trip).await.unwrap().into_body();
            drop(trip);
            assert_eq!(body.collect().await.unwrap().to_bytes(), "late");
            assert!(server.await.unwrap().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_waits_for_a_window_ends_with_its_response() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            let server = spawn_local(takes_nothing(server, false));
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            let mut trip = connection.send(upload()).unwrap();
            drop(head(&mut trip).await.unwrap());
            let (reason, _) = server.await.unwrap();
            assert_eq!(reason, Some(Reason::CANCEL));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stands_still_behind_its_response_ends() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            let server = spawn_local(takes_nothing(server, true));
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            let mut trip = connection.send(upload()).unwrap();
            let mut body = head(&mut trip).await.unwrap().into_body();
            body.release_at_end(Some(Duration::from_secs(3)));
            drop(body);
            let (reason, after) = server.await.unwrap();
            assert_eq!((reason, after.as_secs()), (Some(Reason::CANCEL), 3));
        })
        .await;
}

#[tokio::test]
async fn a_tunnel_that_announces_a_body_is_an_error_and_is_reset() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            let server = spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                let handshake = builder.enable_connect_protocol().handshake(server);
                let mut server: h2::server::Connection<_, Bytes> = handshake.await.unwrap();
                let (_asked, mut respond) = server.accept().await.unwrap().unwrap();
                let response = Response::builder().header("content-length", 5);
                let response = response.body(()).unwrap();
                let mut sending = respond.send_response(response, false).unwrap();
                spawn_local(async move { while server.accept().await.is_some() {} });
                std::future::poll_fn(|cx| sending.poll_reset(cx)).await
            });
            let arrived = || Arrived {
                has_settings: true,
                ..Arrived::default()
            };
            let settings = settings();
            let connection = Connection::begin(client, arrived, &settings);
            let connection = connection.await.unwrap();
            std::future::poll_fn(|cx| match connection.supports_connect() {
                Some(true) => Poll::Ready(()),
                _ => {
                    connection.watch(cx.waker());
                    Poll::Pending
                }
            })
            .await;
            let tunnel = Request::connect("http://api/").version(Version::HTTP_2);
            let tunnel = tunnel.extension(h2::ext::Protocol::from_static("websocket"));
            let tunnel = tunnel.body(None::<Empty<Bytes>>).unwrap();
            let mut trip = connection.send(tunnel).unwrap();
            let error = head(&mut trip).await.unwrap_err();
            assert!(matches!(error, Error::TunnelWithBody), "{error:?}");
            assert_eq!(server.await.unwrap().unwrap(), Reason::PROTOCOL_ERROR);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_without_an_error_ends_only_a_response_whose_announced_length_has_come() {
    LocalSet::new()
        .run_until(async {
            let announced = [
                (Some("4"), Reason::NO_ERROR, true),
                (Some("5"), Reason::NO_ERROR, false),
                (None, Reason::NO_ERROR, false),
                (Some("4"), Reason::CANCEL, false),
            ];
            for (length, reason, is_whole) in announced {
                let (client, server) = duplex(65_536);
                spawn_local(async move {
                    let mut server = h2::server::handshake(server).await.unwrap();
                    let (_, mut respond) = server.accept().await.unwrap().unwrap();
                    let mut head = Response::new(());
                    if let Some(length) = length {
                        let length = http::HeaderValue::from_static(length);
                        head.headers_mut().insert(header::CONTENT_LENGTH, length);
                    }
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data("four".into(), false).unwrap();
                    // The bytes have left before the reset, which takes what is still queued away.
                    spawn_local(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        body.send_reset(reason);
                    });
                    while server.accept().await.is_some() {}
                });
                let connection = Connection::begin(client, Arrived::default, &settings())
                    .await
                    .unwrap();
                connection.begin_stream();
                let mut trip = connection.send(request()).unwrap();
                let body = head(&mut trip).await.unwrap().into_body();
                let read = body.collect().await;
                match read {
                    Ok(read) => assert!(is_whole && read.to_bytes() == "four", "{length:?}"),
                    Err(error) => assert!(!is_whole, "{length:?} {reason:?}: {error}"),
                }
            }
        })
        .await;
}
