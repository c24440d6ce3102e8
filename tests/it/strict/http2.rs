//! Raw HTTP/2: heads, bodies and trailers as no library would send them.

mod frames;

use super::{assert_healthy, world};
use crate::support::PATIENCE;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, Outcome, PRIORITY, block,
    frame, get, request,
};
use crate::support::sidebearer::Sidebearer;

const PROTOCOL_ERROR: u32 = 1;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// One connection with these frames behind its preface: what became of stream 1.
async fn exchange(sidebearer: &Sidebearer, frames: &[u8]) -> (Outcome, Option<u32>) {
    let mut client = FrameClient::open(sidebearer.address(), &[]).await;
    client.send(frames).await;
    let outcome = tokio::time::timeout(PATIENCE, client.outcome(1)).await;
    outcome.unwrap_or_else(|_| panic!("no end of {}", frames.escape_ascii()))
}

/// Asserts that each header block, alone or with a body behind it, is refused: by a reset with
/// PROTOCOL_ERROR, or a 400 of ours.
async fn all_refused(blocks: Vec<Vec<u8>>) {
    let (recorder, sidebearer) = world("");
    for (number, block) in blocks.into_iter().enumerate() {
        let (outcome, goaway) = exchange(&sidebearer, &frame(HEADERS, WHOLE, 1, &block)).await;
        let told = format!("{number}: {}: {outcome:?} {goaway:?}", block.escape_ascii());
        let reset = outcome.reset.or(goaway) == Some(PROTOCOL_ERROR);
        assert!(
            reset || ["bad_request", "method_not_allowed"].contains(&&*outcome.code()),
            "{told}"
        );
        assert!(recorder.requests().is_empty(), "{told}");
    }
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn a_good_request_written_by_hand_arrives_as_one() {
    let (recorder, sidebearer) = world("");
    let head = request(
        "POST",
        "/a?b=c",
        &[
            ("cookie", "a=1"),
            ("x-one", "1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
        ],
    );
    let frames = [
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
        frame(HEADERS, 0, 1, &head[..20]),
        frame(CONTINUATION, 0, 1, &head[20..21]),
        frame(CONTINUATION, END_HEADERS, 1, &head[21..]),
        frame(0xFA, 0, 1, b"what nobody knows"),
        frame(DATA, 0, 1, b"he"),
        frame(DATA, 0, 1, b""),
        frame(DATA, END_STREAM, 1, b"llo"),
    ];
    let (outcome, goaway) = exchange(&sidebearer, &frames.concat()).await;
    assert!(outcome.is_ok() && goaway.is_none(), "{outcome:?}");
    let seen = recorder.only();
    assert_eq!(
        (&*seen.method, &*seen.target, &seen.body[..]),
        ("POST", "/a?b=c", &b"hello"[..])
    );
    assert_eq!(
        (seen.value("cookie"), seen.value("te")),
        ("a=1; b=2".to_owned(), "trailers".to_owned())
    );
    assert_eq!(seen.value("transfer-encoding"), "chunked");
}

#[tokio::test]
async fn pseudo_headers_are_whole_single_first_and_known() {
    const GOOD: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/"),
    ];
    let mut blocks = Vec::new();
    for missing in [0, 1, 3] {
        let mut fields = GOOD.to_vec();
        fields.remove(missing);
        blocks.push(block(&fields));
    }
    for (name, value) in GOOD {
        // Twice, and behind the others.
        blocks.push(block(&[&GOOD[..], &[(name, value)]].concat()));
        let rest: Vec<_> = GOOD.into_iter().filter(|field| field.0 != name).collect();
        blocks.push(block(&[&rest[..], &[("x", "y"), (name, value)]].concat()));
        // Empty, and with bytes that none has.
        for bad in ["", "\0", "a\r\nx: y", "a b", "\u{e9}", "a\u{7f}"] {
            if name == ":authority" && bad.is_empty() {
                continue; // As none.
            }
            let changed = GOOD.map(|field| if field.0 == name { (name, bad) } else { field });
            blocks.push(block(&changed));
        }
    }
    for extra in [
        (":status", "200"),
        (":unknown", "x"),
        (":", "x"),
        (":protocol", "websocket"),
        ("::path", "/b"),
        (":Path", "/b"),
    ] {
        blocks.push(block(&[&GOOD[..], &[extra]].concat()));
    }
    let with = |name: &str, value: &'static str| {
        block(&GOOD.map(|field| {
            if field.0 == name {
                (field.0, value)
            } else {
                field
            }
        }))
    };
    for path in [
        "a",
        "*",
        "http://localhost/",
        "/a/../b",
        "/a\\b",
        "/a%00",
        "//a/%2e%2e",
        "/ HTTP/1.1\r\nHost: a\r\n\r\nGET /hidden",
        "/\t",
    ] {
        blocks.push(with(":path", path));
    }
    for scheme in ["ftp", "javascript", "https,http"] {
        blocks.push(with(":scheme", scheme));
    }
    for method in ["TRACE", "CONNECT", "GET / HTTP/1.1\r\nX:", "GE T"] {
        blocks.push(with(":method", method));
    }
    for authority in [
        "u:p@localhost",
        "localhost:99999",
        "a,b",
        "local host",
        "localhost/a",
    ] {
        blocks.push(with(":authority", authority));
    }
    // Neither, and one that differs.
    blocks.push(block(&[GOOD[0], GOOD[1], GOOD[3]]));
    for host in ["other.example", "localhost:80", "localhost.", ""] {
        blocks.push(block(&[&GOOD[..], &[("host", host)]].concat()));
    }
    blocks.push(block(
        &[&GOOD[..], &[("host", "localhost"), ("host", "localhost")]].concat(),
    ));
    all_refused(blocks).await;
}

