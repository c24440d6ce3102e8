//! Reading heads (RFC 9112 sections 2 to 5).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    Version,
};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
use memchr::memchr;

use super::gather::Strictness;
use super::spelling::{Spelling, is_usual};

#[cfg(test)]
mod tests;

/// So many header lines are read without an allocation.
const LINES_AT_ONCE: usize = 256;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, the empty line at its end included.
    pub bytes: usize,
    /// Header lines.
    pub fields: usize,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is no head of HTTP/1.1, or two parsers could read it differently.
    #[error("invalid HTTP head: {0}")]
    Malformed(&'static str),
    /// It exceeds [`Limits`].
    #[error("the head is too large")]
    TooLarge,
    /// Its target does.
    #[error("the request-target is too long")]
    TargetTooLong,
}

/// A reason phrase other than the usual one, as an extension of a response.
#[derive(Debug, Clone)]
pub struct Reason(pub(super) Bytes);

/// What a head tells of its message and its connection, noted while its lines are read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// HTTP/1.1; else 1.0.
    pub(super) http11: bool,
    /// Another message may follow this one.
    pub(super) keep_alive: bool,
    /// There is a transfer coding.
    pub(super) coded: bool,
    /// There is another one than `chunked`, or more than one.
    strange_coding: bool,
    /// How often a length is told.
    pub(super) lengths: usize,
    /// The length that all of them agree on.
    pub(super) length: Option<u64>,
    /// A length is not written in the shortest way.
    long_winded: bool,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
    /// `TE: trailers`.
    pub(super) takes_trailers: bool,
}

impl Told {
    fn note(&mut self, name: &HeaderName, value: &[u8], options: &mut Options) {
        let list = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match *name {
            CONNECTION => {
                options.close |= list().any(|o| o.eq_ignore_ascii_case(b"close"));
                options.keep_alive |= list().any(|o| o.eq_ignore_ascii_case(b"keep-alive"));
            }
            CONTENT_LENGTH => {
                // Zeros at the beginning make it octal for some.
                self.long_winded |= value.len() > 1 && value.starts_with(b"0");
                for length in list().map(number) {
                    self.length = match self.lengths {
                        0 => length,
                        _ => self.length.filter(|agreed| Some(*agreed) == length),
                    };
                    self.lengths += 1;
                }
            }
            EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            TE => self.takes_trailers |= list().any(|o| o.eq_ignore_ascii_case(b"trailers")),
            TRANSFER_ENCODING => {
                self.strange_coding |= self.coded || !value.eq_ignore_ascii_case(b"chunked");
                self.coded = true;
            }
            _ => {}
        }
    }
}

/// What the lines of `Connection` ask for.
#[derive(Debug, Default)]
struct Options {
    close: bool,
    keep_alive: bool,
}

/// Others count in signed numbers.
fn number(digits: &[u8]) -> Option<u64> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length: i64 = std::str::from_utf8(digits)
        .ok()
        .filter(|_| valid)?
        .parse()
        .ok()?;
    Some(length.unsigned_abs())
}

/// Reads a whole request head.
///
/// # Errors
/// It is none, its framing is not sound, or it exceeds the limits.
pub(super) fn parse_request(
    head: &Bytes,
    limits: &Limits,
) -> Result<(Request<()>, Told), HeadError> {
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
    fields.judge_framing()?;
    *request.version_mut() = http_version(version);
    *request.headers_mut() = fields.headers;
    *request.extensions_mut() = fields.extensions;
    Ok((request, fields.told))
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
    limits: &Limits,
) -> Result<(Response<()>, Told), HeadError> {
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
    fields.say_length_once();
    let reason = parsed.reason.unwrap_or_default();
    if Some(reason) != status.canonical_reason() {
        let reason = Reason(head.slice_ref(reason.as_bytes()));
        fields.extensions.insert(reason);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = http_version(version);
    *response.headers_mut() = fields.headers;
    *response.extensions_mut() = fields.extensions;
    Ok((response, fields.told))
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
        let (response, _) = parse_response(&head, &Limits { bytes, fields })?;
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

const ONE_LENGTH: &str = "Content-Length must be one number below 2^63";

fn is_list(value: &HeaderValue) -> bool {
    value.as_bytes().contains(&b',')
}

/// Header lines that have been read.
struct Fields {
    headers: HeaderMap,
    extensions: Extensions,
    told: Told,
}

fn fields(head: &Bytes, lines: &[Header<'_>], version: u8) -> Result<Fields, HeadError> {
    // One more is often added.
    let mut headers = HeaderMap::with_capacity(lines.len() + 1);
    let (mut told, mut options) = (Told::default(), Options::default());
    let mut unusual = false;
    for line in lines {
        let written = line.name.as_bytes();
        let name = HeaderName::from_bytes(written);
        let name = name.map_err(|_| HeadError::Malformed("a header name is none"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value))
            .or_else(|_| HeaderValue::from_maybe_shared(unfolded(line.value)));
        let value = value.map_err(|_| HeadError::Malformed("a header value is none"))?;
        told.note(&name, value.as_bytes(), &mut options);
        unusual |= !is_usual(written);
        let appended = headers.try_append(name, value);
        appended.map_err(|_| HeadError::TooLarge)?;
    }
    let mut extensions = Extensions::new();
    if unusual {
        let written = lines
            .iter()
            .map(|line| head.slice_ref(line.name.as_bytes()));
        extensions.insert(Spelling::of(written.collect()));
    }
    told.http11 = version > 0;
    // RFC 9112 section 9.3.
    told.keep_alive = !options.close && (told.http11 || options.keep_alive);
    Ok(Fields {
        headers,
        extensions,
        told,
    })
}

/// Puts one space in the place of each fold (RFC 9112 section 5.2).
fn unfolded(value: &[u8]) -> Bytes {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(&b' ').into()
}

impl Fields {
    /// Refuses a request of which two readers could see the end in different places, before anything
    /// else is decided: whoever answers it, and whatever the answer, the connection ends. Leaves one
    /// length at most. The one beside a transfer coding is void, one that is said twice is said once;
    /// after both, nothing more is read from the connection (RFC 9112 section 6.3).
    fn judge_framing(&mut self) -> Result<(), HeadError> {
        let told = &mut self.told;
        if told.strange_coding || told.coded && !told.http11 {
            return Err(HeadError::Malformed(
                "Transfer-Encoding must be exactly one \"chunked\", and in HTTP/1.1 alone",
            ));
        }
        let Some(length) = told.length else {
            return match told.lengths {
                0 => Ok(()),
                _ => Err(HeadError::Malformed(ONE_LENGTH)),
            };
        };
        if told.lengths > 1 && self.headers.get_all(CONTENT_LENGTH).iter().any(is_list) {
            return Err(HeadError::Malformed(ONE_LENGTH));
        }
        if told.coded {
            told.keep_alive = false;
            self.headers.remove(CONTENT_LENGTH);
        } else if told.lengths > 1 || told.long_winded {
            told.keep_alive &= told.lengths == 1;
            self.headers.insert(CONTENT_LENGTH, length.into());
        }
        Ok(())
    }

    /// What a response says of its length several times, and always the same, it says once: a client
    /// may take only that (RFC 9110 section 8.6).
    fn say_length_once(&mut self) {
        if self.told.lengths > 1
            && let Some(length) = self.told.length
        {
            self.headers.insert(CONTENT_LENGTH, length.into());
        }
    }
}
