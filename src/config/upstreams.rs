//! `[upstreams.NAME]`

use std::time::Duration;

use http::HeaderName;
use http::uri::Authority;
use url::Url;

use super::address::is_loopback;
use super::draft::{Draft, FileRules, NameUse};
use super::forward::{self, HostPort};
use super::keys::UPSTREAM;
use super::read::Section;
use super::report::{Expected, QuotedWord};
use super::value::Value;
use super::{Dialing, Http2, Tls};
use crate::header_names::{alike, is_hop_by_hop};

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Scheme `http` or `https`, host, port and a canonical path prefix; no query, fragment or userinfo.
    pub url: Url,
    /// The credential whose token is injected; none proxies without a token.
    pub credential: Option<String>,
    /// Which HTTP version is spoken.
    pub http: HttpVersion,
    /// The `Host` sent; that of `url` when absent.
    pub host: Option<String>,
    /// Further names that clients of forward listeners use for it.
    pub hosts: Vec<HostPort>,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How its connections are made and kept.
    pub dialing: Dialing,
    /// From the end of the request body to the response head.
    pub response_timeout: Duration,
    /// Between two body chunks, either way; `None` is off.
    pub stream_idle_timeout: Option<Duration>,
    /// How long the API may think about an `Expect: 100-continue` before the body is asked for.
    pub continue_timeout: Duration,
    /// How long a new connection may keep to itself whether it takes extended CONNECT.
    pub connect_protocol_timeout: Duration,
    /// Connections at once, in the whole process, idle ones included.
    pub max_connections: usize,
    /// Connections of HTTP/1.1 that are being opened at once, in the whole process.
    pub max_connecting: usize,
    /// Idle connections kept, in the whole process.
    pub pool_idle: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long a connection carries new requests; `None`: for ever.
    pub max_connection_age: Option<Duration>,
    /// Whether a rejected token is renewed and the request replayed.
    pub retry_on_401: bool,
    /// How often a request is sent again because its connection had been closed.
    pub max_retries: usize,
    /// Request bodies up to this many bytes can be replayed.
    pub replay_buffer: usize,
    /// Bytes that are read at once from a connection, or over HTTP/2 buffered of a request body.
    pub body_buffer: usize,
    /// Largest response head, in bytes.
    pub max_response_header_bytes: usize,
    /// Headers of one response, over HTTP/1.1.
    pub max_response_headers: usize,
    /// Towards the API.
    pub http2: Http2,
    /// Where the token goes.
    pub header: HeaderName,
    /// What stands before the token; the token's type when absent, nothing when empty.
    pub header_prefix: Option<String>,
    /// `tls.certificate_from`: connections present the certificate of `credential`, which has one;
    /// its tokens are bound to it (RFC 8705 section 3).
    pub certificate_bound: bool,
    /// TLS towards the upstream.
    pub tls: Tls,
}

/// `upstreams.NAME.http`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// ALPN for https, HTTP/1.1 for http.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; over http with prior knowledge.
    Http2,
}

impl Upstream {
    /// Whether the same token goes to the same place, in the same header.
    pub fn sends_token_as(&self, other: &Self) -> bool {
        self.credential == other.credential
            && self.url == other.url
            && self.host == other.host
            && self.header == other.header
    }
}

