//! The kinds of errors, and what follows from each.

use http::StatusCode;

/// The errors that clients see, by their `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Malformed, or could be read in two ways.
    BadRequest,
    /// Made by a browser for another site.
    BrowserRequest,
    /// Nobody knows who sent it, where the listener has to know.
    CallerUnknown,
    /// Who sent it cannot be found out now.
    CallerUnavailable,
    /// Its caller may not use the listener or the route, or has no credential there.
    NotPermitted,
    /// No route matched, or the `Host` is not accepted here.
    NoRoute,
    /// A forward listener may not lead there.
    DestinationDenied,
    /// A tunnel would carry requests past their token.
    InterceptionOff,
    /// Inside of a CONNECT, and for another host or port.
    Misdirected,
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// Head or body not received in time.
    RequestTimeout,
    /// The request-target is too long.
    UriTooLong,
    /// The request's header section is too large.
    HeaderTooLarge,
    /// No usable token.
    TokenUnavailable,
    /// The proxy on the way to the upstream refused.
    EgressProxy,
    /// Connection refused, name unresolvable, or reset before a response.
    UpstreamConnect,
    /// TLS handshake or certificate.
    UpstreamTls,
    /// The response is not HTTP.
    UpstreamProtocol,
    /// Connecting or responding took too long.
    UpstreamTimeout,
    /// A limit of the caller or the route is reached.
    RateLimited,
    /// A limit of ours is reached.
    Overloaded,
    /// The request already passed through this instance.
    Loop,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The sender of the request.
    Client,
    /// The protected API, or the way to it.
    Upstream,
    /// The authorization server, or the way to it.
    TokenEndpoint,
    /// This process or its configuration.
    Us,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::BadRequest,
        Self::BrowserRequest,
        Self::CallerUnknown,
        Self::CallerUnavailable,
        Self::NotPermitted,
        Self::NoRoute,
        Self::DestinationDenied,
        Self::InterceptionOff,
        Self::Misdirected,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::UriTooLong,
        Self::HeaderTooLarge,
        Self::TokenUnavailable,
        Self::EgressProxy,
        Self::UpstreamConnect,
        Self::UpstreamTls,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
        Self::RateLimited,
        Self::Overloaded,
        Self::Loop,
    ];

    /// The stable name: the end of the problem's `type`, and the metric label `error`.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BrowserRequest => "browser_request",
            Self::CallerUnknown => "caller_unknown",
            Self::CallerUnavailable => "caller_unavailable",
            Self::NotPermitted => "not_permitted",
            Self::NoRoute => "no_route",
            Self::DestinationDenied => "destination_denied",
            Self::InterceptionOff => "interception_off",
            Self::Misdirected => "misdirected",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::HeaderTooLarge => "header_too_large",
            Self::TokenUnavailable => "token_unavailable",
            Self::EgressProxy => "egress_proxy",
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Loop => "loop",
        }
    }

    /// The HTTP status of the answer, unless a forward proxy asks who its client is.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::BrowserRequest
            | Self::NotPermitted
            | Self::DestinationDenied
            | Self::InterceptionOff => StatusCode::FORBIDDEN,
            Self::CallerUnknown => StatusCode::UNAUTHORIZED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CallerUnavailable | Self::TokenUnavailable | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::EgressProxy
            | Self::UpstreamConnect
            | Self::UpstreamTls
            | Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The problem's `title` (RFC 9457 section 3.1.3).
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed or ambiguous",
            Self::BrowserRequest => "Requests that browsers make for other sites are refused",
            Self::CallerUnknown => "Nobody knows who sent the request",
            Self::CallerUnavailable => "Who sent the request cannot be found out now",
            Self::NotPermitted => "The caller may not do this",
            Self::NoRoute => "No route matches the request",
            Self::DestinationDenied => "The destination is not allowed",
            Self::InterceptionOff => "A tunnel would carry the request past its token",
            Self::Misdirected => "The connection is for another host",
            Self::MethodNotAllowed => "The method is not allowed",
            Self::RequestTimeout => "The request was not received in time",
            Self::UriTooLong => "The request-target is too long",
            Self::HeaderTooLarge => "The header section is too large",
            Self::TokenUnavailable => "There is no usable token",
            Self::EgressProxy => "The proxy on the way to the upstream refused",
            Self::UpstreamConnect => "The upstream could not be reached",
            Self::UpstreamTls => "TLS with the upstream failed",
            Self::UpstreamProtocol => "The upstream's response is not valid HTTP",
            Self::UpstreamTimeout => "The upstream did not answer in time",
            Self::RateLimited => "A limit of the caller or the route is reached",
            Self::Overloaded => "A limit is reached",
            Self::Loop => "The request already passed through here",
        }
    }

    /// Whose fault it is.
    pub fn blame(self) -> Blame {
        match self {
            Self::BadRequest
            | Self::BrowserRequest
            | Self::CallerUnknown
            | Self::NotPermitted
            | Self::NoRoute
            | Self::DestinationDenied
            | Self::InterceptionOff
            | Self::Misdirected
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::UriTooLong
            | Self::HeaderTooLarge
            | Self::RateLimited => Blame::Client,
            Self::CallerUnavailable | Self::TokenUnavailable => Blame::TokenEndpoint,
            Self::EgressProxy
            | Self::UpstreamConnect
            | Self::UpstreamTls
            | Self::UpstreamProtocol
            | Self::UpstreamTimeout => Blame::Upstream,
            Self::Overloaded | Self::Loop => Blame::Us,
        }
    }

    /// Whether the upstream cannot have acted on the request, so that repeating it does nothing
    /// twice.
    pub fn retry_safe(self) -> bool {
        match self {
            // A body that stalls may have been forwarded in part, and a connection that breaks
            // may have carried the request.
            Self::RequestTimeout
            | Self::UpstreamConnect
            | Self::UpstreamProtocol
            | Self::UpstreamTimeout
            | Self::Loop => false,
            Self::BadRequest
            | Self::BrowserRequest
            | Self::CallerUnknown
            | Self::CallerUnavailable
            | Self::NotPermitted
            | Self::NoRoute
            | Self::DestinationDenied
            | Self::InterceptionOff
            | Self::Misdirected
            | Self::MethodNotAllowed
            | Self::UriTooLong
            | Self::HeaderTooLarge
            | Self::TokenUnavailable
            | Self::EgressProxy
            | Self::UpstreamTls
            | Self::RateLimited
            | Self::Overloaded => true,
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 section 2.3).
    pub fn proxy_status(self) -> &'static str {
        match self {
            Self::BadRequest
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::UriTooLong
            | Self::HeaderTooLarge => "http_request_error",
            Self::BrowserRequest
            | Self::CallerUnknown
            | Self::NotPermitted
            | Self::DestinationDenied
            | Self::InterceptionOff
            | Self::RateLimited => "http_request_denied",
            Self::Misdirected => "http_request_error",
            Self::NoRoute => "destination_not_found",
            // "Unrelated to the origin": the upstream was not asked.
            Self::CallerUnavailable | Self::TokenUnavailable => "proxy_internal_error",
            Self::EgressProxy => "connection_refused",
            Self::UpstreamConnect => "destination_unavailable",
            Self::UpstreamTls => "tls_protocol_error",
            Self::UpstreamProtocol => "http_protocol_error",
            Self::UpstreamTimeout => "http_response_timeout",
            Self::Overloaded => "connection_limit_reached",
            Self::Loop => "proxy_loop_detected",
        }
    }

    /// The `grpc-status` of the answer. Only errors after which a repeated call does nothing
    /// twice, or that never got a connection, are UNAVAILABLE: clients retry that by themselves.
    pub fn grpc_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UpstreamProtocol | Self::Loop => 13, // INTERNAL
            Self::BrowserRequest
            | Self::NotPermitted
            | Self::DestinationDenied
            | Self::InterceptionOff => 7, // PERMISSION_DENIED
            Self::CallerUnknown => 16,                                    // UNAUTHENTICATED
            Self::Misdirected => 9,                                       // FAILED_PRECONDITION
            Self::NoRoute | Self::MethodNotAllowed => 12,                 // UNIMPLEMENTED
            Self::RequestTimeout | Self::UpstreamTimeout => 4,            // DEADLINE_EXCEEDED
            Self::UriTooLong | Self::HeaderTooLarge | Self::RateLimited => 8, // RESOURCE_EXHAUSTED
            Self::CallerUnavailable
            | Self::TokenUnavailable
            | Self::EgressProxy
            | Self::UpstreamConnect
            | Self::UpstreamTls
            | Self::Overloaded => 14, // UNAVAILABLE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::{CLIENT_ERRORS, UPSTREAM_ERRORS};

    #[test]
    fn every_code_is_a_label_that_metrics_know() {
        let known = [&CLIENT_ERRORS[..], &UPSTREAM_ERRORS].concat();
        let codes = ErrorKind::ALL.map(ErrorKind::code);
        assert!(codes.iter().all(|code| known.contains(code)), "{codes:?}");
        assert_eq!(codes.len(), known.len());
    }

    #[test]
    fn every_code_has_the_status_that_is_documented() {
        let documented = [
            ("bad_request", 400),
            ("browser_request", 403),
            ("caller_unknown", 401),
            ("caller_unavailable", 503),
            ("not_permitted", 403),
            ("no_route", 404),
            ("destination_denied", 403),
            ("interception_off", 403),
            ("misdirected", 421),
            ("method_not_allowed", 405),
            ("request_timeout", 408),
            ("uri_too_long", 414),
            ("header_too_large", 431),
            ("token_unavailable", 503),
            ("egress_proxy", 502),
            ("upstream_connect", 502),
            ("upstream_tls", 502),
            ("upstream_protocol", 502),
            ("upstream_timeout", 504),
            ("rate_limited", 429),
            ("overloaded", 503),
            ("loop", 508),
        ];
        let kinds = ErrorKind::ALL.map(|kind| (kind.code(), kind.status().as_u16()));
        assert_eq!(kinds, documented);
        let codes: HashSet<_> = kinds.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), kinds.len());
    }

    #[test]
    fn only_client_errors_are_blamed_on_the_client() {
        for kind in ErrorKind::ALL {
            let client = kind.blame() == Blame::Client;
            assert_eq!(client, kind.status().is_client_error(), "{kind:?}");
        }
    }

    #[test]
    fn a_request_that_may_have_been_carried_out_is_not_safe_to_retry() {
        for kind in [
            ErrorKind::UpstreamConnect,
            ErrorKind::UpstreamProtocol,
            ErrorKind::UpstreamTimeout,
        ] {
            assert!(!kind.retry_safe(), "{kind:?}");
        }
        assert!(ErrorKind::TokenUnavailable.retry_safe());
    }
}
