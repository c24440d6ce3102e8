//! Writing heads and the frames of bodies.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, response};

use super::head::ReasonPhrase;
use super::header_case::{HeaderCase, NameWriter};
use super::write_buffer::WriteBuffer;

/// The first line of a request, and its host.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'r> {
    /// The method.
    pub method: &'r Method,
    /// Path and query.
    pub target: &'r PathAndQuery,
    /// Replaces the `Host` among the headers.
    pub host: &'r HeaderValue,
    /// How it is sent to a proxy; `None` where no proxy reads it.
    pub proxied: Option<&'r AbsoluteForm>,
}

/// How requests to a proxy are sent (RFC 9112 section 3.2.2).
#[derive(Debug, Clone)]
pub struct AbsoluteForm {
    /// Scheme and authority of the server that is meant: they stand before the path.
    pub origin: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

/// Writes a request head: `headers` in their order, then `more`.
pub(super) fn request_head<'r>(
    to: &mut Vec<u8>,
    line: RequestLine<'r>,
    headers: &'r HeaderMap,
    header_case: Option<&'r HeaderCase>,
    more: &'r [(HeaderName, HeaderValue)],
) {
    let (origin, target) = match line.proxied {
        None => ("", line.target.as_str()),
        // Asked of the server as a whole (RFC 9112 section 3.2.4).
        Some(proxied) if line.target == "*" => (&*proxied.origin, ""),
        Some(proxied) => (&*proxied.origin, line.target.as_str()),
    };
    for part in [line.method.as_str(), " ", origin, target, " HTTP/1.1\r\n"] {
        to.extend_from_slice(part.as_bytes());
    }
    let mut names = NameWriter::new(header_case);
    if !headers.contains_key(HOST) {
        field(to, &mut names, &HOST, line.host);
    }
    for (name, value) in headers {
        let value = if *name == HOST { line.host } else { value };
        field(to, &mut names, name, value);
    }
    for (name, value) in more {
        field(to, &mut names, name, value);
    }
    let authorization = line.proxied.and_then(|to| to.authorization.as_ref());
    if let Some(value) = authorization {
        field(to, &mut names, &PROXY_AUTHORIZATION, value);
    }
    to.extend_from_slice(b"\r\n");
}

/// Writes what is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEncoder {
    /// There is no body: what it would hold is not sent.
    Absent,
    /// This many bytes are left.
    Length(u64),
    /// It is sent in chunks.
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
}

/// What the framing of a response depends on in addition to its headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseFraming {
    /// The client speaks HTTP/1.1; else 1.0.
    pub(super) is_http11: bool,
    /// Another request may follow.
    pub(super) keep_alive: bool,
    /// The length of the body, where no header tells it.
    pub(super) add_length: Option<u64>,
    /// How the body ends.
    pub(super) body: BodyEncoder,
}

/// Writes a response head. `Connection` is written as `framing` says, except for a 101.
pub(super) fn response_head(to: &mut Vec<u8>, head: &response::Parts, framing: ResponseFraming) {
    let version = if framing.is_http11 {
        "HTTP/1.1 "
    } else {
        "HTTP/1.0 "
    };
    to.extend_from_slice(version.as_bytes());
    status(to, head);
    let mut names = NameWriter::new(head.extensions.get());
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut has_date = false;
    for (name, value) in &head.headers {
        match *name {
            CONNECTION if !switching => continue,
            DATE => has_date = true,
            _ => {}
        }
        field(to, &mut names, name, value);
    }
    if !has_date {
        // A server that has a clock sends the date (RFC 9110 section 6.6.1).
        date(to);
    }
    if let Some(length) = framing.add_length {
        // Writing to a vector cannot fail, here and below.
        let _ = write!(to, "Content-Length: {length}\r\n");
    }
    if framing.body == BodyEncoder::Chunked {
        to.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match (framing.keep_alive, framing.is_http11) {
        _ if switching => {}
        (false, _) => to.extend_from_slice(b"Connection: close\r\n"),
        (true, false) => to.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, true) => {}
    }
    to.extend_from_slice(b"\r\n");
}

