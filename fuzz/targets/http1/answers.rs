//! Answers of upstreams, and what is written of them to a client.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, response};
use sidebearer::http1::{
    self, HeadError, HeadLimits, RequestHead, RequestLine, RoundTrip, ServerConnection,
};
use sidebearer::proxy::scrub_response;
use sidebearer_fuzz::wire::{Collected, OnePieceBody, ScriptedStream, drive};

use super::{LIMITS, READ, WIDER};

/// What comes of the answer of an upstream.
#[derive(Debug, PartialEq)]
struct Answered {
    interim: Vec<(StatusCode, HeaderMap)>,
    head: Result<(StatusCode, HeaderMap), String>,
    body: Collected,
}

type Trip<'i> = RoundTrip<ScriptedStream<'i>, OnePieceBody>;

fn trip<'i>(method: &Method, wire: ScriptedStream<'i>, limits: HeadLimits) -> Trip<'i> {
    let request = RequestHead {
        line: RequestLine {
            method,
            target: &PathAndQuery::from_static("/"),
            host: &HeaderValue::from_static("api"),
            proxied: None,
        },
        headers: &HeaderMap::new(),
        header_case: None,
        more: &[],
    };
    RoundTrip::new(wire, request, None, limits, READ)
}

fn head(
    trip: &mut Trip<'_>,
    mut interim: impl FnMut(&response::Parts),
) -> Result<response::Parts, String> {
    let head = drive(|cx| trip.poll_head(cx, &mut |head| interim(&head.into_parts().0)));
    head.map(|head| head.into_parts().0)
        .map_err(|error| match error {
            // One may be refused for another reason, if there are several.
            http1::Error::Head(HeadError::Malformed(_)) => "malformed".to_owned(),
            error => error.to_string(),
        })
}

fn read(trip: &mut Trip<'_>) -> Answered {
    let mut interim = Vec::new();
    let head = head(trip, |head| {
        interim.push((head.status, head.headers.clone()))
    });
    let body = match head {
        Ok(_) => Collected::from(&mut *trip),
        Err(_) => Collected::default(),
    };
    let head = head.map(|head| (head.status, head.headers));
    Answered {
        interim,
        head,
        body,
    }
}

/// Judges what an upstream answers in pieces.
pub fn judge(sent: &[u8], pieces: &[u8]) {
    let who = pieces.first().map_or(0, |byte| byte.wrapping_sub(b'0'));
    let method = if who & 1 == 0 {
        Method::GET
    } else {
        Method::HEAD
    };
    let whole = read(&mut trip(&method, ScriptedStream::new(sent, b""), LIMITS));
    for pieces in [b"1", pieces] {
        let again = read(&mut trip(
            &method,
            ScriptedStream::new(sent, pieces),
            LIMITS,
        ));
        assert_eq!(again, whole);
    }
    let Ok((status, headers)) = &whole.head else {
        return;
    };
    // As the proxy does, unless the client asked for an upgrade.
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    let chunked = |coding: &&HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if *status == StatusCode::SWITCHING_PROTOCOLS
        || codings.len() > 1
        || !codings.iter().all(chunked)
    {
        return;
    }
    // A client could take another of several.
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    assert!(
        lengths.len() <= 1 || !codings.is_empty() || is_bodiless(&method, *status),
        "{lengths:?}"
    );
    passed_on(sent, pieces, &method, who, &whole);
}

fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || [204, 304].contains(&status.as_u16())
}

/// What is written to a client is read as the same response, and as none if it broke off.
fn passed_on(sent: &[u8], pieces: &[u8], method: &Method, who: u8, whole: &Answered) {
    let (version, lines) = match who & 6 {
        0 => ("1.1", ""),
        2 => ("1.1", "TE: trailers\r\n"),
        4 => ("1.0", ""),
        _ => ("1.0", "Connection: keep-alive\r\n"),
    };
    let asked = format!("{method} / HTTP/{version}\r\n{lines}\r\n");
    let client = ScriptedStream::new(asked.as_bytes(), pieces);
    let mut output = Vec::new();
    let connection = ServerConnection::new(client, Bytes::new(), LIMITS, READ);
    drive(|cx| connection.poll_request(cx)).expect("a request");
    let mut trip = trip(method, ScriptedStream::new(sent, pieces), LIMITS);
    let head = head(&mut trip, |interim| {
        connection.send_interim(&http1::encode_interim(interim))
    });
    let mut head = head.expect("it was read before");
    scrub_response(&mut head.headers, head.status);
    let known = head.headers.clone();
    connection.start_response(&head, &trip, false);
    let mut body = Some(trip);
    let passed = drive(|cx| connection.poll_send_response(cx, &mut body));
    // What had come before it broke off has its chance to leave.
    drive(|cx| connection.poll_flush(cx)).expect("room");
    connection.with_socket(|wire| output.clone_from(&wire.sent));
    // Without a length or chunks, the reset is all that tells.
    let wire = if passed.is_ok() || version == "1.1" {
        ScriptedStream::new(&output, b"")
    } else {
        ScriptedStream::reset(&output)
    };
    let mut reader = self::trip(method, wire, WIDER);
    let got = read(&mut reader);
    assert_eq!(passed.is_ok(), whole.body.broken.is_none(), "{whole:?}");
    if passed.is_err() {
        assert!(got.head.is_err() || got.body.broken.is_some(), "{got:?}");
        assert!(whole.body.data.starts_with(&got.body.data));
        return;
    }
    let (status, mut headers) = got.head.expect("a head");
    assert_eq!(status, head.status);
    assert_eq!(got.body.broken, None);
    assert_eq!(got.body.data, whole.body.data);
    let chunked = headers.remove(TRANSFER_ENCODING).is_some();
    let trailers = whole
        .body
        .trailers
        .clone()
        .filter(|_| who & 6 == 2 && chunked);
    assert_eq!(got.body.trailers, trailers);
    if version == "1.1" {
        assert_eq!(got.interim, whole.interim);
    } else {
        assert!(got.interim.is_empty() && !chunked);
    }
    headers.remove(CONNECTION);
    for ours in [DATE, CONTENT_LENGTH] {
        if !known.contains_key(&ours) {
            headers.remove(ours);
        }
    }
    assert_eq!(headers, known);
    assert_eq!(reader.into_idle().is_some(), connection.keeps_alive());
}
