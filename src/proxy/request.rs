//! Strictness: what two parsers could read differently is refused before anything is decided.
//!
//! The request has been parsed already. What passes there, and not here: a missing `Host` or two of
//! them, userinfo, UTF-8 in targets, dot segments, differing lengths, transfer codings but
//! one `chunked`. What the bytes alone show (a lone LF, a fragment), `http1` refuses. The library of
//! HTTP/2 drops a fragment silently; target and route then agree that there is none.

use std::borrow::Cow;

use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, ORIGIN, TE, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT, VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::error::{ErrorKind, ProxyError};
use crate::host::{canonical_host, written_address};
use crate::path::{Path, PathError, check_query};

#[cfg(test)]
mod tests;

/// What a well-formed request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked<'r> {
    /// In its canonical form. Empty for HTTP/1.0 without `Host`.
    pub host: Cow<'r, str>,
    /// Host and port as received: the target's, or those of `Host`.
    pub authority: &'r str,
    /// The path, in the form that is matched and in the form that is forwarded.
    pub path: Path<'r>,
    /// The query as it came, without `?`.
    pub query: Option<&'r str>,
    /// Which headers it has that few do.
    pub seen: Seen,
}

/// What the one look at all headers has seen, so that nobody has to look for it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// It is a gRPC call, whose errors are `grpc-status`. gRPC-Web is not.
    pub grpc: bool,
    /// `Upgrade`.
    pub upgrade: bool,
    /// `Via`.
    pub via: bool,
    /// `Origin`, `Sec-Fetch-*`, or the `User-Agent` of a browser.
    pub browser: bool,
}

/// Refuses everything that is malformed or ambiguous.
///
/// # Errors
///
/// `method_not_allowed` for TRACE and for CONNECT that is not an extended one; `bad_request` for the rest.
pub fn check(parts: &Parts) -> Result<Checked<'_>, ProxyError> {
    // What is malformed ends the connection, so that it is judged before the method, and framing first.
    let fields = check_headers(&parts.headers, parts.version)?;
    let method = parts.method.as_str();
    if method.eq_ignore_ascii_case("CONNECT") && parts.extensions.get::<Protocol>().is_none() {
        // It has no path to judge, and nothing follows it. Extended CONNECT, which the HTTP library tells
        // by its protocol, has one to be routed by.
        return Err(method_not_allowed());
    }
    let authority = authority(&parts.uri, &fields, parts.version)?;
    let host = match authority {
        Some(authority) => host(authority)?,
        None => Cow::Borrowed(""),
    };
    let target = parts.uri.path_and_query().map(PathAndQuery::as_str);
    if parts.version >= Version::HTTP_2 && target.is_some_and(|target| target.starts_with('?')) {
        return Err(bad("a :path begins with a slash"));
    }
    let query = parts.uri.query();
    let path = match (parts.uri.path(), query) {
        ("*", None) if parts.method == Method::OPTIONS => Path::ASTERISK,
        (path, _) => Path::read(path).map_err(refused)?,
    };
    query.map_or(Ok(()), check_query).map_err(refused)?;
    // Servers that take method names in any case would see TRACE in `trace`.
    if method.eq_ignore_ascii_case("TRACE") {
        return Err(method_not_allowed());
    }
    Ok(Checked {
        host,
        authority: authority.unwrap_or_default(),
        path,
        query,
        seen: fields.seen,
    })
}

/// The host, canonical, and the port that a CONNECT names (RFC 9110 section 9.3.6).
///
/// # Errors
///
/// It is malformed, names no port, or announces a body.
pub fn check_connect(parts: &Parts) -> Result<(Cow<'_, str>, u16), ProxyError> {
    let fields = check_headers(&parts.headers, parts.version)?;
    let headers = &parts.headers;
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Err(bad(
            "CONNECT has neither Content-Length nor Transfer-Encoding",
        ));
    }
    let uri = &parts.uri;
    let Some(target) = uri.authority().map(http::uri::Authority::as_str) else {
        return Err(bad(CONNECT_TARGET));
    };
    if uri.scheme().is_some() || uri.path_and_query().is_some() {
        return Err(bad(CONNECT_TARGET));
    }
    // The target decides over `Host`, which must be there and valid all the same.
    match fields.host {
        Some(named) => host(named.to_str().map_err(|_| bad(BAD_HOST))?).map(drop)?,
        None if parts.version == Version::HTTP_11 => {
            return Err(bad("the request has no Host header"));
        }
        None => {}
    }
    let name = host(target)?;
    let port = uri.port_u16().filter(|port| *port != 0);
    Ok((name, port.ok_or_else(|| bad(CONNECT_TARGET))?))
}

const CONNECT_TARGET: &str =
    "the target of CONNECT is a host and a port, such as crm.example.com:443";

impl Checked<'_> {
    /// The host as the client has written it, which is another one than [`host`](Self::host) only for IPv6: browsers do not
    /// trust every spelling of an address.
    pub fn written_host(&self) -> &str {
        let end = self.authority.find(']');
        end.map_or(&self.host, |end| &self.authority[..=end])
    }
}