/// An interim response (RFC 9110 section 15.2) as bytes.
pub fn encode_interim(head: &response::Parts) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 ".to_vec();
    let to = &mut bytes;
    status(to, head);
    let mut names = NameWriter::new(head.extensions.get());
    for (name, value) in &head.headers {
        field(to, &mut names, name, value);
    }
    to.extend_from_slice(b"\r\n");
    bytes
}

fn status(to: &mut Vec<u8>, head: &response::Parts) {
    to.extend_from_slice(head.status.as_str().as_bytes());
    to.push(b' ');
    match head.extensions.get::<ReasonPhrase>() {
        Some(ReasonPhrase(reason)) => to.extend_from_slice(reason),
        None => to.extend_from_slice(
            head.status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes(),
        ),
    }
    to.extend_from_slice(b"\r\n");
}

fn field<'n>(
    to: &mut Vec<u8>,
    names: &mut NameWriter<'n>,
    name: &'n HeaderName,
    value: &HeaderValue,
) {
    names.write(name, to);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// How the body of a request is framed. A request that declares no body must not have one, and a byte of it
/// is an error: the upstream would take it for the next request.
pub(super) fn request_body_encoder(
    headers: &HeaderMap,
    more: &[(HeaderName, HeaderValue)],
) -> BodyEncoder {
    if more.iter().any(|(name, _)| *name == TRANSFER_ENCODING) {
        return BodyEncoder::Chunked;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(number);
    BodyEncoder::Length(length.unwrap_or(0))
}

/// The number that a value holds.
pub(super) fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

impl BodyEncoder {
    /// Whether a body must follow.
    pub(super) fn expects_data(self) -> bool {
        !matches!(self, Self::Absent | Self::Length(0))
    }

    /// Adds a piece of the body to `out`, and behind the `last` one the end. `false`: the body is not as long
    /// as its head says.
    pub(super) fn push(&mut self, out: &mut WriteBuffer, data: Bytes, last: bool) -> bool {
        match self {
            Self::Absent => return true,
            Self::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) if rest == 0 || !last => *left = rest,
                _ => return false,
            },
            // An empty chunk would be the last one.
            Self::Chunked if data.is_empty() => return !last || self.end(out, None),
            Self::Chunked => {
                let mut size = [0; 18];
                let mut at = &mut size[..];
                let _ = write!(at, "{:X}\r\n", data.len());
                let left = at.len();
                let behind: &[u8] = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                out.push(&size[..size.len() - left], data, behind);
                return true;
            }
            Self::UntilClose => {}
        }
        out.push(b"", data, b"");
        true
    }

    /// Adds the end of the body to `out`. `false`: the body is shorter than its head says.
    pub(super) fn end(&mut self, out: &mut WriteBuffer, trailers: Option<&HeaderMap>) -> bool {
        match self {
            Self::Length(left) => return *left == 0,
            Self::Absent | Self::UntilClose => return true,
            Self::Chunked => {}
        }
        let space = out.space();
        space.extend_from_slice(b"0\r\n");
        let mut names = NameWriter::new(None);
        for (name, value) in trailers.into_iter().flatten() {
            field(space, &mut names, name, value);
        }
        space.extend_from_slice(b"\r\n");
        true
    }
}

fn date(to: &mut Vec<u8>) {
    thread_local! {
        /// The date as it was last written, and the second that it stands for.
        static LAST: RefCell<(SystemTime, String)> = const {
            RefCell::new((SystemTime::UNIX_EPOCH, String::new()))
        };
    }
    const SECOND: Duration = Duration::from_secs(1);
    let now = SystemTime::now();
    LAST.with_borrow_mut(|(at, text)| {
        let fresh = now.duration_since(*at).is_ok_and(|age| age < SECOND);
        if !fresh {
            *text = httpdate::fmt_http_date(now);
            let since = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            *at = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
        }
        for part in ["Date: ", text, "\r\n"] {
            to.extend_from_slice(part.as_bytes());
        }
    });
}
