//! HTTP/1.1 on the wire: what is read does not depend on how it arrives, and what is written again
//! is read as the same and nothing else.
//!
//! The first line is `Q` for what a client sends or `A` for what an upstream answers, and the sizes
//! of the pieces it comes in, a character each: `1` and so on, and from `a` on large ones. The first
//! size of an answer also tells who asked. The rest is what is sent.

#![no_main]

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, response};
use libfuzzer_sys::fuzz_target;
use sidebearer::http1::{
    self, HeadError, HeadLimits, HeaderCase, RequestHead, RequestLine, RoundTrip, ServerConnection,
};
use sidebearer::proxy::{OwnHeaders, scrub_request, scrub_response};
use sidebearer_fuzz::measure;
use sidebearer_fuzz::wire::{Collected, OnePieceBody, ScriptedStream, drive};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    fields: 8,
};
/// Room for what a request gains on its way, so that what was read can be read again.
const WIDER: HeadLimits = HeadLimits {
    bytes: 2048,
    fields: 16,
};
/// All of an input at once.
const READ: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (line, rest) = (&data[..end], &data[end + 1..]);
    match line.split_first() {
        Some((b'Q', pieces)) => requests(rest, pieces),
        Some((b'A', pieces)) => answers(rest, pieces),
        _ => {}
    }
});

/// What comes of a connection of a client.
#[derive(Debug, PartialEq)]
enum Event {
    /// A request with its body.
    Request(Box<ReceivedRequest>),
    /// One that the proxy refuses for its target or its hosts.
    Ambiguous,
    Refused(u16),
    Gone,
    /// Nothing more is read behind the response.
    Closed,
}

#[derive(Debug)]
struct ReceivedRequest {
    head: Request<()>,
    body: Option<Collected>,
}

impl PartialEq for ReceivedRequest {
    fn eq(&self, other: &Self) -> bool {
        let head = |asked: &Self| {
            let head = &asked.head;
            let (method, uri) = (head.method().clone(), head.uri().to_string());
            (method, uri, head.version(), head.headers().clone())
        };
        head(self) == head(other) && self.body == other.body
    }
}

fn requests(sent: &[u8], pieces: &[u8]) {
    let mut known = 0;
    let whole = events(sent, b"", READ, true, |event| known += size(event));
    for pieces in [b"1", pieces] {
        assert_eq!(events(sent, pieces, READ, true, |_| {}), whole);
    }
    let (unread, cost) = measure(|| events(sent, pieces, 64, false, |_| {}));
    // Of the heads, one at a time is what the connection holds, and all of them are held here.
    let most = 4 * 1024 + 4 * known;
    assert!(cost.peak <= most, "{cost:?}, {most}");
    // What nobody read is not a request.
    let read = whole.iter().filter_map(asked);
    for (unread, read) in unread.iter().filter_map(asked).zip(read.map(Some)) {
        assert_eq!(
            Some(&unread.head.uri()),
            read.map(|read| read.head.uri()).as_ref()
        );
    }
    let count = |events: &[Event]| events.iter().filter_map(asked).count();
    assert!(count(&unread) <= count(&whole));
    for asked in whole.iter().filter_map(asked) {
        if asked.body.as_ref().is_none_or(|body| body.broken.is_none()) {
            forwarded(asked);
        }
    }
}

fn asked(event: &Event) -> Option<&ReceivedRequest> {
    match event {
        Event::Request(asked) => Some(asked),
        _ => None,
    }
}

fn size(event: &Event) -> usize {
    let headers = |headers: &HeaderMap| {
        let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        128 * headers.len() + headers.iter().map(line).sum::<usize>()
    };
    let Event::Request(asked) = event else {
        return 0;
    };
    1024 + headers(asked.head.headers()) + asked.head.uri().to_string().len()
}

