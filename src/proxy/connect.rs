//! CONNECT to a forward listener: plain HTTP inside of it is served, and a tunnel past the token is refused.

use h2::ext::Protocol;
use http::request::Parts;
use http::{Method, Version};

use super::client_connection::ConnectTarget;
use super::destination;
use super::error::{ErrorKind, ProxyError};
use super::request;
use crate::config::Scheme;
use crate::route::{self, Destination};
use crate::snapshot::Snapshot;

/// Whether it is a CONNECT as proxies know it (RFC 9110 section 9.3.6), not an extended one.
pub fn is_connect(head: &Parts) -> bool {
    head.method == Method::CONNECT && head.extensions.get::<Protocol>().is_none()
}

/// Judges a CONNECT; `inside` is one that the same connection has been opened by before.
///
/// # Errors
///
/// `bad_request` if it is malformed or inside of another one; `loop` for a socket of this process;
/// `interception_off` where a tunnel would send requests past their token; else `destination_denied`.
pub fn judge(
    snapshot: &Snapshot,
    listener: usize,
    head: &Parts,
    inside: Option<&ConnectTarget>,
) -> Result<ConnectTarget, ProxyError> {
    if inside.is_some() {
        return Err(ProxyError::bad_request(
            "the connection has been opened by a CONNECT already",
        ));
    }
    let (host, port) = request::check_connect(head)?;
    let host = route::canonical(&host);
    let leads = |scheme| {
        let (host, listener) = (&*host, listener);
        destination::upstreams_at(snapshot, listener, Destination { scheme, host, port })
    };
    let over_tls: Vec<_> = leads(Scheme::Https).collect();
    if over_tls.iter().any(|upstream| upstream.injection.is_some()) {
        return Err(ProxyError::new(
            ErrorKind::InterceptionOff,
            "a tunnel would carry the request past its token: call the API as http:// through this proxy, or by the \
             address of a reverse listener",
        ));
    }
    if !over_tls.is_empty() {
        return Err(ProxyError::new(
            ErrorKind::DestinationDenied,
            "tunnels are not available in this version: call the API as http:// through this proxy",
        ));
    }
    if leads(Scheme::Http).next().is_none() {
        let destination = Destination {
            scheme: Scheme::Https,
            host: &host,
            port,
        };
        return Err(destination::denied(snapshot, destination));
    }
    if head.version >= Version::HTTP_2 {
        return Err(ProxyError::new(
            ErrorKind::DestinationDenied,
            "CONNECT over HTTP/2 is not available in this version: send the request itself, or CONNECT over HTTP/1.1",
        ));
    }
    Ok(ConnectTarget {
        host: host.into(),
        port,
    })
}
