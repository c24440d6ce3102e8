//! Who a caller is, and the header that it says so in.

use std::net::Ipv4Addr;

use http::HeaderName;
use http::header::PROXY_AUTHORIZATION;

use super::super::report::Expected;
use super::super::settings::spiffe::{SCHEME, SpiffePatternError};
use super::super::settings::{ServiceAccount, SpiffePattern};
use super::address::host_name;
use super::http::{injected, of_connection, spelled};
use super::syntax::Syntax;
use crate::header_names::are_equivalent;

/// The name of a caller.
pub(in crate::config) const CALLER_NAME: Syntax<()> = Syntax::new("[!-~]+", caller_name);

/// The name of a caller, which is sent in headers.
pub(in crate::config) fn caller_name(text: &str) -> Result<(), Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let name = (visible && !text.is_empty()).then_some(());
    name.ok_or("expected visible ASCII characters without spaces".into())
}

/// A SPIFFE ID or a pattern of them.
pub(in crate::config) const SPIFFE_PATTERN: Syntax<SpiffePattern> = Syntax::new(
    r"spiffe://[0-9a-z._-]{1,255}(?:/(?:\*|[0-9A-Za-z._-]+))*",
    spiffe_pattern,
)
.address();

/// A SPIFFE ID, in which `*` may stand for a segment.
pub(in crate::config) fn spiffe_pattern(text: &str) -> Result<SpiffePattern, Expected> {
    SpiffePattern::parse(text).map_err(|error| match error {
        SpiffePatternError::Scheme => {
            format!("expected a SPIFFE ID such as \"{SCHEME}corp.example/ns/billing/sa/*\"").into()
        }
        SpiffePatternError::TrustDomain => {
            "expected a trust domain of lower case letters, digits, `.`, `-` and `_`, without port"
                .into()
        }
        SpiffePatternError::Segment => {
            "expected segments of letters, digits, `.`, `-` and `_`, none of them empty".into()
        }
        SpiffePatternError::Wildcard => "\"*\" stands only for a whole segment".into(),
        SpiffePatternError::Length => "a SPIFFE ID has at most 2048 bytes".into(),
    })
}

/// A DNS name.
pub(in crate::config) const CERTIFICATE_NAME: Syntax<String> =
    Syntax::new(pattern!(domain), certificate_name).address();

/// A DNS name of a certificate.
pub(in crate::config) fn certificate_name(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = "expected a host name such as \"billing.internal\"";
    if text.contains('*') {
        return Err("wildcards are not possible here: name the host".into());
    }
    let name = host_name(text)?;
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    (!is_address).then_some(name).ok_or(EXPECTED.into())
}

/// A service account.
pub(in crate::config) const SERVICE_ACCOUNT: Syntax<ServiceAccount> = Syntax::new(
    "[0-9a-z](?:[0-9a-z-]*[0-9a-z])?/[0-9a-z](?:[0-9a-z.-]*[0-9a-z])?",
    service_account,
);

/// `namespace/name`
pub(in crate::config) fn service_account(text: &str) -> Result<ServiceAccount, Expected> {
    const EXPECTED: &str = "expected a namespace and a name, such as \"billing/app\"";
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (namespace, name) = text.split_once('/').ok_or(EXPECTED)?;
    if !is_label(namespace) || name.len() > 253 || !name.split('.').all(is_label) {
        return Err(EXPECTED.into());
    }
    Ok(ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// The name of a header that callers send.
pub(in crate::config) const CALLER_HEADER: Syntax<HeaderName> =
    Syntax::new(pattern!(header), caller_header).except("a_header_with_another_meaning", || {
        let taken = TAKEN_HEADERS
            .iter()
            .map(|name| match name.strip_suffix('-') {
                Some(start) => format!("{}[^0-9A-Za-z].*", spelled(start)),
                None => spelled(name),
            });
        let taken: Vec<_> = taken.collect();
        format!("{}|{}", of_connection().join("|"), taken.join("|"))
    });

/// A header that a key or token of a caller can come in.
pub(in crate::config) fn caller_header(text: &str) -> Result<HeaderName, Expected> {
    if text.eq_ignore_ascii_case(PROXY_AUTHORIZATION.as_str()) {
        return Ok(PROXY_AUTHORIZATION);
    }
    let header = injected(text)?;
    let is_taken = TAKEN_HEADERS.iter().any(|taken| {
        let beginning = text.get(..taken.len()).unwrap_or_default();
        let is_whole = beginning.len() == text.len() || taken.ends_with('-');
        is_whole && are_equivalent(beginning.as_bytes(), taken.as_bytes())
    });
    if is_taken {
        return Err(
            "HTTP gives this header another meaning: expected one such as \"x-api-key\"".into(),
        );
    }
    Ok(header)
}

/// The headers that clients send of themselves, or that say something about the message. Those that end with `-` stand
/// for all that begin so.
const TAKEN_HEADERS: [&str; 24] = [
    "accept",
    "accept-",
    "access-control-",
    "cache-control",
    "content-",
    "cookie",
    "date",
    "forwarded",
    "from",
    "grpc-",
    "if-",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "sec-",
    "traceparent",
    "tracestate",
    "user-agent",
    "warning",
    "x-forwarded-",
];
