//! What costs a client little and could cost a server much, over HTTP/2: the process stays as it
//! was, in health and in memory.

use std::net::SocketAddr;
use std::time::Duration;

use super::{answers, config};
use crate::support::PATIENCE;
use crate::support::client::{get as ask, raw};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, get, request,
};
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::strict::Recorder;

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const WHOLE: u8 = END_HEADERS | END_STREAM;
/// More than any attack here may leave behind, in KiB.
const GROWTH: usize = 16 * 1024;

/// Sidebearer as a process of its own, so that its memory can be told.
struct Apart {
    recorder: Recorder,
    process: Process,
    address: SocketAddr,
    before: usize,
    _idp: Idp,
}

impl Apart {
    async fn start() -> Self {
        let (recorder, idp) = (Recorder::start(), Idp::start());
        // A client that does not read may take its time.
        let patient = config(&recorder.url(), &idp, "").replace("stream_idle_timeout = \"1s\"", "");
        let process = Process::start(&patient).await;
        let address = process.address();
        let mut this = Self {
            recorder,
            process,
            address,
            before: 0,
            _idp: idp,
        };
        this.assert_healthy().await;
        this.before = this.resident();
        this
    }

    fn resident(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let resident = status.split("VmHWM:").nth(1).unwrap();
        resident.split_whitespace().next().unwrap().parse().unwrap()
    }

    async fn open(&self) -> FrameClient {
        FrameClient::open(self.address, &[]).await
    }

    /// Another connection is served, and the probe answers.
    async fn assert_healthy(&self) {
        let get = "GET /healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let healthy = tokio::time::timeout(PATIENCE, raw(self.address, get)).await;
        let healthy = answers(healthy.expect("promptly").as_bytes());
        assert_eq!(healthy[0].status, 200, "{healthy:?}");
        let admin = self.process.admin();
        assert_eq!(ask(admin, "/readyz").await.status, 200);
    }

    /// And the most memory that was ever used is hardly more than before.
    async fn assert_unmoved(&self, what: &str) {
        self.assert_healthy().await;
        let growth = self.resident() - self.before;
        println!("{what}: {growth} KiB more at the most");
        assert!(growth < GROWTH, "{growth} KiB more after {what}");
    }

    /// No request has reached the API but those that show that it is healthy.
    fn assert_nothing_arrived(&self) {
        let requests = self.recorder.requests();
        assert!(requests.iter().all(|seen| seen.target == "/healthy"));
    }
}

/// Reads until the connection ends: the code of its GOAWAY.
async fn goaway(client: &mut FrameClient) -> Option<u32> {
    let mut code = None;
    let ended = tokio::time::timeout(PATIENCE, async {
        while let Some(frame) = client.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
    });
    ended.await.expect("the connection ends");
    code
}

#[tokio::test]
async fn rapid_reset_is_calmed_down_and_hardly_reaches_the_upstream() {
    let world = Apart::start().await;
    let head = get("/reset", &[]);
    let mut client = world.open().await;
    for stream in (1..).step_by(2).take(20_000) {
        let both = [
            frame(HEADERS, WHOLE, stream, &head),
            frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()),
        ];
        if !client.send(&both.concat()).await {
            break;
        }
    }
    assert_eq!(goaway(&mut client).await, Some(ENHANCE_YOUR_CALM));
    world.assert_unmoved("rapid reset").await;
    assert!(
        world.recorder.requests().len() < 2_000,
        "{}",
        world.recorder.requests().len()
    );
}

#[tokio::test]
async fn a_continuation_flood_is_cut() {
    let world = Apart::start().await;
    for piece in [&b""[..], b"\0", &block(&[("x-more", "y".repeat(10_000))])] {
        let mut client = world.open().await;
        client
            .send(&frame(HEADERS, END_STREAM, 1, &get("/", &[])))
            .await;
        let more = frame(CONTINUATION, 0, 1, piece);
        let taken = client.flood(&more, 64 * 1024 * 1024 / more.len()).await;
        assert!(!taken, "64 MiB of {} bytes each were taken", more.len());
    }
    world.assert_unmoved("a CONTINUATION flood").await;
    world.assert_nothing_arrived();
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let world = Apart::start().await;
    // One entry of the dynamic table, then a byte for each of its copies (RFC 7541 section 6.1).
    let mut entry = vec![0x40, 1, b'x', 127, 0x81, 30];
    entry.extend(vec![b'y'; 127 + 1 + 30 * 128]);
    let bomb = [get("/bomb", &[]), entry, vec![0xBE; 16_000 - 4_200]].concat();
    let mut client = world.open().await;
    client.send(&frame(HEADERS, WHOLE, 1, &bomb)).await;
    let (outcome, goaway) = tokio::time::timeout(PATIENCE, client.outcome(1))
        .await
        .unwrap();
    // The library's own 431, or the end.
    assert!(!outcome.is_ok(), "{outcome:?} {goaway:?}");

    // As many as there are streams, side by side.
    let mut client = world.open().await;
    for stream in (3..503).step_by(2) {
        if !client.send(&frame(HEADERS, WHOLE, stream, &bomb)).await {
            break;
        }
    }
    world.assert_unmoved("header bombs").await;

    // Literal ones: many, and large.
    let many: Vec<_> = (0..2_000)
        .map(|number| (format!("x-{number}"), "1"))
        .collect();
    let many = [get("/many", &[]), block(&many)].concat();
    let large = [get("/large", &[]), block(&[("x", "y".repeat(100_000))])].concat();
    for block in [many, large] {
        let mut client = world.open().await;
        let mut pieces = block.chunks(16_000);
        let mut frames = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
        for piece in pieces {
            frames.extend(frame(CONTINUATION, 0, 1, piece));
        }
        frames.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
        client.send(&frames).await;
        let (outcome, _) = tokio::time::timeout(PATIENCE, client.outcome(1))
            .await
            .unwrap();
        assert!(!outcome.is_ok(), "{outcome:?}");
    }
    world.assert_unmoved("large header lists").await;
    world.assert_nothing_arrived();
}

