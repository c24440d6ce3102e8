//! What spans say of requests and servers, by the semantic conventions for HTTP.

use http::uri::Scheme as UriScheme;
use http::{Method, Version};

use crate::trace::AttributeValue;

pub(super) type Attributes = Vec<(&'static str, AttributeValue)>;

/// Adds the method, as far as everyone knows it, and what spans of it are called. A name has few values.
pub(super) fn add_method(attributes: &mut Attributes, method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    let known = KNOWN.into_iter().find(|known| method == known);
    attributes.push(("http.request.method", known.unwrap_or("_OTHER").into()));
    if known.is_none() {
        let written = method.as_str().to_owned();
        attributes.push(("http.request.method_original", written.into()));
    }
    known.unwrap_or("HTTP")
}

/// Adds host and port of a server, as a URL of this scheme has them.
pub(super) fn add_server(attributes: &mut Attributes, authority: &str, scheme: &str) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    if host.is_empty() {
        return;
    }
    let default = if scheme == UriScheme::HTTPS.as_str() {
        443
    } else {
        80
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    attributes.push(("server.address", host.into()));
    attributes.push(("server.port", port.unwrap_or(default).into()));
}

/// The version of HTTP, as spans have it.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
