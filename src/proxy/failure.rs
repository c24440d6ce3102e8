//! What went wrong beneath, in the terms of what the client sees.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::error::{ErrorKind, ProxyError};
use super::upload::BodyFault;
use crate::http1::{self, HeadError};
use crate::http2;
use crate::token::Unavailable;
use crate::upstream::ConnectError;

/// Connections end all the time; some socket is free again soon.
const SHORTAGE_LASTS: Duration = Duration::from_secs(1);

/// There is no connection.
#[cold]
pub fn from_connect_error(error: Arc<ConnectError>) -> ProxyError {
    let (kind, detail) = match &*error {
        ConnectError::ToProxy { error: reason, .. } => to_proxy(reason),
        ConnectError::ProxyRefused { proxy, refusal, .. } => {
            let detail = format!("the proxy {proxy} {refusal}");
            return ProxyError::new(ErrorKind::EgressProxy, detail).caused_by(error);
        }
        ConnectError::Resolve { .. } => (
            ErrorKind::UpstreamConnect,
            "the host name cannot be resolved; check it where it is written (the url of an upstream, or the URL that the client asks for), and the DNS",
        ),
        ConnectError::Forbidden { rule, .. } => {
            let detail = format!(
                "the host has no address that may be dialled, by the rule {rule} (the log says more)"
            );
            return ProxyError::new(ErrorKind::DestinationDenied, detail).caused_by(error);
        }
        ConnectError::OwnSocket { .. } => (
            ErrorKind::Loop,
            "the destination is this process itself; look for an upstream whose url leads back here, or leave the address to no_proxy",
        ),
        ConnectError::Connect { .. } => (
            ErrorKind::UpstreamConnect,
            "the upstream does not take connections; check its url and whether it is up",
        ),
        ConnectError::Shortage { .. } => {
            return ProxyError::new(
                ErrorKind::Overloaded,
                "no socket is left for a connection to the upstream; raise the open-files limit, or lower max_connections",
            )
            .retry_after(SHORTAGE_LASTS)
            .caused_by(error);
        }
        ConnectError::Full { .. } => {
            return ProxyError::new(
                ErrorKind::Overloaded,
                "as many connections to the upstream are open as its max_connections allows; raise it, or send fewer requests at once",
            )
            .retry_after(SHORTAGE_LASTS)
            .caused_by(error);
        }
        ConnectError::Timeout { .. } => (
            ErrorKind::UpstreamTimeout,
            "no connection to the upstream within its connect_timeout; check the network between",
        ),
        ConnectError::Tls { .. } => (
            ErrorKind::UpstreamTls,
            "no TLS connection to the upstream; check its certificate and the tls settings (the log says what is wrong)",
        ),
    };
    ProxyError::new(kind, detail).caused_by(error)
}

/// The proxy on the way to the upstream cannot be reached.
fn to_proxy(error: &ConnectError) -> (ErrorKind, &'static str) {
    match error {
        ConnectError::Tls { .. } => (
            ErrorKind::UpstreamTls,
            "no TLS connection to the proxy on the way to the upstream; check its certificate and proxy_tls (the log says what is wrong)",
        ),
        _ => (
            ErrorKind::UpstreamConnect,
            "the proxy on the way to the upstream cannot be reached; check the key proxy and whether the proxy is up (the log says what is wrong)",
        ),
    }
}

/// The client did not send the whole request.
#[cold]
pub fn from_body_fault(fault: BodyFault) -> ProxyError {
    let detail = match fault {
        BodyFault::Malformed => "the request body is malformed",
        BodyFault::Gone => "the client closed the connection before the end of the request body",
    };
    ProxyError::new(ErrorKind::BadRequest, detail)
}

/// There is no token.
#[cold]
pub fn from_unavailable_token(unavailable: Unavailable) -> ProxyError {
    ProxyError::new(
        ErrorKind::TokenUnavailable,
        "no usable token for this upstream: the authorization server does not give one; retry later (status on the admin address says why)",
    )
    .retry_after(unavailable.retry_after)
    .caused_by(unavailable)
}

/// Why there is no response, though there was a connection.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeFailure {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] http2::Error),
}

