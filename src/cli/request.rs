//! One request to a server nearby over plain HTTP, for commands that ask a running sidebearer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::config::{Dialing, HttpVersion, Tls};
use crate::http_client::{self, HttpClient, NetworkSettings};
use crate::upstream::TlsError;

/// As much of an answer as is shown: every mistake of a large configuration.
const MAX_BODY: usize = 4 << 20;
/// As much as any server nearby has reason to send.
const MAX_HEADERS: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// Neither TLS nor anything but HTTP is spoken here.
    #[error("only http:// can be asked")]
    Scheme,
    /// No client can be made for this URL.
    #[error(transparent)]
    Url(#[from] TlsError),
    /// Nobody listens, or what came is not an answer.
    #[error(transparent)]
    Http(#[from] http_client::Error),
    /// Somebody listens and does not answer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// The status and text of the answer. A body that breaks off, or is too long, is left out: the
/// status decides.
///
/// # Errors
/// Why there is no answer within `timeout`.
pub(super) async fn send(
    method: Method,
    url: &Url,
    timeout: Duration,
) -> Result<(StatusCode, String), RequestError> {
    send_body(method, url, Bytes::new(), timeout).await
}

/// The same with a body.
///
/// # Errors
/// As [`send`].
pub(super) async fn send_body(
    method: Method,
    url: &Url,
    body: Bytes,
    timeout: Duration,
) -> Result<(StatusCode, String), RequestError> {
    if url.scheme() != "http" {
        return Err(RequestError::Scheme);
    }
    let settings = NetworkSettings {
        tls: Tls::default(),
        certificate: None,
        http: HttpVersion::Http1,
        dialing: Dialing::default(),
        // The time for the whole is shorter or equal, and says so in its own words.
        connect_timeout: timeout,
        max_header_bytes: MAX_HEADERS,
        max_body_bytes: Some(MAX_BODY),
        proxy: None,
        address_policy: None,
        own_sockets: Arc::default(),
        redactor: Arc::default(),
    };
    let client = HttpClient::connecting(url, settings)?;
    let sending = client.send(method, url, HeaderMap::new(), body);
    let sent = tokio::time::timeout(timeout, sending).await;
    let response = sent.map_err(|_| RequestError::Timeout(timeout))??;
    let body = response.body.unwrap_or_default();
    Ok((response.status, String::from_utf8_lossy(&body).into_owned()))
}
