//! Reading heads (RFC 9112 sections 2 to 5).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    Version,
};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
use memchr::memchr;

use super::framing::{LengthLines, MessageFraming};
use super::header_case::{HeaderCase, is_title_case};
use super::syntax::{HeadError, HeadLimits, Strictness};

#[cfg(test)]
mod tests;

/// Heads with up to this many lines are parsed without an allocation.
const LINES_ON_STACK: usize = 256;

/// A reason phrase that is not the registered one of its status code, as an extension of a response.
#[derive(Debug, Clone)]
pub struct ReasonPhrase(pub(super) Bytes);

impl ReasonPhrase {
    /// One of our own, of visible ASCII and spaces.
    pub fn new(reason: String) -> Self {
        Self(reason.into())
    }

    /// Another one in the place of what was received, of bytes that may stand there.
    pub fn from_bytes(reason: Vec<u8>) -> Self {
        Self(reason.into())
    }

    /// As it stands in the status line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a whole request head.
///
/// # Errors
/// It is not a request head, its framing is doubtful, or it exceeds the limits.
pub(super) fn parse_request(
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<(Request<()>, MessageFraming), HeadError> {
    let mut first = [const { MaybeUninit::uninit() }; LINES_ON_STACK];
    let mut more;
    let mut parsed = httparse::Request::new(&mut []);
    let complete = if limits.fields <= LINES_ON_STACK {
        parsed.parse_with_uninit_headers(head, &mut first[..limits.fields])
    } else {
        more = vec![MaybeUninit::uninit(); count_lines(head).min(limits.fields)];
        parsed.parse_with_uninit_headers(head, &mut more)
    };
    let complete = complete.map_err(head_error)?;
    let (Status::Complete(_), Some(method), Some(target), Some(version)) =
        (complete, parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadError::Malformed("it is incomplete"));
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes())
        .map_err(|_| HeadError::Malformed("its method is not valid"))?;
    *request.uri_mut() = read_request_target(head.slice_ref(target.as_bytes()), request.method())?;
    let mut fields = read_fields(head, parsed.headers, version)?;
    fields.check_request_framing()?;
    *request.version_mut() = http_version(version);
    *request.headers_mut() = fields.headers;
    *request.extensions_mut() = fields.extensions;
    Ok((request, fields.framing))
}

/// The URI of a request-target.
///
/// # Errors
/// It is none, or too long.
pub fn read_request_target(target: Bytes, method: &Method) -> Result<Uri, HeadError> {
    if memchr(b'#', &target).is_some() {
        // A request-target has no fragment (RFC 9112 section 3.2). Other parsers take one for a part of the
        // path.
        return Err(HeadError::Malformed("its request-target has a fragment"));
    }
    let (len, ends_in_slash) = (target.len(), target.ends_with(b"/"));
    let uri = Uri::from_maybe_shared(target);
    let uri = uri.map_err(|_| {
        if len > usize::from(u16::MAX) - 1 {
            HeadError::TargetTooLong
        } else {
            HeadError::Malformed("its request-target is not valid")
        }
    })?;
    let has_no_path = uri.authority().is_some() && uri.path() == "/" && uri.query().is_none();
    if has_no_path && *method == Method::OPTIONS && !ends_in_slash {
        // Such a request asks about the server as a whole: from here on its target is `*` (RFC 9112 section
        // 3.2.4).
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("*"));
        return Uri::from_parts(parts)
            .map_err(|_| HeadError::Malformed("its request-target is not valid"));
    }
    Ok(uri)
}

