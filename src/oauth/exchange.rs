//! One request and its whole answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use url::{Position, Url};

use super::admission::Admission;
use super::coding;
use super::form::Form;
use super::last_good::Faults;
use super::response::Answer;
use super::transport::{Transport, shown};
use super::{TokenError, TokenErrorKind};
use crate::config::Credential;
use crate::dpop::Nonce;
use crate::redact::Redactor;

/// What every request of ours says about itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sidebearer/", env!("CARGO_PKG_VERSION")));
/// JSON is the only form of an answer that we understand.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A URL of an authorization server, ready to be asked.
pub(super) struct Endpoint {
    pub(super) url: Url,
    /// The same for messages.
    pub(super) shown: String,
    /// Where it may be, if a server named it.
    pub(super) admission: Option<Arc<Admission>>,
    transport: Arc<dyn Transport>,
    limits: Limits,
}

/// How much of an answer is taken.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of a body, unpacked.
    pub(super) body: usize,
    /// Nonces of more bytes are left out.
    pub(super) nonce: usize,
}

impl Limits {
    pub(super) fn of(credential: &Credential) -> Self {
        Self {
            body: credential.max_response_bytes,
            nonce: credential.max_nonce_bytes,
        }
    }
}

impl Endpoint {
    /// At the operator's word.
    pub(super) fn new(url: Url, transport: Arc<dyn Transport>, limits: Limits) -> Self {
        Self {
            shown: shown(&url),
            url,
            admission: None,
            transport,
            limits,
        }
    }

    /// One that a server named: `transport` keeps to `admission`.
    pub(super) fn admitted(self, admission: Arc<Admission>, redactor: &Redactor) -> Self {
        Self {
            shown: redactor.clean(&self.shown),
            admission: Some(admission),
            ..self
        }
    }

    /// Asks for `url`, which is of this endpoint's origin.
    pub(super) async fn get(&self, url: &Url) -> Result<Answer, TokenError> {
        self.exchange(url, Method::GET, HeaderMap::new(), Bytes::new())
            .await
    }

    /// Sends `form` to the endpoint itself.
    pub(super) async fn post(&self, headers: HeaderMap, form: Form) -> Result<Answer, TokenError> {
        let body = Bytes::from_owner(form);
        self.exchange(&self.url, Method::POST, headers, body).await
    }

    async fn exchange(
        &self,
        url: &Url,
        method: Method,
        more: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, TokenError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // A server may have named this URL: what does not fit is its fault, not an invariant.
        let unusable = || {
            let message = format!("the URL {} is not usable in a request", self.shown);
            TokenError::new(TokenErrorKind::BadResponse, message)
        };
        *request.uri_mut() = url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|_| unusable())?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT, JSON);
        headers.extend(more);
        // Framing is the library's, whatever more headers say.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
        headers.insert(HOST, host.map_err(|_| unusable())?);

        let response = self.transport.carry(url, request).await?;
        let (mut head, body) = response.into_parts();
        Ok(Answer {
            peer: head.extensions.get().copied(),
            nonce: Nonce::take(&mut head.headers, self.limits.nonce),
            status: head.status,
            body: body
                .ok_or("with more than max_response_bytes")
                .and_then(|body| coding::decoded(&head.headers, body, self.limits.body)),
            headers: head.headers,
        })
    }

    /// Looks at the files of its transport: what stands for those in use, and a fault if they are
    /// not those there are.
    pub(super) fn look(&self, faults: &mut Faults) -> u64 {
        let (held, fault) = self.transport.look();
        if let Some(fault) = fault {
            faults.add(&fault, true);
        }
        held
    }
}