/// How a request asks for a tunnel.
#[derive(Debug, Clone, PartialEq)]
pub enum TunnelRequest {
    /// HTTP/1.1, with the protocols in its `Upgrade`.
    Upgrade(HeaderValue),
    /// HTTP/2, with extended CONNECT (RFC 8441).
    ExtendedConnect(Protocol),
}

/// The tunnel that a request asks for, if any.
///
/// An upgrade to `h2c` is ignored, as a server may (RFC 9110 section 7.8): it would carry requests
/// past us.
pub fn tunnel_request(parts: &Parts, seen: Seen) -> Option<TunnelRequest> {
    if parts.method == Method::CONNECT {
        return parts
            .extensions
            .get()
            .cloned()
            .map(TunnelRequest::ExtendedConnect);
    }
    if !seen.upgrade {
        return None;
    }
    let upgrade = upgrade_of(parts.version, &parts.headers);
    upgrade.cloned().map(TunnelRequest::Upgrade)
}

/// The value of `Upgrade`, if it counts.
fn upgrade_of(version: Version, headers: &HeaderMap) -> Option<&HeaderValue> {
    if version != Version::HTTP_11 {
        return None;
    }
    let mut values = headers.get_all(UPGRADE).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let is_h2c = |protocol: &[u8]| {
        let name = protocol.get(..3).unwrap_or_default();
        name.eq_ignore_ascii_case(b"h2c")
    };
    let asked = elements(headers, CONNECTION).any(|o| o.eq_ignore_ascii_case(b"upgrade"));
    (asked && !list(value).any(is_h2c)).then_some(value)
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub fn expects_continue(parts: &Parts) -> bool {
    let waits = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    parts.version >= Version::HTTP_11 && parts.headers.get(EXPECT).is_some_and(waits)
}

/// Whether `Via` says that the request passed through `instance`, the pseudonym
/// (`sidebearer-ID`) that this process adds to it.
pub fn has_passed_through(headers: &HeaderMap, instance: &str) -> bool {
    elements(headers, VIA)
        .flat_map(|element| element.split(u8::is_ascii_whitespace))
        .any(|word| word.eq_ignore_ascii_case(instance.as_bytes()))
}

/// The members of a comma-separated header, from all its lines, without surrounding whitespace.
pub(super) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).iter().flat_map(list)
}

/// Whether a space or tab stands at an end of it, which makes a message of HTTP/2 malformed (RFC 9113
/// section 8.2.1). HTTP/1.1 takes it off.
pub(super) fn is_padded(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let value = value.as_bytes();
    is_blank(value.first()) || is_blank(value.last())
}

/// The members of one line of such a header.
pub(super) fn list(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = value.as_bytes().split(|byte| *byte == b',');
    members.map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
}

#[cold]
fn method_not_allowed() -> ProxyError {
    let detail =
        "TRACE would echo the token and CONNECT would bypass the routes: use another method";
    ProxyError::new(ErrorKind::MethodNotAllowed, detail)
}

/// What the check of the headers leaves to use.
struct CheckedFields<'r> {
    host: Option<&'r HeaderValue>,
    seen: Seen,
}

/// One pass over all headers. Their values hold no control characters but tab: no `HeaderValue`
/// can.
fn check_headers(headers: &HeaderMap, version: Version) -> Result<CheckedFields<'_>, ProxyError> {
    let http1 = version <= Version::HTTP_11;
    let (mut host, mut length, mut coding) = (None, None, None);
    let mut seen = Seen::default();
    for (name, value) in headers {
        if !http1 && is_padded(value) {
            return Err(bad(
                "in HTTP/2, no header value begins or ends with a space or tab",
            ));
        }
        match *name {
            HOST => {
                if host.replace(value).is_some() {
                    return Err(bad("the request has more than one Host header"));
                }
            }
            CONTENT_LENGTH => {
                let digits = value.as_bytes();
                let valid = digits.iter().all(u8::is_ascii_digit)
                    && std::str::from_utf8(digits).is_ok_and(|d| d.parse::<i64>().is_ok());
                if !valid || length.replace(value).is_some() {
                    return Err(bad("Content-Length must be one number, sent once"));
                }
            }
            TRANSFER_ENCODING => {
                let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                let allowed = version == Version::HTTP_11 && chunked;
                if !allowed || coding.replace(value).is_some() {
                    return Err(bad(
                        "Transfer-Encoding must be exactly one \"chunked\", and in HTTP/1.1 alone",
                    ));
                }
            }
            CONTENT_TYPE => seen.grpc |= is_grpc_type(value),
            VIA => seen.via = true,
            ORIGIN => seen.browser = true,
            USER_AGENT => seen.browser |= is_browser(value),
            UPGRADE if http1 => seen.upgrade = true,
            _ if name.as_str().starts_with("sec-fetch-") => seen.browser = true,
            _ if http1 => {}
            TE => {
                if !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
                    return Err(bad("in HTTP/2, TE may hold nothing but \"trailers\""));
                }
            }
            _ => {
                let connection = [CONNECTION, UPGRADE].contains(name)
                    || ["keep-alive", "proxy-connection"].contains(&name.as_str());
                if connection {
                    return Err(bad("HTTP/2 has no connection-specific headers"));
                }
            }
        }
    }
    Ok(CheckedFields { host, seen })
}

