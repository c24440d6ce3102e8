//! Requests of clients, and what is written of them to an upstream.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Version};
use sidebearer::http1::{
    HeadError, HeaderCase, RequestHead, RequestLine, RoundTrip, ServerConnection,
};
use sidebearer::proxy::{OwnHeaders, scrub_request};
use sidebearer_fuzz::measure;
use sidebearer_fuzz::wire::{Collected, OnePieceBody, ScriptedStream, drive};

use super::{LIMITS, READ, WIDER};

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

/// Judges what a client sends in pieces.
pub fn judge(sent: &[u8], pieces: &[u8]) {
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
