//! When a connection is asked by a PING whether it is still alive, and when it is given up.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_only_while_it_carries_requests() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            let pings = Rc::new(Cell::new(0));
            let counted = Rc::clone(&pings);
            spawn_local(frames(server, move |kind| {
                counted.set(counted.get() + usize::from(kind == PING));
            }));
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(pings.get(), 0);
            assert!(!connection.is_closed());

            let start = Instant::now();
            connection.begin_stream();
            let mut trip = connection.send(request()).unwrap();
            let error = head(&mut trip).await.unwrap_err();
            assert!(matches!(error, Error::Unanswered), "{error:?}");
            // It has been silent for longer than the interval already.
            assert_eq!(start.elapsed(), TIMEOUT);
            assert_eq!(pings.get(), 1);
            assert!(connection.is_closed());
        })
        .await;
}

/// Ends a call that is silent for an hour as servers of gRPC do on which too many pings come: at the third
/// that comes within `least` of the one before, with nothing sent between.
async fn counts_pings(mut server: DuplexStream, least: Duration) {
    const ENHANCE_YOUR_CALM: u8 = 11;
    server.read_exact(&mut [0; 24]).await.unwrap();
    server.write_all(&SETTINGS_FRAME).await.unwrap();
    let (mut last, mut strikes) = (None::<Instant>, 0);
    let mut head = [0; 9];
    while server.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        server.read_exact(&mut payload).await.unwrap();
        if head[3] != PING {
            continue;
        }
        strikes += usize::from(last.is_some_and(|last| last.elapsed() < least));
        last = Some(Instant::now());
        if strikes > 2 {
            let goaway = [
                0,
                0,
                8,
                7,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                ENHANCE_YOUR_CALM,
            ];
            server.write_all(&goaway).await.unwrap();
            return;
        }
        let pong = [&[0, 0, 8, PING, 1, 0, 0, 0, 0][..], &payload].concat();
        server.write_all(&pong).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_too_many_pings_gets_half_as_many_until_it_ends_no_call() {
    LocalSet::new()
        .run_until(async {
            let settings = settings();
            let mut ended = Vec::new();
            for _ in 0..3 {
                let (client, server) = duplex(65_536);
                spawn_local(counts_pings(server, 2 * INTERVAL));
                let connection = Connection::begin(client, Arrived::default, &settings)
                    .await
                    .unwrap();
                connection.begin_stream();
                let mut trip = connection.send(request()).unwrap();
                let silent = Duration::from_secs(3600);
                ended.push(tokio::time::timeout(silent, head(&mut trip)).await.is_ok());
            }
            assert_eq!(ended, [true, false, false]);
            assert_eq!(settings.ping_interval.interval(), Some(2 * INTERVAL));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_pings_is_asked_again_and_again_and_stays() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            spawn_local(async move {
                let mut server = h2::server::handshake(server).await.unwrap();
                while let Some(Ok((_, mut answer))) = server.accept().await {
                    spawn_local(async move {
                        tokio::time::sleep(Duration::from_secs(600)).await;
                        answer.send_response(Response::new(()), true).unwrap();
                    });
                }
            });
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            let start = Instant::now();
            connection.begin_stream();
            let mut trip = connection.send(request()).unwrap();
            let answer = head(&mut trip).await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 600);
            assert!(answer.into_body().is_end_stream());
            assert!(!connection.is_closed());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_write_is_blocked_is_asked_when_the_next_request_comes() {
    LocalSet::new()
        .run_until(async {
            let (client, mut server) = duplex(1_000);
            spawn_local(async move {
                server.read_exact(&mut [0; 24]).await.unwrap();
                server.write_all(&SETTINGS_FRAME).await.unwrap();
                // It reads no more, and does not go away.
                std::future::pending::<()>().await;
                drop(server);
            });
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            connection.begin_stream();
            let trip = connection.send(upload()).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(trip);
            connection.end_stream();
            tokio::time::sleep(Duration::from_secs(3600)).await;

            let start = Instant::now();
            connection.begin_stream();
            let mut trip = connection.send(request()).unwrap();
            let error = head(&mut trip).await.unwrap_err();
            assert!(matches!(error, Error::Unanswered), "{error:?}");
            assert_eq!(start.elapsed(), TIMEOUT);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_also_while_it_carries_only_an_upload_behind_its_response()
{
    LocalSet::new()
        .run_until(async {
            let (client, server) = duplex(65_536);
            spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(server);
                let mut server = handshake.await.unwrap();
                let (_asked, mut respond) = server.accept().await.unwrap().unwrap();
                respond.send_response(Response::new(()), true).unwrap();
                // It sends that, and nothing more.
                let _ = tokio::time::timeout(Duration::from_secs(1), server.accept()).await;
                std::future::pending::<()>().await;
            });
            let connection = Connection::begin(client, Arrived::default, &settings())
                .await
                .unwrap();
            connection.begin_stream();
            let mut trip = connection.send(upload()).unwrap();
            let mut body = head(&mut trip).await.unwrap().into_body();
            body.release_at_end(None);
            drop(body);
            connection.end_stream();
            let given_up = INTERVAL + TIMEOUT;
            tokio::time::sleep(given_up - Duration::from_secs(1)).await;
            assert!(!connection.is_closed());
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(connection.is_closed());
        })
        .await;
}