/// The exchange failed before the response head was complete. `http1_instead`: over HTTP/2, and what
/// came began as HTTP/1.1 does.
#[cold]
pub fn from_exchange_failure(error: ExchangeFailure, http1_instead: bool) -> ProxyError {
    let h2 = match &error {
        ExchangeFailure::Http2(http2::Error::Stream(error)) => Some(error),
        _ => None,
    };
    let (kind, detail) = match (h2, &error) {
        _ if http1_instead => (
            ErrorKind::UpstreamProtocol,
            "the server answers in HTTP/1.1 where HTTP/2 is to be spoken; leave out http = \"2\" if its upstream has that, else have the client speak HTTP/1.1, or check the port".into(),
        ),
        (Some(h2), _) if h2.is_remote() => (ErrorKind::UpstreamConnect, describe_ended_stream(h2)),
        (Some(h2), _) if h2.is_library() => (
            ErrorKind::UpstreamProtocol,
            "what the upstream sent is not a valid HTTP/2 response, or its head exceeds max_response_header_bytes (the log says which rule it broke); check the port of its url, and whether http = \"2\" is right".into(),
        ),
        (_, ExchangeFailure::Http2(http2::Error::TunnelWithBody)) => (
            ErrorKind::UpstreamProtocol,
            "the upstream agreed to a tunnel and announced a body with it; look at how it answers CONNECT".into(),
        ),
        (_, ExchangeFailure::Http1(http1::Error::Head(HeadError::TooLarge))) => (
            ErrorKind::UpstreamProtocol,
            "the head of the upstream's response exceeds max_response_header_bytes or max_response_headers; make it send less, or raise them".into(),
        ),
        (_, ExchangeFailure::Http1(http1::Error::Head(_))) => (
            ErrorKind::UpstreamProtocol,
            "what the upstream sent is not an HTTP response; check that its url names an HTTP port".into(),
        ),
        (_, ExchangeFailure::Http1(http1::Error::Interim) | ExchangeFailure::Http2(http2::Error::Interim)) => (
            ErrorKind::UpstreamProtocol,
            "the upstream sends interim responses without end and no final one; look at what it does".into(),
        ),
        _ => (
            ErrorKind::UpstreamConnect,
            Cow::Borrowed("the upstream closed the connection before it answered; whether it acted on the request is unknown"),
        ),
    };
    ProxyError::new(kind, detail).caused_by(error)
}

/// The upstream ended the stream, or the connection under it, and said why.
fn describe_ended_stream(error: &h2::Error) -> Cow<'static, str> {
    let what = if error.is_go_away() {
        "ended the connection"
    } else {
        "reset the request"
    };
    let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
    let advice = match reason {
        h2::Reason::HTTP_1_1_REQUIRED => "set http = \"1.1\"",
        h2::Reason::REFUSED_STREAM => "it did not act on the request",
        _ if is_above_last_stream(error) => "it did not act on the request",
        _ => "whether it acted on the request is unknown",
    };
    format!("the upstream {what} ({reason:?}) before it answered; {advice}").into()
}

/// The upstream said that it did not process the request (RFC 9113 section 8.7).
pub fn is_refused_stream(error: &ExchangeFailure) -> bool {
    let ExchangeFailure::Http2(http2::Error::Stream(error)) = error else {
        return false;
    };
    error.reason() == Some(h2::Reason::REFUSED_STREAM) || is_above_last_stream(error)
}

/// The upstream named a last stream that it may process, and this is one above it; or the request
/// never went out, since that was known. The library hands the GOAWAY to no other stream, whatever
/// its reason: those up to the last go on, and hear of the end of the connection as an I/O error
/// (`recv_go_away`, `ensure_no_conn_error` and `recv_eof` in its `proto/streams/streams.rs`). That
/// the connection and those who send on it share a thread keeps the GOAWAY from coming between the
/// sending of a request and the look at how the connection is.
fn is_above_last_stream(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote()
}

/// The connection ended before the response did.
pub fn is_closed_early(error: &ExchangeFailure) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    let (io, closed) = match error {
        ExchangeFailure::Http1(http1::Error::Io(io)) => (Some(io), false),
        ExchangeFailure::Http1(error) => (None, matches!(error, http1::Error::Closed)),
        ExchangeFailure::Http2(http2::Error::Io(io)) => (Some(io), false),
        ExchangeFailure::Http2(_) => (None, false),
    };
    let reset = io.map(std::io::Error::kind).is_some_and(|kind| {
        // The last is TLS without its own end.
        let gone = [
            BrokenPipe,
            ConnectionAborted,
            ConnectionReset,
            NotConnected,
            UnexpectedEof,
        ];
        gone.contains(&kind)
    });
    reset || closed
}

/// The TLS alert that ended a connection of HTTP/1.1.
pub fn received_alert(error: &http1::Error) -> Option<rustls::Error> {
    let http1::Error::Io(io) = error else {
        return None;
    };
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    matches!(tls, rustls::Error::AlertReceived(_)).then(|| tls.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_our_own_is_not_blamed_on_the_upstream() {
        let (authority, reason) = ("a:1".to_owned(), "too many open files".to_owned());
        let ours = from_connect_error(Arc::new(ConnectError::Shortage {
            authority: authority.clone(),
            reason: reason.clone(),
        }));
        assert_eq!(ours.kind, ErrorKind::Overloaded);
        assert!(ours.retry_after.is_some());
        let theirs = from_connect_error(Arc::new(ConnectError::Connect { authority, reason }));
        assert_eq!(theirs.kind, ErrorKind::UpstreamConnect);
        assert_eq!(theirs.retry_after, None);
    }
}
