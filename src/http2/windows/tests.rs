use std::cell::Cell;

use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::http2::long_way::way;
use crate::http2::{Connection, IncomingBody, PingInterval};

mod clients;
mod sending_api;

use sending_api::{SendingApi, body, connected, connected_over, read};

const OWN: u32 = 64 << 10;
const OWN_CONNECTION: u32 = 100 * OWN;
const MIB: usize = 1 << 20;
const LENGTH: usize = 6_000_000;
/// A long way.
const FAR: Duration = Duration::from_millis(100);
/// So long nothing takes that is not stopped: the time is virtual.
const LONG: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(360);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Resized {
    streams: Option<u32>,
    connection: Option<u32>,
    busy: bool,
}

impl Resize for Resized {
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error> {
        if self.busy {
            return Err(h2::Reason::INTERNAL_ERROR.into());
        }
        self.streams = Some(size);
        Ok(())
    }

    fn resize(&mut self, size: u32) {
        self.connection = Some(size);
    }
}

fn sizes(budget: &Arc<Budget>) -> Sizes {
    Sizes {
        stream: OWN,
        connection: OWN_CONNECTION,
        budget: Arc::clone(budget),
    }
}

#[test]
fn a_window_becomes_four_times_what_is_read_in_a_round_trip() {
    let budget = Budget::new(64 * MIB);
    for (took, window) in [
        (10, Some(4 * OWN)),
        (100, Some(4 * OWN)),
        (160, Some(OWN / 2 * 5)),
        (200, Some(2 * OWN)),
        (210, None),
    ] {
        let mut windows = Windows::new(&sizes(&budget));
        let mut resized = Resized::default();
        let took = Duration::from_millis(took);
        let grows = windows.grow(1, took, FAR, &mut resized);
        assert_eq!((grows, resized.streams), (window.is_some(), window));
        // Four of these fit into what the connection always has.
        assert_eq!(windows.share.bytes(), 0);
    }
}

#[test]
fn a_window_grows_at_once_to_the_length_of_the_longest_body_unless_its_reader_is_slower() {
    let budget = Budget::new(64 * MIB);
    let at_once = Duration::from_micros(1);
    for (length, took, window) in [
        (OWN, at_once, 4 * OWN),
        (50 * OWN, at_once, 50 * OWN),
        (u32::MAX, at_once, WIDEST),
        (u32::MAX, FAR / 10, 40 * OWN),
        (u32::MAX, FAR, 4 * OWN),
    ] {
        let mut windows = Windows::new(&sizes(&budget));
        windows.inbound.record_length(u64::from(length));
        let mut resized = Resized::default();
        assert!(windows.grow(1, took, FAR, &mut resized));
        assert_eq!(resized.streams, Some(window));
    }
}

#[test]
fn windows_grow_as_far_as_the_connection_has_room_for_its_streams_and_take_a_share_for_it() {
    let budget = Budget::new(64 * MIB);
    let mut windows = Windows::new(&sizes(&budget));
    let mut resized = Resized::default();
    let mut grow = |windows: &mut Windows, long| windows.grow(long, FAR, FAR, &mut resized);
    assert!(grow(&mut windows, 1) && grow(&mut windows, 1));
    assert_eq!(windows.inbound.stream_window(), 16 * OWN);
    assert!(windows.inbound.has_room_for(6) && !windows.inbound.has_room_for(7));
    assert!(grow(&mut windows, 1));
    // Four streams of 4 MiB.
    assert_eq!(windows.inbound.stream_window(), 64 * OWN);
    assert_eq!(windows.share.bytes(), 16 * MIB - OWN_CONNECTION as usize);
    assert!(windows.inbound.has_room_for(4) && !windows.inbound.has_room_for(5));
    // A short body takes little of it.
    windows.inbound.begin_short();
    assert!(windows.inbound.has_room_for(3) && !windows.inbound.has_room_for(4));
    windows.inbound.end_short();

    assert!(!grow(&mut windows, 4), "four streams have room already");
    assert_eq!(budget.shortages(), 1);
    assert!(grow(&mut windows, 1));
    assert_eq!(windows.inbound.stream_window(), WIDEST);
    assert!(!windows.may_grow());
    assert!(windows.inbound.has_room_for(2));

    // More than fit take what is left.
    windows.crowd(Arrived::default(), 4, &mut resized);
    assert!(windows.inbound.has_room_for(4));
    let all = OWN_CONNECTION + saturated(windows.share.bytes());
    assert_eq!(resized.connection, Some(all));

    windows.narrow(&mut resized);
    assert_eq!(resized.streams, Some(OWN));
    assert_eq!(resized.connection, Some(OWN_CONNECTION));
    assert_eq!(windows.share.bytes(), 0);
    assert!(windows.inbound.has_room_for(100));
}

#[test]
fn a_change_that_cannot_be_told_takes_nothing_of_the_budget() {
    let budget = Budget::new(64 * MIB);
    let mut windows = Windows::new(&sizes(&budget));
    let mut resized = Resized::default();
    assert!(windows.grow(1, FAR, FAR, &mut resized));
    resized.busy = true;
    assert!(!windows.grow(30, FAR, FAR, &mut resized));
    assert_eq!(windows.inbound.stream_window(), 4 * OWN);
    assert_eq!(windows.share.bytes(), 0);
}

#[test]
fn without_a_budget_no_window_grows() {
    assert!(!Windows::new(&sizes(&Budget::new(0))).may_grow());
}

/// How long a request takes and the response to it.
async fn exchange(connection: &Connection) -> Duration {
    let begun = Instant::now();
    let mut body = body(connection).await;
    read(&mut body, LENGTH).await;
    drop(body);
    connection.end_stream();
    begun.elapsed()
}

