//! A URL of an authorization server, and what is asked for there.

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::form::Form;
use super::last_good::{FoundFaults, InputFault};
use super::response::EndpointResponse;
use super::{TokenError, TokenErrorKind};
use crate::address::OwnSockets;
use crate::config::{Credential, HttpVersion};
use crate::dpop::Nonce;
use crate::http_client::{
    self, AddressPolicy, HttpClient, NetworkSettings, OnSend, RequestErrorKind, Response,
    UnreadableBody, display_url,
};
use crate::redact::Redactor;
use crate::upstream::ClientCertificate;

/// JSON is the only form of an answer that we understand.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A URL of an authorization server, ready to be asked.
pub(super) struct ServerEndpoint {
    pub(super) url: Url,
    /// The same for messages.
    pub(super) shown: String,
    /// Where it may be, if a server named it.
    pub(super) address_policy: Option<Arc<AddressPolicy>>,
    http: HttpClient,
    /// Nonces of more bytes are left out.
    max_nonce_bytes: usize,
}

impl ServerEndpoint {
    /// A URL that the operator configured.
    pub(super) fn new(url: Url, http: HttpClient, credential: &Credential) -> Self {
        Self {
            shown: display_url(&url),
            url,
            address_policy: None,
            http,
            max_nonce_bytes: credential.max_nonce_bytes,
        }
    }

    /// A URL that a server named. Its `HttpClient` keeps to `policy`.
    pub(super) fn named_by_server(self, policy: Arc<AddressPolicy>, redactor: &Redactor) -> Self {
        Self {
            shown: redactor.clean(&self.shown),
            address_policy: Some(policy),
            ..self
        }
    }

    /// Asks for `url`, which is of this endpoint's origin.
    pub(super) async fn get(&self, url: &Url) -> Result<EndpointResponse, TokenError> {
        self.ask(url, Method::GET, HeaderMap::new(), Bytes::new(), &|| ())
            .await
    }

    /// Sends `form` to the endpoint itself, and calls `on_send` when it goes out.
    pub(super) async fn post(
        &self,
        headers: HeaderMap,
        form: Form,
        on_send: OnSend<'_>,
    ) -> Result<EndpointResponse, TokenError> {
        let body = Bytes::from_owner(form);
        self.ask(&self.url, Method::POST, headers, body, on_send)
            .await
    }

    async fn ask(
        &self,
        url: &Url,
        method: Method,
        more: HeaderMap,
        body: Bytes,
        on_send: OnSend<'_>,
    ) -> Result<EndpointResponse, TokenError> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, JSON)]);
        headers.extend(more);
        let response = self.http.send_telling(method, url, headers, body, on_send);
        let response = response.await?;
        let Response {
            status,
            mut headers,
            body,
            peer,
        } = response;
        Ok(EndpointResponse {
            nonce: Nonce::take(&mut headers, self.max_nonce_bytes),
            body: match body {
                Ok(body) => Ok(body),
                Err(UnreadableBody::Broken(error)) => return Err(error.into()),
                Err(UnreadableBody::UnknownCoding) => {
                    Err("in a compressed form that nobody asked for")
                }
                Err(UnreadableBody::DamagedCoding) => {
                    Err("with gzip content that is damaged or cut off")
                }
                Err(UnreadableBody::TooLarge | UnreadableBody::NotRead) => {
                    Err("with more than max_response_bytes")
                }
            },
            status,
            headers,
            peer,
        })
    }

    /// Reads the TLS files again: what stands for those in use. A fault is noted if they are not those
    /// that are there.
    pub(super) fn read_tls_files(&self, faults: &mut FoundFaults) -> u64 {
        let files = self.http.tls_files();
        if let Some(fault) = files.fault {
            let (file, fault) = (fault.file.display().to_string(), fault.reason);
            faults.add(&InputFault { file, fault }, true);
        }
        files.fingerprint
    }
}

/// How the server of a credential at `url` is reached. If `certificate` is set, it is presented instead of the
/// one in the credential's files, if there is one.
pub(super) fn network_settings(
    url: &Url,
    credential: &Credential,
    certificate: Option<Arc<ClientCertificate>>,
    address_policy: Option<Arc<AddressPolicy>>,
    own_sockets: Arc<OwnSockets>,
    redactor: Arc<Redactor>,
) -> NetworkSettings {
    NetworkSettings {
        tls: credential.tls.clone(),
        certificate,
        http: HttpVersion::Http1,
        dialing: credential.dialing.clone(),
        // Less than the whole, so that the failure says which step was slow.
        connect_timeout: credential.fetch_timeout * 4 / 5,
        max_header_bytes: credential.max_response_bytes,
        max_body_bytes: Some(credential.max_response_bytes),
        proxy: credential.proxy.proxy_for(url).cloned(),
        address_policy,
        own_sockets,
        redactor,
    }
}

impl From<RequestErrorKind> for TokenErrorKind {
    fn from(kind: RequestErrorKind) -> Self {
        match kind {
            RequestErrorKind::Unreachable
            | RequestErrorKind::ProxyRefused
            | RequestErrorKind::Disconnected => Self::Unreachable,
            RequestErrorKind::Timeout => Self::Timeout,
            // The server refused the client, though not in the words of OAuth.
            RequestErrorKind::CertificateRefused => Self::Refused,
            RequestErrorKind::Internal => Self::Local,
            // The server named a URL, or sent a response, that cannot be used.
            RequestErrorKind::InvalidRequest
            | RequestErrorKind::AddressForbidden
            | RequestErrorKind::HeadTooLarge
            | RequestErrorKind::InvalidResponse => Self::BadResponse,
        }
    }
}

impl From<http_client::Error> for TokenError {
    fn from(error: http_client::Error) -> Self {
        let kind = error.kind.into();
        let hint = if error.kind == RequestErrorKind::HeadTooLarge {
            "; max_response_bytes bounds them"
        } else {
            ""
        };
        Self::new(kind, error.message + hint)
    }
}
