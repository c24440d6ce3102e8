//! The length that the head of an HTTP/2 request promises, and the data that comes.

use super::{assert_healthy, world};
use crate::support::PATIENCE;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, PING, frame, request,
};

const CANCEL: u32 = 8;

/// Nothing is promised, and still the request does not end.
#[tokio::test]
async fn an_empty_request_without_its_end_is_reset_after_idle_timeout() {
    let (recorder, sidebearer) = world("");
    let head = request("POST", "/", &[("content-length", "0")]);
    let mut client = FrameClient::open(sidebearer.address(), &[]).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    let outcome = tokio::time::timeout(PATIENCE, client.outcome(1)).await;
    let (outcome, goaway) = outcome.expect("an end");
    assert_eq!((outcome.reset, goaway), (Some(CANCEL), None));
    assert!(recorder.requests().is_empty());
    assert_healthy(&recorder, &sidebearer).await;
}

/// The API sees no request, or one that lacks its end: what comes too much may come late.
#[tokio::test]
async fn more_data_than_was_promised_completes_no_request_however_late_it_comes() {
    let (recorder, sidebearer) = world("");
    for (length, promised) in [("0", ""), ("5", "hello")] {
        let head = request("POST", "/", &[("content-length", length)]);
        let mut client = FrameClient::open(sidebearer.address(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        client.send(&frame(DATA, 0, 1, promised.as_bytes())).await;
        // All of that has been read.
        client.send(&frame(PING, 0, 0, &[1; 8])).await;
        while client.next().await.unwrap().kind != PING {}
        // It has had time to go on, which it must not.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        client.send(&frame(DATA, END_STREAM, 1, b"!")).await;
        let outcome = tokio::time::timeout(PATIENCE, client.outcome(1)).await;
        let (outcome, _) = outcome.expect("an end");
        assert!(!outcome.is_ok(), "{length}: {outcome:?}");
        assert!(recorder.requests().is_empty(), "{length}");
    }
    // The end may come late.
    for (length, promised) in [("0", ""), ("5", "hello")] {
        let head = request("POST", "/", &[("content-length", length)]);
        let mut client = FrameClient::open(sidebearer.address(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        client.send(&frame(DATA, 0, 1, promised.as_bytes())).await;
        client.send(&frame(PING, 0, 0, &[1; 8])).await;
        while client.next().await.unwrap().kind != PING {}
        client.send(&frame(DATA, END_STREAM, 1, b"")).await;
        let outcome = tokio::time::timeout(PATIENCE, client.outcome(1)).await;
        let (outcome, _) = outcome.expect("an end");
        assert!(outcome.is_ok(), "{length}: {outcome:?}");
        assert_eq!(recorder.requests().pop().unwrap().body, promised.as_bytes());
    }
    assert_healthy(&recorder, &sidebearer).await;
}
