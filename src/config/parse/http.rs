//! Paths, methods, header names and hosts.

use http::uri::Authority;
use http::{HeaderName, Method};

use super::super::report::Expected;
use super::syntax::Syntax;
use crate::header_names::{HOP_BY_HOP, are_equivalent, is_hop_by_hop};
use crate::path::canonical_path;

/// A path without a query.
pub(in crate::config) const ROUTE_PATH: Syntax<String> =
    Syntax::new(r#"/[!"$->@-\[\]-~]*"#, route_path);

/// Routes match the path alone, so that a query in one could never match.
pub(in crate::config) fn route_path(text: &str) -> Result<String, Expected> {
    if text.contains('?') {
        return Err("a path ends before \"?\"; queries are forwarded as they come".into());
    }
    match canonical_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(error) => Err(error.to_string().into()),
    }
}

/// A method.
pub(in crate::config) const METHOD: Syntax<Method> =
    Syntax::new("[!#$%&'*+.^_`|~0-9A-Z-]+", method)
        .except("a_method_that_is_never_forwarded", || {
            "TRACE|CONNECT".to_owned()
        });

pub(in crate::config) fn method(text: &str) -> Result<Method, Expected> {
    const EXPECTED: &str = "expected a method such as \"GET\"";
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| EXPECTED)?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(format!("methods are upper case; did you mean \"{upper}\"?").into());
    }
    if method == Method::TRACE || method == Method::CONNECT {
        return Err("TRACE and CONNECT are never forwarded".into());
    }
    Ok(method)
}

/// The name of a header.
pub(in crate::config) const HEADER: Syntax<HeaderName> =
    Syntax::new(pattern!(header), header).except("a_header_of_the_connection", forbidden_headers);

fn forbidden_headers() -> String {
    let of_proxies = format!("{}(?:[^0-9A-Za-z].*)?", spelled("proxy"));
    format!("{}|{of_proxies}", of_connection().join("|"))
}

/// Headers that frame the message or route it.
const OURS: [&str; 6] = ["content-length", "dpop", "expect", "host", "trailer", "via"];

/// The header for the id of a request.
const REQUEST_ID: &str = "x-request-id";

/// Patterns of the names that cannot be set, but for those of proxies.
pub(super) fn of_connection() -> Vec<String> {
    let names = OURS.iter().chain(&HOP_BY_HOP);
    names.map(|name| spelled(name)).collect()
}

/// A pattern of everything that some server takes for this name.
pub(super) fn spelled(name: &str) -> String {
    let letter = |letter: char| match letter {
        'a'..='z' => format!("[{}{letter}]", letter.to_ascii_uppercase()),
        '-' => "[^0-9A-Za-z]".to_owned(),
        other => other.to_string(),
    };
    name.chars().map(letter).collect()
}

/// A header name that may be given a value of our own: not one that frames the message, routes
/// it, or belongs to the connection (RFC 9110 section 7.6.1), and none that some servers take for one of
/// these.
pub(in crate::config) fn header(text: &str) -> Result<HeaderName, Expected> {
    let name: HeaderName = text
        .parse()
        .map_err(|_| "expected a header name such as \"authorization\"")?;
    if is_hop_by_hop(name.as_ref())
        || OURS
            .iter()
            .any(|ours| are_equivalent(text.as_bytes(), ours.as_bytes()))
    {
        return Err("this header belongs to the connection and cannot be set".into());
    }
    Ok(name)
}

/// The name of a header that a token may be put into.
pub(in crate::config) const INJECTED: Syntax<HeaderName> = Syntax::new(pattern!(header), injected)
    .except("a_header_that_takes_no_token", || {
        format!("{}|{}", forbidden_headers(), spelled(REQUEST_ID))
    });

/// A header name that a token may be put into.
pub(in crate::config) fn injected(text: &str) -> Result<HeaderName, Expected> {
    let name = header(text)?;
    if are_equivalent(text.as_bytes(), REQUEST_ID.as_bytes()) {
        return Err("this header has the id of a request, which is logged".into());
    }
    Ok(name)
}

/// What stands before a token.
pub(in crate::config) const PREFIX: Syntax<String> = Syntax::new("[!-~]*", prefix);

/// What stands before a token. Unlike other strings, an empty one differs from none.
pub(in crate::config) fn prefix(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let prefix = visible.then(|| text.to_owned());
    prefix.ok_or("expected visible ASCII characters without spaces".into())
}

/// A value of `Host`.
pub(in crate::config) const HOST: Syntax<String> = Syntax::new(r"[^\s/?#@\\]+", host).address();

/// A value of `Host`.
pub(in crate::config) fn host(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = "expected a host name with or without a port";
    let authority: Authority = text.parse().map_err(|_| EXPECTED)?;
    let port_is_good = match authority.port() {
        Some(port) => port.as_str().parse::<u16>().is_ok(),
        None => !text.ends_with(':'),
    };
    let is_host = !text.contains('@') && !authority.host().is_empty() && port_is_good;
    is_host.then(|| text.to_owned()).ok_or(EXPECTED.into())
}