/// Serves a connection as the proxy does. Each request is answered once its body has been read; or at
/// once, and its body dropped.
fn events(
    sent: &[u8],
    pieces: &[u8],
    read: usize,
    reads: bool,
    mut each: impl FnMut(&Event),
) -> Vec<Event> {
    let connection = ServerConnection::new(
        ScriptedStream::new(sent, pieces),
        Bytes::new(),
        LIMITS,
        read,
    );
    let mut events = Vec::new();
    loop {
        let event = match drive(|cx| connection.poll_request(cx)) {
            Ok(None) => Event::Gone,
            Err(HeadError::Malformed(_)) => Event::Refused(400),
            Err(HeadError::TooLarge) => Event::Refused(431),
            Err(HeadError::TargetTooLong) => Event::Refused(414),
            Ok(Some(request)) if !is_sound(&request) => Event::Ambiguous,
            Ok(Some(request)) => {
                let (head, body) = request.into_parts();
                let head = Request::from_parts(head, ());
                let body = body.filter(|_| reads).map(Collected::from);
                Event::Request(Box::new(ReceivedRequest { head, body }))
            }
        };
        each(&event);
        let goes_on = asked(&event).map(|asked| asked.body.clone());
        events.push(event);
        match goes_on {
            Some(body) if body.as_ref().is_none_or(|body| body.broken.is_none()) => {}
            _ => return events,
        }
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = connection.poll_client_gone(&mut cx);
        let (head, ()) = Response::new(()).into_parts();
        let body = OnePieceBody::new(&Collected::default());
        connection.start_response(&head, &body, false);
        let mut body = Some(body);
        drive(|cx| connection.poll_send_response(cx, &mut body)).expect("a whole response");
        drive(|cx| connection.poll_body_end(cx));
        if !connection.keeps_alive() {
            events.push(Event::Closed);
            return events;
        }
    }
}

/// What the proxy asks of a request beside what reading it does. Its framing has one meaning already.
fn is_sound<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let all = |name| headers.get_all(name).iter().collect::<Vec<_>>();
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        let length: u64 = length.to_str().unwrap().parse().expect("a number");
        assert!(i64::try_from(length).is_ok());
    }
    assert!(all(CONTENT_LENGTH).len() + all(TRANSFER_ENCODING).len() <= 1);
    for coding in all(TRANSFER_ENCODING) {
        assert!(coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        assert_eq!(request.version(), Version::HTTP_11);
    }
    all(HOST).len() <= 1 && request.uri().path().starts_with('/')
}

/// What is written to an upstream is read as one request, the same.
fn forwarded(asked: &ReceivedRequest) {
    let mut head = Request::from_parts(asked.head.clone().into_parts().0, ());
    scrub_request(head.headers_mut(), OwnHeaders::injected(None));
    let bytes = written(&head, asked.body.as_ref());
    let connection =
        ServerConnection::new(ScriptedStream::new(&bytes, b""), Bytes::new(), WIDER, READ);
    let again = drive(|cx| connection.poll_request(cx));
    let (mut again, body) = again.expect("a request").expect("all of it").into_parts();
    assert_eq!(again.method, head.method());
    assert_eq!(target(&again.uri), target(head.uri()));
    let body = body.map(Collected::from);
    let sent = asked.body.clone();
    assert_eq!(body.clone().unwrap_or_default(), sent.unwrap_or_default());
    assert_eq!(
        again.headers.contains_key(TRANSFER_ENCODING),
        is_chunked(asked)
    );
    assert_eq!(
        drive(|cx| connection.poll_request(cx)).unwrap().map(drop),
        None
    );
    assert!(!connection.has_partial_head(), "something is behind it");

    again.headers.remove(TRANSFER_ENCODING);
    let known = head.headers().clone();
    if !known.contains_key(HOST) {
        again.headers.remove(HOST);
    }
    assert_eq!(again.headers, known);
    // How it was spelled too. A header that is taken out leaves the others in another order.
    if !known.contains_key(HOST) {
        return;
    }
    let again = Request::from_parts(again, ());
    assert_eq!(show(&written(&again, body.as_ref())), show(&bytes));
}

fn is_chunked(asked: &ReceivedRequest) -> bool {
    asked.body.is_some() && !asked.head.headers().contains_key(CONTENT_LENGTH)
}

fn target(uri: &http::Uri) -> PathAndQuery {
    let query = uri.query().map(|query| format!("?{query}"));
    let target = format!("{}{}", uri.path(), query.unwrap_or_default());
    target.try_into().expect("what was read can be written")
}

fn written(head: &Request<()>, body: Option<&Collected>) -> Vec<u8> {
    let host = HeaderValue::from_static("api");
    let headers = head.headers();
    let chunked = body.is_some() && !headers.contains_key(CONTENT_LENGTH);
    let coding = (TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    let request = RequestHead {
        line: RequestLine {
            method: head.method(),
            target: &target(head.uri()),
            host: headers.get(HOST).unwrap_or(&host),
            proxied: None,
        },
        headers,
        header_case: head.extensions().get::<HeaderCase>(),
        more: if chunked { &[coding] } else { &[] },
    };
    let upload = body.map(OnePieceBody::new);
    let mut trip = RoundTrip::new(ScriptedStream::new(b"", b"9"), request, upload, WIDER, READ);
    let _ = drive(|cx| trip.poll_head(cx, &mut |_| {}));
    drive(|cx| trip.poll_sent(cx)).expect("a whole body");
    trip.io().sent.clone()
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

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

fn answers(sent: &[u8], pieces: &[u8]) {
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
