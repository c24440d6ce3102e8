//! What the labels can be.

/// How an attempt to connect to an upstream ends: `success`, or the label of a
/// [`ConnectError`](crate::upstream::ConnectError).
pub const CONNECT_OUTCOMES: [&str; 10] = [
    "success",
    "unresolved",
    "forbidden",
    "loop",
    "unreachable",
    "tls_failed",
    "proxy_refused",
    "timeout",
    "no_files",
    "limit",
];

/// How a token request ends: `success`, or the label of a
/// [`TokenErrorKind`](crate::oauth::TokenErrorKind).
pub const TOKEN_OUTCOMES: [&str; 8] = [
    "success",
    "refused",
    "unreachable",
    "timeout",
    "server_error",
    "throttled",
    "bad_response",
    "local",
];

/// How a TLS handshake with a client ends.
pub const HANDSHAKE_OUTCOMES: [&str; 15] = [
    "success",
    "shed",
    "timeout",
    "client_gone",
    "plaintext",
    "malformed",
    "incompatible",
    "refused_by_client",
    "no_certificate",
    "unknown_ca",
    "certificate_expired",
    "certificate_revoked",
    "certificate_invalid",
    "crl_missing",
    "crl_expired",
];

/// How a TLS handshake inside of a CONNECT ends.
pub const INTERCEPTION_OUTCOMES: [&str; 10] = [
    "success",
    "shed",
    "timeout",
    "client_gone",
    "plaintext",
    "malformed",
    "incompatible",
    "refused_by_client",
    "misdirected",
    "no_leaf",
];

/// How a review of a caller's token ends: the API server knows it, does not, or could not be asked.
pub const REVIEW_OUTCOMES: [&str; 3] = ["accepted", "refused", "unavailable"];

/// The codes of errors that a request can meet before an upstream is found for it.
pub const CLIENT_ERRORS: [&str; 14] = [
    "bad_request",
    "browser_request",
    "caller_unknown",
    "caller_unavailable",
    "not_permitted",
    "no_route",
    "destination_denied",
    "interception_off",
    "misdirected",
    "method_not_allowed",
    "request_timeout",
    "uri_too_long",
    "header_too_large",
    "loop",
];

/// The codes of errors that it can meet afterwards, in addition to some of the former.
pub const UPSTREAM_ERRORS: [&str; 8] = [
    "token_unavailable",
    "egress_proxy",
    "upstream_connect",
    "upstream_tls",
    "upstream_protocol",
    "upstream_timeout",
    "rate_limited",
    "overloaded",
];