#[tokio::test]
async fn a_fragment_in_a_path_never_arrives() {
    let (recorder, sidebearer) = world("");
    for path in ["/a#b", "/a?c=d#b", "/a#/../b"] {
        let head = get(path, &[]);
        let (outcome, _) = exchange(&sidebearer, &frame(HEADERS, WHOLE, 1, &head)).await;
        let target = path.split('#').next().unwrap();
        if outcome.is_ok() {
            assert_eq!(recorder.requests().last().unwrap().target, target)
        } else {
            assert_eq!(outcome.code(), "bad_request")
        }
    }
    assert!(
        recorder
            .requests()
            .iter()
            .all(|seen| !seen.target.contains('#'))
    );
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn headers_that_http_2_does_not_have_are_refused() {
    let fields = [
        ("connection", "close"),
        ("connection", "x-one"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("X-Upper", "1"),
        ("Host", "localhost"),
        ("x y", "1"),
        ("x:y", "1"),
        ("", "1"),
        ("x\r\ny", "1"),
        ("x\0", "1"),
        ("x\u{e9}", "1"),
        ("x", "a\r\nAuthorization: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\u{1}b"),
        ("x", "a\u{7f}"),
        ("x", " a"),
        ("x", "a "),
        ("x", "\ta"),
        ("x", "a\t"),
        ("x", " "),
        ("content-length", "-1"),
        ("content-length", "1, 1"),
        ("content-length", "x"),
        ("content-length", ""),
        ("content-length", "18446744073709551616"),
        ("content-length", "5"),
    ];
    all_refused(fields.map(|field| get("/", &[field])).to_vec()).await;
}

#[tokio::test]
async fn a_length_that_is_not_that_of_the_data_never_completes_a_request() {
    let (recorder, sidebearer) = world("");
    for (lengths, data) in [
        (&["5"][..], &["hell"][..]),
        (&["5"], &["hello!"]),
        (&["5"], &["hel", "lo!"]),
        (&["0"], &["x"]),
        (&["5"], &[]),
        (&["5", "6"], &["hello"]),
        (&["6", "5"], &["hello"]),
        (&["5", "5"], &["hell"]),
    ] {
        let fields: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        let mut frames = frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &fields));
        for data in data {
            frames.extend(frame(DATA, 0, 1, data.as_bytes()));
        }
        frames.extend(frame(DATA, END_STREAM, 1, b""));
        let (outcome, goaway) = exchange(&sidebearer, &frames).await;
        let told = format!("{lengths:?} {data:?}: {outcome:?} {goaway:?}");
        assert!(!outcome.is_ok(), "{told}");
        let reset = [outcome.reset, goaway].contains(&Some(PROTOCOL_ERROR));
        assert!(reset || outcome.code() == "bad_request", "{told}");
        assert!(recorder.requests().is_empty(), "{told}");
    }
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn trailers_with_pseudo_headers_or_without_an_end_never_complete_a_request() {
    let (recorder, sidebearer) = world("");
    for (flags, trailers) in [
        (WHOLE, block(&[("x", "a\r\nb")])),
        (WHOLE, block(&[("X", "1")])),
        (END_HEADERS, block(&[("x", "1")])),
        (END_HEADERS, get("/hidden", &[])),
    ] {
        let frames = [
            frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[])),
            frame(DATA, 0, 1, b"x"),
            frame(HEADERS, flags, 1, &trailers),
        ];
        let (outcome, goaway) = exchange(&sidebearer, &frames.concat()).await;
        let told = format!("{}: {outcome:?} {goaway:?}", trailers.escape_ascii());
        assert!(!outcome.is_ok(), "{told}");
        assert!(recorder.requests().is_empty(), "{told}");
    }
    // The library leaves pseudo-headers out of trailers; and what none may hold stays behind.
    let frames = [
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &request("POST", "/", &[("te", "trailers"), ("trailer", "x-sum")]),
        ),
        frame(DATA, 0, 1, b"x"),
        frame(
            HEADERS,
            WHOLE,
            1,
            &block(&[
                (":path", "/hidden"),
                ("x-sum", "1"),
                ("content-length", "9"),
                ("authorization", "x"),
                ("host", "a"),
            ]),
        ),
    ];
    assert!(exchange(&sidebearer, &frames.concat()).await.0.is_ok());
    assert_eq!(
        recorder.only().trailers,
        [(b"X-Sum".to_vec(), b"1".to_vec())]
    );
    assert_healthy(&recorder, &sidebearer).await;
}
