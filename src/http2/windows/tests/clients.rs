//! The windows of connections of clients.

use std::task::Context;

use h2::client::SendRequest;
use http::{Request, Response};
use http_body_util::Empty;

use super::*;
use crate::http2::server::{RequestContent, ServerConnection, ServerSettings};

/// As many streams as [`OWN_CONNECTION`] has room for.
const STREAMS: usize = (OWN_CONNECTION / OWN) as usize;

#[test]
fn a_window_grows_by_twice_of_what_is_read_or_that_of_the_connection_by_a_half() {
    for budget in [0, 4 * MIB, 64 * MIB].map(Budget::new) {
        for (long, took, length) in [1, 10, 50].into_iter().flat_map(|long| {
            [FAR / 1000, FAR / 2, FAR]
                .into_iter()
                .flat_map(move |took| [0, MIB, 20 * MIB].map(|length| (long, took, length)))
        }) {
            let mut windows = Windows::of_client(&sizes(&budget));
            windows.inbound.record_length(length as u64);
            let told = windows.inbound.connection_window();
            let (mut before, mut of_connection) = (OWN, told);
            loop {
                let mut resized = Resized::default();
                if !windows.grow(long, took, FAR, &mut resized) {
                    break;
                }
                let stream = resized.streams.unwrap();
                let connection = resized.connection.unwrap_or(of_connection);
                assert!(
                    stream <= 3 * before || connection >= of_connection / 2 * 3,
                    "{before} to {stream}, {of_connection} to {connection}"
                );
                // Nothing of the budget is held that the windows do not need.
                let room = windows.inbound.unread_at_most(long + SPARE_STREAMS, stream);
                let needed = room.saturating_sub(OWN_CONNECTION as usize);
                assert!(windows.share.bytes() <= needed, "{needed}");
                (before, of_connection) = (stream, connection);
                if !windows.may_grow() {
                    break;
                }
            }
            assert!(before > OWN || long > 10, "{before}, {long}");
        }
    }
}

#[test]
fn the_first_growth_is_as_large_as_the_longest_body_and_takes_no_share_that_windows_do_not_need() {
    let budget = Budget::new(64 * MIB);
    for (length, share) in [(MIB, 0), (3 * MIB, 12 * MIB - OWN_CONNECTION as usize)] {
        let mut windows = Windows::of_client(&sizes(&budget));
        windows.inbound.record_length(length as u64);
        let mut resized = Resized::default();
        assert!(windows.grow(1, FAR / 1000, FAR, &mut resized));
        assert_eq!(resized.streams, Some(saturated(length)));
        let all = OWN_CONNECTION + saturated(share);
        assert_eq!(resized.connection, Some(all));
        assert_eq!(windows.share.bytes(), share);
    }
}

#[test]
fn a_client_is_told_of_all_of_the_window_of_its_connection_before_its_streams_could_wait_for_it() {
    let mut windows = Windows::of_client(&sizes(&Budget::new(0)));
    let first = windows.inbound.connection_window();
    let mut told = |long| {
        let mut resized = Resized::default();
        windows.adjust(Arrived::default(), long, None, &mut resized);
        assert_eq!(resized.streams, None);
        resized.connection
    };
    let half = (first / 2 / OWN) as usize;
    assert_eq!([0, 1, half].map(&mut told), [None; 3]);
    assert_eq!(told(half + 1), Some(OWN_CONNECTION));
    assert_eq!(told(STREAMS), None);

    // What a connection begins with cannot be taken back.
    let small = Sizes {
        connection: 2 * UNTOLD / 3 * 2,
        ..sizes(&Budget::new(0))
    };
    let windows = Windows::of_client(&small);
    assert_eq!(windows.inbound.connection_window(), UNTOLD);
}

/// A client this far away from a server that reads all uploads but those to `/waits`, and answers each when it has read
/// it.
async fn client(sizes: Sizes) -> SendRequest<Bytes> {
    let (near, far) = way(FAR);
    spawn_local(receive(near, sizes));
    let mut builder = h2::client::Builder::new();
    builder.max_send_buffer_size(2 * LENGTH);
    let (client, connection) = builder.handshake::<_, Bytes>(far).await.unwrap();
    spawn_local(connection);
    client
}