/// How much of one more stream comes if nobody reads it.
async fn unread(connection: &Connection, api: &SendingApi) -> (usize, IncomingBody) {
    // A stream that was dropped may still be sent on.
    sleep(LONG).await;
    let before = api.sent.get();
    let body = body(connection).await;
    sleep(LONG).await;
    (api.sent.get() - before, body)
}

/// Uses a connection over a long way until its windows are as wide as they get.
async fn widen(connection: &Connection) {
    for _ in 0..2 {
        exchange(connection).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_connection_takes_one_round_trip_for_a_long_body_however_long_the_way() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            for round_trip in [FAR, 2 * FAR / 5] {
                let (connection, _) = connected(&budget, way(round_trip), LENGTH, MIB).await;
                let first = exchange(&connection).await;
                // The second measures the round trip, and the third comes with the wider windows. With windows of 64 KiB
                // it would be 92.
                assert!(first < round_trip * 7 / 2, "{first:?}");
                widen(&connection).await;
                let used = exchange(&connection).await;
                assert!(used < round_trip * 3 / 2, "{used:?}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn windows_stay_narrow_on_short_ways_and_for_slow_readers() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            let (connection, api) = connected(&budget, duplex(MIB), usize::MAX, MIB).await;
            read(&mut body(&connection).await, LENGTH).await;
            assert_eq!(unread(&connection, &api).await.0, OWN as usize);

            let (connection, api) = connected(&budget, way(FAR), usize::MAX, MIB).await;
            let mut slow = body(&connection).await;
            for _ in 0..100 {
                // In one go, but not as fast as it comes.
                sleep(FAR * 5 / 2).await;
                read(&mut slow, OWN as usize).await;
            }
            assert_eq!(unread(&connection, &api).await.0, OWN as usize);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn as_many_streams_as_a_wide_connection_takes_stop_no_other() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            let (connection, api) = connected(&budget, way(FAR), LENGTH, MIB).await;
            widen(&connection).await;
            api.length.set(usize::MAX);
            let mut others = Vec::new();
            connection.begin_stream();
            while connection.has_window() {
                let (held, other) = unread(&connection, &api).await;
                assert_eq!(held, WIDEST as usize);
                others.push(other);
            }
            connection.end_stream();
            assert_eq!(others.len(), 3);
            read(&mut body(&connection).await, 2 * LENGTH).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_width_back_and_a_busy_one_keeps_it() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(64 * MIB);
            let (connection, api) = connected(&budget, way(FAR), LENGTH, MIB).await;
            widen(&connection).await;
            api.length.set(usize::MAX);
            let (held, open) = unread(&connection, &api).await;
            assert_eq!(held, WIDEST as usize);
            connection.give_width_back();
            sleep(LONG).await;
            let (held, other) = unread(&connection, &api).await;
            assert_eq!(held, WIDEST as usize);
            drop((open, other));
            connection.end_stream();
            connection.end_stream();

            connection.give_width_back();
            // The request follows at once.
            tokio::task::yield_now().await;
            let (held, _open) = unread(&connection, &api).await;
            assert_eq!(held, OWN as usize);
            let mut everything = super::Share::of(&budget);
            everything.grow_to(64 * MIB);
            assert_eq!(everything.bytes(), 16 * MIB);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn small_frames_that_nobody_reads_are_joined_and_none_is_lost() {
    const FRAME: usize = 24;
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(0);
            let (connection, api) = connected(&budget, duplex(MIB), OWN as usize + 1, FRAME).await;
            let mut bodies = Vec::new();
            // The frames of two are more than the library takes.
            for _ in 0..4 {
                let (held, body) = unread(&connection, &api).await;
                assert_eq!(held, OWN as usize);
                bodies.push(body);
            }
            for body in bodies {
                let whole = timeout(LONG, body.collect()).await.unwrap();
                let length = whole.unwrap().to_bytes().len();
                assert_eq!(length, OWN as usize + 1);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_measures_is_the_only_one_and_ends_nothing_before_its_silence_does() {
    /// Answers the first request with one window of bytes, and no ping. Counts pings.
    async fn answer_no_ping(mut api: DuplexStream, pings: Rc<Cell<usize>>) {
        const DATA: [u8; 9] = [0, 64, 0, 0, 0, 0, 0, 0, 1];
        api.read_exact(&mut [0; 24]).await.unwrap();
        for flags in [0, 1] {
            let settings = [0, 0, 0, 4, flags, 0, 0, 0, 0];
            api.write_all(&settings).await.unwrap();
        }
        let mut head = [0; 9];
        while api.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            api.read_exact(&mut vec![0; length as usize]).await.unwrap();
            pings.set(pings.get() + usize::from(head[3] == 6));
            if head[3] == 1 {
                // `:status: 200` is one byte (RFC 7541 appendix A).
                let ok = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
                api.write_all(&ok).await.unwrap();
                let piece = [&DATA[..], &[0; 64 << 8]].concat();
                api.write_all(&piece.repeat(4)).await.unwrap();
            }
        }
    }

    LocalSet::new()
        .run_until(async {
            let (near, far) = duplex(MIB);
            let pings = Rc::new(Cell::new(0));
            spawn_local(answer_no_ping(far, Rc::clone(&pings)));
            let connection = connected_over(near, &Budget::new(MIB)).await;
            let begun = Instant::now();
            let mut body = body(&connection).await;
            read(&mut body, OWN as usize).await;
            sleep(LONG).await;
            assert_eq!(pings.get(), 1);
            body.frame().await.unwrap().unwrap_err();
            assert_eq!(pings.get(), 1);
            let elapsed = begun.elapsed();
            assert_eq!(elapsed, PING_INTERVAL + PING_TIMEOUT);
        })
        .await;
}
