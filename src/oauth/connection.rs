//! The network: a connection of its own for each request, HTTP/1.1 over TCP or TLS.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use url::Url;
use zeroize::Zeroizing;

use super::last_good::Fault;
use super::transport::{Transport, Whole, shown};
use super::{BoxFuture, TokenError, TokenErrorKind};
use crate::config::{Credential, Dialing, HttpVersion, NamedFile, Tls};
use crate::upstream::{
    Answers, ConnectError, Connector, Identity, Protocols, TlsError, fingerprint,
};

/// Connects to one origin, with the TLS settings of a credential.
pub(super) struct Connections {
    /// Of the origin.
    url: Url,
    /// Without the files of the certificate where one is held in memory.
    tls: Tls,
    /// Presented instead of what the files hold.
    identity: Option<Arc<Identity>>,
    /// The files of what is to take the place of `identity` one day.
    next: Option<Tls>,
    dialing: Dialing,
    held: Mutex<Held>,
    connect_timeout: Duration,
    /// Bytes of a head, and of a body.
    max_response: usize,
}

/// What was made of the TLS files.
struct Held {
    /// What they held at the last look.
    seen: u64,
    /// What they held when `connector` was made of them.
    good: u64,
    connector: Arc<Connector>,
    /// Why what was seen last is not what is used.
    fault: Option<Fault>,
}

impl Connections {
    pub(super) fn new(
        url: &Url,
        credential: &Credential,
        identity: Option<Arc<Identity>>,
    ) -> Result<Self, TlsError> {
        let mut tls = credential.tls.clone();
        let next = identity.is_some().then(|| credential.tls.clone());
        if identity.is_some() {
            (tls.certificate_file, tls.key_file) = (None, None);
        }
        let held = fingerprint(&tls);
        let dialing = credential.dialing.clone();
        let connector = Connector::presenting(identity.as_deref(), url, &tls, HttpVersion::Http1)?
            .dialing(dialing.clone());
        Ok(Self {
            url: url.clone(),
            tls,
            identity,
            next,
            dialing,
            held: Mutex::new(Held {
                seen: held,
                good: held,
                connector: Arc::new(connector),
                fault: None,
            }),
            // Less than the whole, so that the failure says which step was slow.
            connect_timeout: credential.fetch_timeout * 4 / 5,
            max_response: credential.max_response_bytes,
        })
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Bytes>,
    ) -> Result<Response<Whole>, TokenError> {
        let mut request = request.map(Full::new);
        // The connection serves one request: the server need not wait for a second.
        let close = HeaderValue::from_static("close");
        request.headers_mut().insert(CONNECTION, close);

        let connector = self.connector();
        let connecting = connector.connect(Protocols::Any, self.connect_timeout);
        let connected = connecting.await.map_err(unreachable)?;
        let broken = |e: hyper::Error| match connector.certificate_refused(&e) {
            Some(refused) => unreachable(refused),
            None => broken(url, &e),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(self.max_response)
            .handshake(TokioIo::new(Answers::new(connected.io)))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = read(body, self.max_response).await.map_err(broken)?;
            Ok(Response::from_parts(head, body))
        };
        // The connection moves only while it is polled here, and ends with this function.
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    /// A connector made of what the TLS files hold now; of what they held before while that is
    /// unusable, as when a certificate is already new and its key is not.
    fn connector(&self) -> Arc<Connector> {
        self.refreshed().connector.clone()
    }

    fn refreshed(&self) -> MutexGuard<'_, Held> {
        let now = fingerprint(&self.tls);
        // What is locked is replaced whole, so a panic elsewhere leaves it sound.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.seen != now {
            held.seen = now;
            let identity = self.identity.as_deref();
            let connector =
                Connector::presenting(identity, &self.url, &self.tls, HttpVersion::Http1);
            held.fault = match connector {
                Ok(connector) => {
                    held.connector = Arc::new(connector.dialing(self.dialing.clone()));
                    held.good = now;
                    None
                }
                Err(error) => Some(fault(&error, &self.tls)),
            };
        }
        held
    }
}

impl Transport for Connections {
    fn carry<'a>(
        &'a self,
        url: &'a Url,
        request: Request<Bytes>,
    ) -> BoxFuture<'a, Result<Response<Whole>, TokenError>> {
        Box::pin(self.exchange(url, request))
    }

    fn look(&self) -> (u64, Option<Fault>) {
        let held = self.refreshed();
        let next = self.next.as_ref();
        let next = || next.and_then(|tls| Some(fault(&Identity::read(tls).err()?, tls)));
        (held.good, held.fault.clone().or_else(next))
    }
}

fn fault(error: &TlsError, tls: &Tls) -> Fault {
    let (file, fault) = match error {
        TlsError::File { path, reason } => (path.as_path(), reason.clone()),
        // Whatever else changes with the files is about the two that belong together.
        other => {
            let file = tls.key_file.as_ref().or(tls.ca_file.as_ref());
            let path = file.map_or(Path::new("tls"), NamedFile::path);
            (path, other.to_string())
        }
    };
    let file = file.display().to_string();
    Fault { file, fault }
}

async fn read(mut body: Incoming, most: usize) -> Result<Whole, hyper::Error> {
    // As large as it can get: growing would leave copies of the token behind.
    let announced = body.size_hint().upper();
    let capacity = announced.map_or(most, |size| (most as u64).min(size) as usize);
    let mut whole = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if whole.len() + data.len() > most {
            return Ok(None);
        }
        whole.extend_from_slice(data);
    }
    Ok(Some(whole))
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
