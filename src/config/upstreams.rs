//! `[upstreams.NAME]`

use std::time::Duration;

use http::HeaderName;
use http::uri::Authority;

use super::address::is_loopback;
use super::draft::{Draft, Files, Named};
use super::general::{SOME, body_buffer};
use super::read::{Section, Value};
use super::report::{Expected, Shown};
use super::{Dialing, Http2, HttpVersion, Tls, Upstream};
use crate::header_names::{alike, is_hop_by_hop};

/// More streams than most servers take on one connection need another. Servers of gRPC end a connection
/// on which three pings come within five minutes of each other.
const HTTP2: Http2 = Http2 {
    max_streams: 100,
    stream_window: 64 << 10,
    ping_interval: Duration::from_secs(360),
    ping_timeout: Duration::from_secs(20),
};

/// Reads one upstream.
pub(super) fn read(
    name: &str,
    section: Section<'_>,
    files: &Files<'_>,
    draft: &mut Draft,
) -> Option<Upstream> {
    section.missing("url", "a URL such as \"https://api.example.com\"");
    let url = section.url("url", false);
    let credential = section.text("credential");
    let versions = [
        ("auto", HttpVersion::Auto),
        ("1.1", HttpVersion::Http1),
        ("2", HttpVersion::Http2),
    ];
    let http = section.choice("http", HttpVersion::Auto, &versions);
    let host = section.parse("host", host);
    let time = |key, seconds, least| section.duration(key, Duration::from_secs(seconds), least);
    let connect_timeout = time("connect_timeout", 5, SOME);
    let dialing = Dialing::read(&section);
    let response_timeout = time("response_timeout", 60, SOME);
    let stream_idle_timeout = time("stream_idle_timeout", 300, Duration::ZERO);
    let continue_timeout = time("continue_timeout", 1, SOME);
    let connect_protocol_timeout = time("connect_protocol_timeout", 1, SOME);
    let max_connections = section.integer("max_connections", 10_000, 1..=1_000_000);
    let max_connecting = section.integer("max_connecting", 64, 1..=1_000_000);
    let pool_idle = section.integer("pool_idle", 256, 0..=1_000_000);
    let pool_idle_timeout = time("pool_idle_timeout", 50, SOME);
    let max_connection_age = time("max_connection_age", 600, Duration::ZERO);
    let retry_on_401 = section.boolean("retry_on_401", true);
    let max_retries = section.integer("max_retries", 3, 0..=100);
    let replay_buffer = section.size("replay_buffer", 64 << 10, ["0B", "64MiB"]);
    let body_buffer = body_buffer(&section, 64 << 10);
    let max_response_header_bytes =
        section.size("max_response_header_bytes", 64 << 10, ["8KiB", "1MiB"]);
    let max_response_headers = section.integer("max_response_headers", 100, 1..=10_000);
    let http2 = Http2::read(&section, HTTP2);
    let header = section.parse("header", injected);
    let header_prefix = prefix(&section);
    let allow_plaintext = section.boolean("allow_plaintext", false);
    let (tls, certificate_from) = Tls::read_bindable(&section, files);

    if let Some(from) = &certificate_from {
        bind(from, credential.as_ref().map(|(_, name)| *name), draft);
    }
    if let Some((value, target)) = &credential {
        draft.references.credentials.push(Named::new(target, value));
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
    section.finish();
    Some(Upstream {
        name: name.to_owned(),
        url: url?.1,
        credential: credential.map(|(_, name)| name.to_owned()),
        http,
        host,
        connect_timeout,
        dialing,
        response_timeout,
        stream_idle_timeout: (!stream_idle_timeout.is_zero()).then_some(stream_idle_timeout),
        continue_timeout,
        connect_protocol_timeout,
        max_connections,
        max_connecting,
        pool_idle,
        pool_idle_timeout,
        max_connection_age: (!max_connection_age.is_zero()).then_some(max_connection_age),
        retry_on_401,
        max_retries,
        replay_buffer,
        body_buffer,
        max_response_header_bytes,
        max_response_headers,
        http2,
        header: header.unwrap_or(http::header::AUTHORIZATION),
        header_prefix,
        bound: certificate_from.is_some(),
        tls,
    })
}

/// A certificate is of use to a bound token only where that token is sent: `certificate_from` names
/// the upstream's own credential or nothing.
fn bind((value, from): &(Value<'_>, &str), credential: Option<&str>, draft: &mut Draft) {
    match credential {
        Some(credential) if credential == *from => {
            draft.references.certificates.push(Named::new(from, value));
        }
        Some(credential) => {
            let help = format!("expected {}, whose token is sent", Shown(credential));
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
        && let Some(value) = section.get("tls")
    {
        value.error("has no effect", "the URL is http://, not https://");
    }
}

/// A header name that may be given a value of our own: not one that frames the message, routes
/// it, or belongs to the connection (RFC 9110 section 7.6.1), and none that some server takes for
/// such a one.
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
fn injected(text: &str) -> Result<HeaderName, Expected> {
    let name = header(text)?;
    if name.as_str() == "x-request-id" {
        return Err("this header has the id of a request, which is logged".into());
    }
    Ok(name)
}

/// Unlike other strings, an empty prefix differs from none.
fn prefix(section: &Section<'_>) -> Option<String> {
    let value = section.get("header_prefix")?;
    let text = value.text("a string")?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let prefix = visible.then(|| text.to_owned());
    value.check(prefix.ok_or("expected visible ASCII characters without spaces".into()))
}

fn host(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = "expected a host name with or without a port";
    let authority: Authority = text.parse().map_err(|_| EXPECTED)?;
    let port_is_good = match authority.port() {
        Some(port) => port.as_str().parse::<u16>().is_ok(),
        None => !text.ends_with(':'),
    };
    let is_host = !text.contains('@') && !authority.host().is_empty() && port_is_good;
    is_host.then(|| text.to_owned()).ok_or(EXPECTED.into())
}
