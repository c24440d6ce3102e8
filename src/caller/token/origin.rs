//! A client of one origin that is asked about tokens: its TLS settings, and what it may answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use super::keys::KeyFetchError;
use crate::address::OwnSockets;
use crate::blocking;
use crate::config::{Dialing, HttpVersion, ProxyChoice, Tls};
use crate::http_client::{
    self, AddressPolicy, HttpClient, NetworkSettings, Response, UnreadableBody, display_url,
};
use crate::oauth::TokenErrorKind;
use crate::redact::Redactor;

/// DNS, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// A set of a hundred keys with their certificates fits.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How servers are reached.
#[derive(Debug, Clone)]
pub(super) struct ServerReach {
    pub(super) tls: Tls,
    pub(super) proxy: ProxyChoice,
    /// None of them is ever asked.
    pub(super) own_sockets: Arc<OwnSockets>,
}

/// A client of one origin.
pub(super) struct OriginClient {
    pub(super) url: Url,
    reach: ServerReach,
    /// Where it may be, if a server named it.
    pub(super) policy: Option<Arc<AddressPolicy>>,
    redactor: Arc<Redactor>,
    /// Made for the first request.
    client: Mutex<Option<HttpClient>>,
}

/// A whole answer with status 200 or 201.
pub(super) struct ServerAnswer {
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) peer: Option<std::net::SocketAddr>,
}

impl OriginClient {
    /// What its answers say is cleaned of what `redactor` knows.
    pub(super) fn new(
        url: Url,
        reach: ServerReach,
        policy: Option<Arc<AddressPolicy>>,
        redactor: Arc<Redactor>,
    ) -> Self {
        Self {
            url,
            reach,
            policy,
            redactor,
            client: Mutex::default(),
        }
    }

    /// Asks for `url`, which is of this origin.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<ServerAnswer, KeyFetchError> {
        self.ask(Method::GET, url, headers, Bytes::new()).await
    }

    /// Asks for `url`, which is of this origin, and takes no other answer than 200 or 201.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<ServerAnswer, KeyFetchError> {
        let client = self.client().await?;
        let shown = self.redactor.clean(&display_url(url));
        let response = client.send(method, url, headers, body).await?;
        let Response {
            status,
            headers,
            body,
            peer,
        } = response;
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            let error = KeyFetchError::new(kind_of(status), format!("{shown} answered {status}"));
            let retry_after = http_client::retry_after(&headers, SystemTime::now());
            return Err(KeyFetchError {
                retry_after,
                ..error
            });
        }
        let body = body.map_err(|unreadable| match unreadable {
            UnreadableBody::Broken(error) => error.into(),
            other => KeyFetchError::new(
                TokenErrorKind::BadResponse,
                format!("{shown} answered with a body that cannot be used: {other}"),
            ),
        })?;
        Ok(ServerAnswer {
            headers,
            body,
            peer,
        })
    }

    /// Reads the TLS files on another thread: this one is needed while a file system hangs.
    async fn client(&self) -> Result<HttpClient, KeyFetchError> {
        let known = || self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known().clone() {
            return Ok(client);
        }
        let (url, settings) = (self.url.clone(), self.settings());
        let made = blocking::run(move || HttpClient::connecting(&url, settings)).await;
        let local = |what: String| KeyFetchError::new(TokenErrorKind::Local, what);
        let made = made
            .map_err(|error| local(format!("files cannot be read: {error}")))?
            .map_err(|error| local(error.to_string()))?;
        *known() = Some(made.clone());
        Ok(made)
    }

    fn settings(&self) -> NetworkSettings {
        NetworkSettings {
            tls: self.reach.tls.clone(),
            certificate: None,
            http: HttpVersion::Http1,
            dialing: Dialing::default(),
            connect_timeout: CONNECT_TIMEOUT,
            max_header_bytes: MAX_HEADER_BYTES,
            max_body_bytes: Some(MAX_BODY_BYTES),
            proxy: self.reach.proxy.proxy_for(&self.url).cloned(),
            address_policy: self.policy.clone(),
            own_sockets: Arc::clone(&self.reach.own_sockets),
            redactor: Arc::clone(&self.redactor),
        }
    }
}

fn kind_of(status: StatusCode) -> TokenErrorKind {
    match status {
        StatusCode::TOO_MANY_REQUESTS => TokenErrorKind::Throttled,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TokenErrorKind::Refused,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => TokenErrorKind::ServerError,
        status if status.is_server_error() => TokenErrorKind::ServerError,
        _ => TokenErrorKind::BadResponse,
    }
}

impl From<http_client::Error> for KeyFetchError {
    fn from(error: http_client::Error) -> Self {
        Self::new(error.kind.into(), error.message)
    }
}
