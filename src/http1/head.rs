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

/// So many header lines are read without an allocation.
const LINES_AT_ONCE: usize = 256;

/// A reason phrase other than the usual one, as an extension of a response.
#[derive(Debug, Clone)]
pub struct ReasonPhrase(pub(super) Bytes);

/// Reads a whole request head.
///
/// # Errors
/// It is none, its framing is not sound, or it exceeds the limits.
pub(super) fn parse_request(
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<(Request<()>, MessageFraming), HeadError> {
    let mut first = [const { MaybeUninit::uninit() }; LINES_AT_ONCE];
    let mut more;
    let mut parsed = httparse::Request::new(&mut []);
    let complete = if limits.fields <= LINES_AT_ONCE {
        parsed.parse_with_uninit_headers(head, &mut first[..limits.fields])
    } else {
        more = vec![MaybeUninit::uninit(); lines(head).min(limits.fields)];
        parsed.parse_with_uninit_headers(head, &mut more)
    };
    let complete = complete.map_err(refused)?;
    let (Status::Complete(_), Some(method), Some(target), Some(version)) =
        (complete, parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadError::Malformed("it is cut short"));
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes())
        .map_err(|_| HeadError::Malformed("its method is none"))?;
    *request.uri_mut() = uri(head, target, request.method())?;
    let mut fields = fields(head, parsed.headers, version)?;
    fields.check_request_framing()?;
    *request.version_mut() = http_version(version);
    *request.headers_mut() = fields.headers;
    *request.extensions_mut() = fields.extensions;
    Ok((request, fields.framing))
}

/// The URI of a request-target.
fn uri(head: &Bytes, target: &str, method: &Method) -> Result<Uri, HeadError> {
    if memchr(b'#', target.as_bytes()).is_some() {
        // It has none (RFC 9112 section 3.2), and others take it for a part of the path.
        return Err(HeadError::Malformed("its target has a fragment"));
    }
    let uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()));
    let uri = uri.map_err(|_| match target.len() > usize::from(u16::MAX) - 1 {
        true => HeadError::TargetTooLong,
        false => HeadError::Malformed("its target is none"),
    })?;
    let no_path = uri.authority().is_some() && uri.path() == "/" && uri.query().is_none();
    if no_path && *method == Method::OPTIONS && !target.ends_with('/') {
        // It asks the server as a whole, and is `*` from here on (RFC 9112 section 3.2.4).
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("*"));
        return Uri::from_parts(parts).map_err(|_| HeadError::Malformed("its target is none"));
    }
    Ok(uri)
}

/// Reads a whole response head. A folded line becomes one, and white space before a colon is taken away
/// (RFC 9112 sections 5.1 and 5.2): a server that does so is not wrong about what it says.
///
/// # Errors
/// It is none, or exceeds the limits.
pub(super) fn parse_response(
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<(Response<()>, MessageFraming), HeadError> {
    let mut first = [const { MaybeUninit::uninit() }; LINES_AT_ONCE];
    let mut more;
    let mut parsed = httparse::Response::new(&mut []);
    let config = lenient();
    let complete = if limits.fields <= LINES_AT_ONCE {
        config.parse_response_with_uninit_headers(&mut parsed, head, &mut first[..limits.fields])
    } else {
        more = vec![MaybeUninit::uninit(); lines(head).min(limits.fields)];
        config.parse_response_with_uninit_headers(&mut parsed, head, &mut more)
    };
    let complete = complete.map_err(refused)?;
    let (Status::Complete(_), Some(code), Some(version)) = (complete, parsed.code, parsed.version)
    else {
        return Err(HeadError::Malformed("it is cut short"));
    };
    let status = StatusCode::from_u16(code);
    let status = status.map_err(|_| HeadError::Malformed("its status is none"))?;
    let mut fields = fields(head, parsed.headers, version)?;
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
/// They are none, or there are too many.
pub(super) fn parse_trailers(
    section: &Bytes,
    most: usize,
    strictness: Strictness,
) -> Result<HeaderMap, HeadError> {
    if strictness == Strictness::Lenient {
        // The library is lenient with whole heads alone.
        let head = Bytes::from([b"HTTP/1.1 200\r\n", &section[..]].concat());
        let fields = most;
        let bytes = head.len();
        let (response, _) = parse_response(&head, &HeadLimits { bytes, fields })?;
        return Ok(response.into_parts().0.headers);
    }
    let mut lines = vec![EMPTY_HEADER; lines(section).min(most)];
    match httparse::parse_headers(section, &mut lines).map_err(refused)? {
        Status::Complete((_, lines)) => Ok(fields(section, lines, 1)?.headers),
        Status::Partial => Err(HeadError::Malformed("its trailers are cut short")),
    }
}

fn lenient() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    config
}

/// At least as many as there are header lines.
fn lines(section: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', section).count()
}

fn http_version(minor: u8) -> Version {
    match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

fn refused(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooLarge,
        httparse::Error::HeaderName => "a header name is none",
        httparse::Error::HeaderValue => "a header value is none",
        httparse::Error::NewLine => "a line ends without LF",
        httparse::Error::Status => "its status is none",
        httparse::Error::Token => "it does not begin with a method and a target",
        httparse::Error::Version => "it is of another version",
    })
}

/// Header lines that have been read.
struct Fields {
    headers: HeaderMap,
    extensions: Extensions,
    framing: MessageFraming,
}

fn fields(head: &Bytes, lines: &[Header<'_>], version: u8) -> Result<Fields, HeadError> {
    // One more is often added.
    let mut headers = HeaderMap::with_capacity(lines.len() + 1);
    let mut framing = MessageFraming::default();
    let mut unusual = false;
    for line in lines {
        let written = line.name.as_bytes();
        let name = HeaderName::from_bytes(written);
        let name = name.map_err(|_| HeadError::Malformed("a header name is none"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value))
            .or_else(|_| HeaderValue::from_maybe_shared(unfolded(line.value)));
        let value = value.map_err(|_| HeadError::Malformed("a header value is none"))?;
        framing.note(&name, value.as_bytes());
        unusual |= !is_title_case(written);
        let appended = headers.try_append(name, value);
        appended.map_err(|_| HeadError::TooLarge)?;
    }
    let mut extensions = Extensions::new();
    if unusual {
        let written = lines
            .iter()
            .map(|line| head.slice_ref(line.name.as_bytes()));
        extensions.insert(HeaderCase::of(written.collect()));
    }
    framing.finish(version > 0);
    Ok(Fields {
        headers,
        extensions,
        framing,
    })
}

/// Puts one space in the place of each fold (RFC 9112 section 5.2).
fn unfolded(value: &[u8]) -> Bytes {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(&b' ').into()
}

impl Fields {
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