/// Reads one upstream.
pub(super) fn read(
    name: &str,
    section: Section<'_>,
    files: &FileRules<'_>,
    draft: &mut Draft,
) -> Option<Upstream> {
    let url = section.read(&UPSTREAM.url);
    let credential = section.read(&UPSTREAM.credential);
    let allow_plaintext = section.read(&UPSTREAM.allow_plaintext);
    let (tls, certificate_from) = Tls::read_bindable(&section, files);

    if let Some(from) = &certificate_from {
        bind(from, credential.as_ref().map(|(_, name)| *name), draft);
    }
    if let Some((value, target)) = &credential {
        draft
            .references
            .credentials
            .push(NameUse::new(target, value));
    }
    if let Some((value, url)) = &url
        && url.scheme() == "http"
    {
        if credential.is_some() && !allow_plaintext && !is_loopback(url) {
            value.error(
                "would carry the token in plain text",
                "use https, or allow it with `allow_plaintext = true`",
            );
        }
        no_tls(&section, &tls, certificate_from.is_some());
    }
    let hosts: Vec<_> = section
        .read(&UPSTREAM.hosts)
        .into_iter()
        .flatten()
        .collect();
    if let Some((_, url)) = &url {
        forward::check_hosts(&section, url.scheme(), &hosts);
    }
    let limit = |time: Duration| (!time.is_zero()).then_some(time);
    Some(Upstream {
        name: name.to_owned(),
        credential: credential.map(|(_, name)| name.to_owned()),
        http: section.read(&UPSTREAM.http),
        host: section.read(&UPSTREAM.host),
        hosts,
        connect_timeout: section.read(&UPSTREAM.connect_timeout),
        dialing: Dialing::read(&section),
        response_timeout: section.read(&UPSTREAM.response_timeout),
        stream_idle_timeout: limit(section.read(&UPSTREAM.stream_idle_timeout)),
        continue_timeout: section.read(&UPSTREAM.continue_timeout),
        connect_protocol_timeout: section.read(&UPSTREAM.connect_protocol_timeout),
        max_connections: section.read(&UPSTREAM.max_connections),
        max_connecting: section.read(&UPSTREAM.max_connecting),
        pool_idle: section.read(&UPSTREAM.pool_idle),
        pool_idle_timeout: section.read(&UPSTREAM.pool_idle_timeout),
        max_connection_age: limit(section.read(&UPSTREAM.max_connection_age)),
        retry_on_401: section.read(&UPSTREAM.retry_on_401),
        max_retries: section.read(&UPSTREAM.max_retries),
        replay_buffer: section.read(&UPSTREAM.replay_buffer),
        body_buffer: section.read(&UPSTREAM.body_buffer),
        max_response_header_bytes: section.read(&UPSTREAM.max_response_header_bytes),
        max_response_headers: section.read(&UPSTREAM.max_response_headers),
        http2: Http2 {
            max_streams: section.read(&UPSTREAM.max_streams),
            stream_window: section.read(&UPSTREAM.stream_window),
            ping_interval: section.read(&UPSTREAM.ping_interval),
            ping_timeout: section.read(&UPSTREAM.ping_timeout),
        },
        header_prefix: section.read(&UPSTREAM.header_prefix),
        certificate_bound: certificate_from.is_some(),
        tls,
        // Last, so that the mistakes of all other keys are found.
        header: section.read(&UPSTREAM.header)?,
        url: url?.1,
    })
}

/// A certificate is of use to a bound token only where that token is sent: `certificate_from` names
/// the upstream's own credential or nothing.
fn bind((value, from): &(Value<'_>, &str), credential: Option<&str>, draft: &mut Draft) {
    match credential {
        Some(credential) if credential == *from => {
            draft
                .references
                .certificates
                .push(NameUse::new(from, value));
        }
        Some(credential) => {
            let help = format!("expected {}, whose token is sent", QuotedWord(credential));
            value.error("is not the upstream's `credential`", help);
        }
        None => value.error(
            "needs `credential`",
            "its token is what the certificate is for; without one, name `certificate_file`",
        ),
    }
}

/// Reports a `tls` table that sets something for a plain URL.
pub(super) fn no_tls(section: &Section<'_>, tls: &Tls, bound: bool) {
    if (*tls != Tls::default() || bound)
        && let Some(value) = section.value(UPSTREAM.tls.name)
    {
        value.error("has no effect", "the URL is http://, not https://");
    }
}

/// A header name that may be given a value of our own: not one that frames the message, routes
/// it, or belongs to the connection (RFC 9110 section 7.6.1), and none that some servers take for one of
/// these.
pub(super) fn header(text: &str) -> Result<HeaderName, Expected> {
    const OURS: [&str; 6] = ["content-length", "dpop", "expect", "host", "trailer", "via"];
    let name: HeaderName = text
        .parse()
        .map_err(|_| "expected a header name such as \"authorization\"")?;
    if is_hop_by_hop(&name)
        || OURS
            .iter()
            .any(|ours| alike(text.as_bytes(), ours.as_bytes()))
    {
        return Err("this header belongs to the connection and cannot be set".into());
    }
    Ok(name)
}

/// A header name that a token may be put into.
pub(super) fn injected(text: &str) -> Result<HeaderName, Expected> {
    let name = header(text)?;
    if name.as_str() == "x-request-id" {
        return Err("this header has the id of a request, which is logged".into());
    }
    Ok(name)
}

/// What stands before a token. Unlike other strings, an empty one differs from none.
pub(super) fn prefix(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let prefix = visible.then(|| text.to_owned());
    prefix.ok_or("expected visible ASCII characters without spaces".into())
}

/// A value of `Host`.
pub(super) fn host(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = "expected a host name with or without a port";
    let authority: Authority = text.parse().map_err(|_| EXPECTED)?;
    let port_is_good = match authority.port() {
        Some(port) => port.as_str().parse::<u16>().is_ok(),
        None => !text.ends_with(':'),
    };
    let is_host = !text.contains('@') && !authority.host().is_empty() && port_is_good;
    is_host.then(|| text.to_owned()).ok_or(EXPECTED.into())
}
