//! Raw HTTP/2: frames and prefaces as no library would send them.

use super::super::{assert_healthy, world};
use super::WHOLE;
use crate::support::PATIENCE;
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, PING,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, request,
};

#[tokio::test]
async fn frames_out_of_place_end_the_connection_and_no_other() {
    let (recorder, sidebearer) = world("");
    let head = get("/", &[]);
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    let settings = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    for bytes in [
        frame(DATA, END_STREAM, 1, b"x"),
        frame(DATA, END_STREAM, 0, b"x"),
        frame(HEADERS, WHOLE, 0, &head),
        frame(HEADERS, WHOLE, 2, &head),
        [
            frame(HEADERS, WHOLE, 3, &head),
            frame(HEADERS, WHOLE, 1, &head),
        ]
        .concat(),
        frame(CONTINUATION, END_HEADERS, 1, &head),
        [frame(HEADERS, 0, 1, &head), frame(PING, 0, 0, &[0; 8])].concat(),
        [
            frame(HEADERS, 0, 1, &head[..9]),
            frame(CONTINUATION, END_HEADERS, 3, &head[9..]),
        ]
        .concat(),
        frame(
            PUSH_PROMISE,
            END_HEADERS,
            1,
            &[&[0, 0, 0, 2], &head[..]].concat(),
        ),
        frame(RST_STREAM, 0, 5, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(HEADERS, WHOLE | 8, 1, &[&[255], &head[..]].concat()),
        frame(SETTINGS, 0, 0, &settings(2, 2)),
        frame(SETTINGS, 0, 0, &settings(4, 1 << 31)),
        frame(SETTINGS, 0, 0, &settings(5, 1)),
        frame(SETTINGS, ACK, 0, &settings(4, 1)),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(PING, 0, 0, &[0; 7]),
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(DATA, 0, 1, &vec![0; 20_000]),
        frame(
            HEADERS,
            WHOLE,
            1,
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        frame(HEADERS, WHOLE, 1, &[0x80]),
        frame(HEADERS, WHOLE, 1, &[0xFE]),
        frame(HEADERS, WHOLE, 1, &[0x3F, 0xFF, 0xFF, 0xFF, 0x7F]),
        frame(WINDOW_UPDATE, 0, 0, &(u32::MAX >> 1).to_be_bytes()),
        [
            open.clone(),
            frame(WINDOW_UPDATE, 0, 1, &(u32::MAX >> 1).to_be_bytes()),
        ]
        .concat(),
        [
            frame(HEADERS, WHOLE, 1, &head),
            frame(DATA, END_STREAM, 1, b"x"),
        ]
        .concat(),
    ] {
        let mut client = FrameClient::open(sidebearer.address(), &[]).await;
        client.send(&bytes).await;
        // An endless one would be a hang here.
        let ended = tokio::time::timeout(PATIENCE, async {
            let mut codes = Vec::new();
            while let Some(frame) = client.next().await {
                if [RST_STREAM, GOAWAY].contains(&frame.kind) {
                    codes.push(frame.code());
                    if frame.kind == RST_STREAM {
                        break;
                    }
                }
            }
            codes
        });
        let codes = ended
            .await
            .unwrap_or_else(|_| panic!("no end of {}", bytes.escape_ascii()));
        let told = bytes[..bytes.len().min(99)].escape_ascii();
        // The library says PROTOCOL_ERROR of most.
        assert!(codes.iter().any(|code| *code > 0), "{codes:?} for {told}");
    }
    // Whole requests that came before the fault may have arrived, and nothing else.
    assert!(
        recorder
            .requests()
            .iter()
            .all(|seen| seen.target == "/" && seen.body.is_empty())
    );
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn a_preface_that_breaks_off_or_goes_astray_is_no_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (recorder, sidebearer) = world("");
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(HEADERS, WHOLE, 1, &get("/unsettled", &[])),
        ]
        .concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let mut stream = tokio::net::TcpStream::connect(sidebearer.address())
            .await
            .unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{}", bytes.escape_ascii());
    }
    // The library does not insist on SETTINGS to begin with.
    assert_eq!(recorder.only().target, "/unsettled");
    assert_healthy(&recorder, &sidebearer).await;
}