async fn receive(io: DuplexStream, sizes: Sizes) {
    let settings = ServerSettings {
        windows: sizes,
        max_streams: 250,
        small_frames: 256 << 10,
        max_header_bytes: 65_536,
        send_buffer: 65_536,
        max_interim_bytes: 0,
        ping_interval: PingInterval::new(PING_INTERVAL),
        ping_timeout: PING_TIMEOUT,
        extended_connect: true,
    };
    let mut connection = ServerConnection::begin(io, &settings).await.unwrap();
    let mut next = async || {
        let poll = |cx: &mut Context<'_>| connection.poll_request(cx, Arrived::default, 0, false);
        std::future::poll_fn(poll).await
    };
    let mut waiting = Vec::new();
    while let Some(request) = next().await {
        if request.head.uri.path() == "/waits" {
            waiting.push(request);
            continue;
        }
        let RequestContent::Body(body) = request.content else {
            panic!("a body")
        };
        spawn_local(async move {
            body.collect().await.unwrap();
            let answer = Response::new(Empty::<Bytes>::new());
            let _ = request.responder.send(answer);
        });
    }
}

/// How long an upload of this length takes and the answer to it.
async fn upload(client: &mut SendRequest<Bytes>, length: usize) -> Duration {
    let begun = Instant::now();
    let request = Request::post("http://api/").header(CONTENT_LENGTH, length);
    let request = request.body(()).unwrap();
    let (response, mut sending) = client.send_request(request, false).unwrap();
    sending.send_data(vec![0; length].into(), true).unwrap();
    let answer = timeout(LONG, response).await;
    answer.expect("the upload stands still").unwrap();
    begun.elapsed()
}

fn defaults(budget: &Arc<Budget>) -> Sizes {
    Sizes {
        connection: 250 * OWN,
        ..sizes(budget)
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_on_a_used_connection_takes_one_round_trip_however_long_the_way() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            for sizes in [sizes(&budget), defaults(&budget)] {
                for length in [MIB, 3 * MIB, LENGTH] {
                    let mut client = client(sizes.clone()).await;
                    let first = upload(&mut client, length).await;
                    let used = upload(&mut client, length).await;
                    assert!(first < FAR * 7 / 2, "{first:?} for {length}");
                    assert!(used < FAR * 3 / 2, "{used:?} for {length}");
                }
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_longer_upload_on_a_used_connection_takes_no_longer_than_on_a_new_one() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            for before in [MIB / 8, MIB] {
                for length in [2 * MIB, 4 * MIB, LENGTH] {
                    let mut client = client(defaults(&budget)).await;
                    upload(&mut client, before).await;
                    let longer = upload(&mut client, length).await;
                    assert!(
                        longer < FAR * 7 / 2,
                        "{longer:?} for {length} behind {before}"
                    );
                }
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn lasting_clients_that_uploaded_once_leave_the_budget_to_others() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            let mut clients = Vec::new();
            for _ in 0..5 {
                let mut client = client(defaults(&budget)).await;
                upload(&mut client, MIB).await;
                clients.push(client);
            }
            // One gets a quarter of what is left.
            let mut next = Share::of(&budget);
            next.grow_to(64 * MIB);
            assert_eq!(next.bytes(), 16 * MIB);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_reads_stop_no_other() {
    LocalSet::new()
        .run_until(async {
            let mut client = client(sizes(&Budget::new(64 * MIB))).await;
            let mut unread = Vec::new();
            for _ in 1..STREAMS {
                let request = Request::post("http://api/waits").body(()).unwrap();
                let (answer, mut sending) = client.send_request(request, false).unwrap();
                let body = vec![0; 2 * OWN as usize];
                sending.send_data(body.into(), true).unwrap();
                unread.push((answer, sending));
            }
            sleep(LONG).await;
            upload(&mut client, LENGTH).await;
        })
        .await;
}