/// Reads a whole response head. A folded line is joined to one, and white space before a colon is removed,
/// as clients have to (RFC 9112 sections 5.1 and 5.2).
///
/// # Errors
/// It is not a response head, or it exceeds the limits.
pub(super) fn parse_response(
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<(Response<()>, MessageFraming), HeadError> {
    let mut first = [const { MaybeUninit::uninit() }; LINES_ON_STACK];
    let mut more;
    let mut parsed = httparse::Response::new(&mut []);
    let config = lenient_parser();
    let complete = if limits.fields <= LINES_ON_STACK {
        config.parse_response_with_uninit_headers(&mut parsed, head, &mut first[..limits.fields])
    } else {
        more = vec![MaybeUninit::uninit(); count_lines(head).min(limits.fields)];
        config.parse_response_with_uninit_headers(&mut parsed, head, &mut more)
    };
    let complete = complete.map_err(head_error)?;
    let (Status::Complete(_), Some(code), Some(version)) = (complete, parsed.code, parsed.version)
    else {
        return Err(HeadError::Malformed("it is incomplete"));
    };
    let status = StatusCode::from_u16(code);
    let status = status.map_err(|_| HeadError::Malformed("its status code is not valid"))?;
    let mut fields = read_fields(head, parsed.headers, version)?;
    if let Some(length) = fields.framing.repeated_length() {
        fields.headers.insert(CONTENT_LENGTH, length.into());
    }
    let reason = parsed.reason.unwrap_or_default();
    if Some(reason) != status.canonical_reason() {
        let reason = ReasonPhrase(head.slice_ref(reason.as_bytes()));
        fields.extensions.insert(reason);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = http_version(version);
    *response.headers_mut() = fields.headers;
    *response.extensions_mut() = fields.extensions;
    Ok((response, fields.framing))
}

/// Reads the lines of a trailer section, the empty line at its end included.
///
/// # Errors
/// They are not header lines, or there are too many.
pub(super) fn parse_trailers(
    section: &Bytes,
    max_fields: usize,
    strictness: Strictness,
) -> Result<HeaderMap, HeadError> {
    if strictness == Strictness::Lenient {
        // The parser is lenient only with whole heads.
        let head = Bytes::from([b"HTTP/1.1 200\r\n", &section[..]].concat());
        let fields = max_fields;
        let bytes = head.len();
        let (response, _) = parse_response(&head, &HeadLimits { bytes, fields })?;
        return Ok(response.into_parts().0.headers);
    }
    let mut lines = vec![EMPTY_HEADER; count_lines(section).min(max_fields)];
    match httparse::parse_headers(section, &mut lines).map_err(head_error)? {
        Status::Complete((_, lines)) => Ok(read_fields(section, lines, 1)?.headers),
        Status::Partial => Err(HeadError::Malformed("its trailers are incomplete")),
    }
}

fn lenient_parser() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    config
}

/// An upper bound of the number of header lines.
fn count_lines(section: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', section).count()
}

fn http_version(minor: u8) -> Version {
    match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

fn head_error(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooLarge,
        httparse::Error::HeaderName => "a header name is not valid",
        httparse::Error::HeaderValue => "a header value is not valid",
        httparse::Error::NewLine => "a line ends without LF",
        httparse::Error::Status => "its status code is not valid",
        httparse::Error::Token => "it does not begin with a method and a request-target",
        httparse::Error::Version => "its version is neither HTTP/1.1 nor HTTP/1.0",
    })
}

/// Header lines that have been read, and what follows from them.
struct ParsedFields {
    headers: HeaderMap,
    extensions: Extensions,
    framing: MessageFraming,
}

fn read_fields(head: &Bytes, lines: &[Header<'_>], version: u8) -> Result<ParsedFields, HeadError> {
    // Room for one more, which is often added.
    let mut headers = HeaderMap::with_capacity(lines.len() + 1);
    let mut framing = MessageFraming::default();
    let mut has_other_case = false;
    for line in lines {
        let written = line.name.as_bytes();
        let name = HeaderName::from_bytes(written);
        let name = name.map_err(|_| HeadError::Malformed("a header name is not valid"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value))
            .or_else(|_| HeaderValue::from_maybe_shared(unfold(line.value)));
        let value = value.map_err(|_| HeadError::Malformed("a header value is not valid"))?;
        framing.note(&name, value.as_bytes());
        has_other_case |= !is_title_case(written);
        let appended = headers.try_append(name, value);
        appended.map_err(|_| HeadError::TooLarge)?;
    }
    let mut extensions = Extensions::new();
    if has_other_case {
        let written = lines
            .iter()
            .map(|line| head.slice_ref(line.name.as_bytes()));
        extensions.insert(HeaderCase::of(written.collect()));
    }
    framing.finish(version > 0);
    Ok(ParsedFields {
        headers,
        extensions,
        framing,
    })
}

/// Replaces each fold by one space (RFC 9112 section 5.2).
fn unfold(value: &[u8]) -> Bytes {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(&b' ').into()
}

impl ParsedFields {
    /// Refuses a request whose framing is doubtful, and leaves at most one length, which is sound.
    fn check_request_framing(&mut self) -> Result<(), HeadError> {
        let headers = &self.headers;
        let is_list = |value: &HeaderValue| value.as_bytes().contains(&b',');
        let has_list = || headers.get_all(CONTENT_LENGTH).iter().any(is_list);
        match self.framing.check_request(has_list)? {
            LengthLines::Keep => {}
            LengthLines::Remove => {
                self.headers.remove(CONTENT_LENGTH);
            }
            LengthLines::Replace(length) => {
                self.headers.insert(CONTENT_LENGTH, length.into());
            }
        }
        Ok(())
    }
}
