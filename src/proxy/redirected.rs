//! Connections that the system has redirected here, and whose requests are not read one by one as plain HTTP: where they lead
//! is decided once, as for a CONNECT.

use std::sync::Arc;

use http::request::Parts;
use http::uri::{Authority, Parts as UriParts};
use http::{Method, Request, StatusCode, Uri};

use super::client_connection::{ClientConnection, ConnectionTarget};
use super::connect;
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::reply_body::Successor;
use super::shard_snapshot::CurrentSnapshot;
use crate::config::Scheme;
use crate::host::{canonical_host, host_of_address};

/// What a redirected connection has shown of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectedAs<'c> {
    /// TLS, and the host that the client names in its handshake (SNI), if it names one.
    Tls(Option<&'c str>),
    /// Nothing that is read here.
    Unread,
}

/// Leads a redirected connection on: by its name if it has shown one, else by the address that it was made to. A tunnel is
/// open when this returns. It is counted, logged and recorded as a CONNECT to that host and port.
///
/// # Errors
/// As of a CONNECT that is answered.
pub async fn lead_redirected(
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
    shown: RedirectedAs<'_>,
) -> Result<Successor, ProxyError> {
    let original = client.original_destination();
    let original = original.ok_or_else(|| {
        ProxyError::new(
            ErrorKind::Loop,
            "the system has not redirected the connection",
        )
    })?;
    let (scheme, name) = match shown {
        RedirectedAs::Tls(name) => (Scheme::Https, name),
        RedirectedAs::Unread => (Scheme::Http, None),
    };
    let host = match name {
        Some(name) => canonical_host(name).as_ref().into(),
        None => host_of_address(original.ip()).into(),
    };
    let asked = ConnectionTarget {
        scheme,
        host,
        port: original.port(),
        caller: None,
        extended_connect: true,
    };
    let head = head_of(&asked);
    let (shard, listener) = current(client);
    let mut exchange = Exchange::begin(shard, listener, client.begin_request(), &head);
    let led = connect::lead(&mut exchange, &head, asked).await;
    let status = match &led {
        Ok(_) => StatusCode::OK,
        Err(error) => {
            exchange.record_error(error);
            error.kind.status()
        }
    };
    exchange.record_status(status);
    led
}

/// The head that a client of a proxy would have sent.
fn head_of(asked: &ConnectionTarget) -> Parts {
    let mut uri = UriParts::default();
    // What is no authority was no name that a host can have.
    uri.authority = Authority::try_from(asked.to_string()).ok();
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request.into_parts().0
}
