//! One HTTP/1.1 request and its whole answer, on a connection of its own.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use url::{Position, Url};
use zeroize::Zeroizing;

use super::form::Form;
use super::last_good::{Faults, Unusable};
use super::response::Answer;
use super::{TokenError, TokenErrorKind};
use crate::config::{Credential, HttpVersion, Tls};
use crate::dpop::{LastNonce, Nonce};
use crate::upstream::{
    Answers, ConnectError, Connector, Identity, Protocols, TlsError, fingerprint,
};

/// What every request of ours says about itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sidebearer/", env!("CARGO_PKG_VERSION")));
/// JSON is the only form of an answer that we understand.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// No token response or discovery document needs more.
const MAX_BODY: usize = 64 * 1024;
/// Where reading of a response head stops, give or take one read.
const MAX_HEAD: usize = 64 * 1024;

/// A URL of an authorization server, ready to be asked.
pub(super) struct Endpoint {
    pub(super) url: Url,
    /// What it wants in proofs.
    pub(super) nonce: LastNonce,
    tls: Tls,
    /// Presented instead of what the files hold.
    identity: Option<Arc<Identity>>,
    held: Mutex<Held>,
    connect_timeout: Duration,
}

/// What was made of the TLS files.
struct Held {
    /// What they held at the last look.
    seen: u64,
    /// What they held when `connector` was made of them.
    good: u64,
    connector: Arc<Connector>,
    /// Why what was seen last is not what is used.
    fault: Option<Unusable>,
}

impl Endpoint {
    pub(super) fn new(
        url: Url,
        credential: &Credential,
        identity: Option<Arc<Identity>>,
    ) -> Result<Self, TlsError> {
        let mut tls = credential.tls.clone();
        if identity.is_some() {
            (tls.certificate_file, tls.key_file) = (None, None);
        }
        let held = fingerprint(&tls);
        let connector = Connector::presenting(identity.as_deref(), &url, &tls, HttpVersion::Http1)?;
        Ok(Self {
            tls,
            identity,
            held: Mutex::new(Held {
                seen: held,
                good: held,
                connector: Arc::new(connector),
                fault: None,
            }),
            // Less than the whole, so that the failure says which step was slow.
            connect_timeout: credential.fetch_timeout * 4 / 5,
            nonce: LastNonce::default(),
            url,
        })
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

    /// Dropping the future closes the connection.
    async fn exchange(
        &self,
        url: &Url,
        method: Method,
        more: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, TokenError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // A server may have named this URL: what does not fit is its fault, not an invariant.
        let unusable = || {
            let message = format!("the URL {} is not usable in a request", shown(url));
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
        // The connection serves one request: the server need not wait for a second.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));

        let connector = self.connector();
        let connecting = connector.connect(Protocols::Any, self.connect_timeout);
        let connected = connecting.await.map_err(unreachable)?;
        let broken = |e: hyper::Error| match connector.certificate_refused(&e) {
            Some(refused) => unreachable(refused),
            None => broken(url, &e),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(Answers::new(connected.io)))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (mut head, body) = response.into_parts();
            Ok(Answer {
                brings_nonce: self.learn(&mut head.headers),
                status: head.status,
                headers: head.headers,
                body: read(body).await.map_err(broken)?,
            })
        };
        // The connection moves only while it is polled here, and ends with this function.
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    /// Whether the answer says what the next proof has to hold.
    fn learn(&self, headers: &mut HeaderMap) -> bool {
        let nonce = Nonce::take(headers);
        let found = nonce.is_some();
        if let Some(nonce) = nonce {
            self.nonce.set(nonce);
        }
        found
    }

    /// A connector made of what the TLS files hold now; of what they held before while that is
    /// unusable, as when a certificate is already new and its key is not.
    fn connector(&self) -> Arc<Connector> {
        self.refreshed().connector.clone()
    }

    /// Looks at the TLS files: what stands for those in use, and a fault if they are not those
    /// there are.
    pub(super) fn look(&self, faults: &mut Faults) -> u64 {
        let held = self.refreshed();
        if let Some(fault) = &held.fault {
            faults.add(fault, true);
        }
        held.good
    }

    fn refreshed(&self) -> MutexGuard<'_, Held> {
        let now = fingerprint(&self.tls);
        // What is locked is replaced whole, so a panic elsewhere leaves it sound.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.seen != now {
            held.seen = now;
            let identity = self.identity.as_deref();
            held.fault =
                match Connector::presenting(identity, &self.url, &self.tls, HttpVersion::Http1) {
                    Ok(connector) => {
                        held.connector = Arc::new(connector);
                        held.good = now;
                        None
                    }
                    Err(error) => Some(unusable(&error, &self.tls)),
                };
        }
        held
    }
}

/// What is wrong with the files of `tls`, for whoever looks at them.
pub(super) fn unusable(error: &TlsError, tls: &Tls) -> Unusable {
    match error {
        TlsError::File { path, reason } => Unusable::file(path, reason),
        // Whatever else changes with the files is about the two that belong together.
        other => {
            let file = tls.key_file.as_deref().or(tls.ca_file.as_deref());
            Unusable::file(file.unwrap_or(Path::new("tls")), other.to_string())
        }
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let host = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{host}", url.scheme())
}

async fn read(
    mut body: Incoming,
) -> Result<Result<Zeroizing<Vec<u8>>, &'static str>, hyper::Error> {
    // As large as it can get: growing would leave copies of the token behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if whole.len() + data.len() > MAX_BODY {
            return Ok(Err("with more than 64 KiB"));
        }
        whole.extend_from_slice(data);
    }
    Ok(Ok(whole))
}

fn unreachable(error: ConnectError) -> TokenError {
    let kind = match error {
        ConnectError::Timeout { .. } => TokenErrorKind::Timeout,
        // The server has said its no, if not in OAuth's words.
        ConnectError::Tls {
            certificate_refused: true,
            ..
        } => TokenErrorKind::Refused,
        _ => TokenErrorKind::Unreachable,
    };
    TokenError::new(kind, error.to_string())
}

/// The connection or the protocol failed after the connection was made.
fn broken(url: &Url, error: &hyper::Error) -> TokenError {
    let shown = shown(url);
    if error.is_parse() {
        let message = format!("{shown} answered with something that is not HTTP/1.1");
        return TokenError::new(TokenErrorKind::BadResponse, message);
    }
    let source = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    let cut = source.is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof);
    if cut || error.is_incomplete_message() {
        let message = format!("{shown} closed the connection before its answer was complete");
        return TokenError::new(TokenErrorKind::Unreachable, message);
    }
    let reason = error.source().map(ToString::to_string);
    let reason = reason.unwrap_or_else(|| error.to_string());
    let message = format!("the connection to {shown} broke: {reason}");
    TokenError::new(TokenErrorKind::Unreachable, message)
}