/// Whether it is a gRPC call, also when the rest of it is refused.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(is_grpc_type)
}

/// Whether this `User-Agent` is a browser's, or pretends to be.
pub fn is_browser(user_agent: &HeaderValue) -> bool {
    user_agent.as_bytes().starts_with(b"Mozilla/")
}

fn is_grpc_type(content_type: &HeaderValue) -> bool {
    const GRPC: usize = "application/grpc".len();
    let value = content_type.as_bytes();
    value.len() >= GRPC
        && value[..GRPC].eq_ignore_ascii_case(b"application/grpc")
        && matches!(value.get(GRPC), None | Some(b'+' | b';' | b' '))
}

/// Who is asked, as received. An absolute target decides over `Host` (RFC 9112 section 3.2.2), but
/// the latter must be there and valid all the same (section 3.2).
fn authority<'r>(
    uri: &'r Uri,
    fields: &CheckedFields<'r>,
    version: Version,
) -> Result<Option<&'r str>, ProxyError> {
    let named = match fields.host {
        Some(value) => Some(value.to_str().map_err(|_| bad(BAD_HOST))?),
        None => None,
    };
    let target = uri.authority().map(http::uri::Authority::as_str);
    if target.is_some() {
        match uri.scheme_str() {
            Some(scheme) if is_http(scheme) => {}
            // Some clients name the scheme of a WebSocket also to a proxy.
            Some(scheme) if fields.seen.upgrade && is_websocket(scheme) => {}
            Some(_) => {
                return Err(bad(
                    "the scheme of the request-target must be http or https",
                ));
            }
            None => return Err(bad("the request-target must be a path or an absolute URL")),
        }
    }
    match (target, named) {
        (Some(target), Some(named)) if version >= Version::HTTP_2 => {
            if target.eq_ignore_ascii_case(named) {
                Ok(Some(target))
            } else {
                Err(bad("the Host header differs from :authority"))
            }
        }
        // The target is judged by the caller. Nearly always both are the same.
        (Some(target), Some(named)) if named == target => Ok(Some(target)),
        (Some(target), Some(named)) => host(named).map(|_| Some(target)),
        (None, Some(named)) => Ok(Some(named)),
        (_, None) if version == Version::HTTP_11 => Err(bad("the request has no Host header")),
        (None, None) if version >= Version::HTTP_2 => {
            Err(bad("the request has neither :authority nor a Host header"))
        }
        (target, None) => Ok(target),
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn is_websocket(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss")
}

/// The host of `host[:port]`, canonical.
fn host(authority: &str) -> Result<Cow<'_, str>, ProxyError> {
    host_and_port(authority).map(|(host, _)| host)
}

/// The host of `host[:port]`, canonical, and the port if there is one.
///
/// # Errors
/// It is malformed, or has more than that.
pub fn host_and_port(authority: &str) -> Result<(Cow<'_, str>, Option<u16>), ProxyError> {
    let (host, port) = match authority.rfind([':', ']']) {
        Some(index) if authority[index..].starts_with(':') => {
            (&authority[..index], Some(&authority[index + 1..]))
        }
        _ => (authority, None),
    };
    // `u16` alone would take a sign.
    let is_number = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.filter(is_number).and_then(|port| port.parse().ok());
    let port_valid = port.is_none() || number.is_some();
    let (name, host_valid) = if host.starts_with('[') {
        (host, written_address(host).is_some())
    } else {
        let name = host.strip_suffix('.').unwrap_or(host);
        (name, is_name(name))
    };
    if !port_valid || !host_valid {
        return Err(bad(BAD_HOST));
    }
    let name = if name.starts_with('[') {
        canonical_host(name)
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    Ok((name, number))
}

/// A name of non-empty labels. RFC 3986 allows more in a `reg-name`; no resolver does.
fn is_name(name: &str) -> bool {
    let mut previous = b'.';
    for byte in name.bytes() {
        let in_label = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        if !in_label && (byte != b'.' || previous == b'.') {
            return false;
        }
        previous = byte;
    }
    previous != b'.'
}

const BAD_HOST: &str = "the host must be a name or an IP address, with a port number if any, and \
                        without user information";

#[cold]
fn bad(detail: &'static str) -> ProxyError {
    ProxyError::bad_request(detail)
}

#[cold]
fn refused(error: PathError) -> ProxyError {
    ProxyError::new(ErrorKind::BadRequest, error.to_string())
}