#[tokio::test]
async fn floods_of_frames_that_want_an_answer_are_held_back() {
    let world = Apart::start().await;
    let settings = [&3u16.to_be_bytes()[..], &100u32.to_be_bytes()].concat();
    for (what, bytes) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &settings)),
        ("empty SETTINGS", frame(SETTINGS, 0, 0, b"")),
    ] {
        // Nobody reads the answers: sending stalls, or the connection is ended.
        let mut client = world.open().await;
        let bytes = bytes.repeat(100);
        let flood = client.flood(&bytes, 32 * 1024 * 1024 / bytes.len());
        let flooded = tokio::time::timeout(Duration::from_secs(1), flood).await;
        assert!(!matches!(flooded, Ok(true)), "32 MiB of {what} were taken");
        world.assert_unmoved(what).await;
    }
}

#[tokio::test]
async fn frames_that_say_nothing_cost_nothing() {
    let world = Apart::start().await;
    let mut client = world.open().await;
    client
        .send(&frame(
            HEADERS,
            END_HEADERS,
            1,
            &request("POST", "/empty", &[]),
        ))
        .await;
    let nothing = [
        frame(DATA, 0, 1, b""),
        frame(0xFA, 0, 1, &[0; 100]),
        frame(2, 0, 1, &[0, 0, 0, 0, 16]),
        frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()),
    ];
    client.flood(&nothing.concat().repeat(50), 2_000).await;
    world.assert_unmoved("frames that say nothing").await;
}

#[tokio::test]
async fn a_window_that_never_opens_holds_nothing_but_its_stream() {
    let world = Apart::start().await;
    let body = "z".repeat(3_000_000);
    let big = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut client = FrameClient::open(world.address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        for stream in (1..41).step_by(2) {
            world.recorder.answer(big.as_bytes());
            client
                .send(&frame(HEADERS, WHOLE, stream, &get("/big", &[])))
                .await;
        }
        stuck.push(client);
    }
    crate::support::eventually("all are answered", async || {
        let seen = world.recorder.requests();
        seen.iter().filter(|seen| seen.target == "/big").count() == 80
    })
    .await;
    // 80 answers of 3 MB wait, each within the buffers of one exchange.
    world.assert_healthy().await;
    let growth = world.resident() - world.before;
    println!("80 zero windows: {growth} KiB more at the most");
    assert!(growth < 80 * 512, "{growth} KiB for 80 streams");
    // A window that opens a byte at a time gets a byte at a time.
    let (reading, mut bytes) = (&mut stuck[0], 0);
    for _ in 0..5 {
        reading
            .send(&frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes()))
            .await;
        while bytes < 5 {
            let frame = reading.next().await.expect("still open");
            if frame.kind == DATA && frame.stream == 1 {
                assert_eq!(frame.payload, b"z");
                bytes += 1;
                break;
            }
        }
    }
    assert_eq!(bytes, 5);
    drop(stuck);
    world.assert_healthy().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let world = Apart::start().await;
    let mut client = world.open().await;
    // Open, and never ended: each waits for its body.
    let head = request("POST", "/open", &[("content-length", "1")]);
    let mut refused = 0;
    let mut last = 0;
    for stream in (1..1_201).step_by(2) {
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &head))
            .await;
        last = stream;
    }
    client.send(&frame(PING, 0, 0, b"all read")).await;
    let ended = tokio::time::timeout(PATIENCE, async {
        while let Some(frame) = client.next().await {
            match frame.kind {
                RST_STREAM if frame.code() == REFUSED_STREAM => refused += 1,
                GOAWAY => break,
                PING if frame.payload == b"all read" => break,
                _ => {}
            }
        }
    });
    ended.await.expect("an answer");
    println!("of {} streams {refused} were refused", last.div_ceil(2));
    assert!(refused >= 600 - 250, "{refused}");
    world.assert_unmoved("streams beyond the limit").await;
}
