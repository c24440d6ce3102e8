//! The network: a connection of its own for each request, HTTP/1.1 over TCP or TLS.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use url::Url;
use zeroize::Zeroizing;

use super::admission::Admission;
use super::last_good::Fault;
use super::transport::{Transport, Whole, shown};
use super::{BoxFuture, TokenError, TokenErrorKind};
use crate::config::{Credential, Dialing, HttpVersion, NamedFile, Tls};
use crate::http1::{Error, HeadError, HeadLimits, RequestHead, RequestLine, RoundTrip};
use crate::redact::Redactor;
use crate::upstream::{
    ConnectError, Connector, Identity, Io, Protocols, TlsError, fingerprint, without_link,
};

/// Header lines of an answer.
const MAX_HEADERS: usize = 100;

/// Bytes that are read at once.
const READ: usize = 16 * 1024;

/// A request on its way, and its answer.
type Trip = RoundTrip<Io, Full<Bytes>>;

/// Connects to one origin, with the TLS settings of a credential.
pub(super) struct Connections(Arc<Origin>);

struct Origin {
    /// Of the origin.
    url: Url,
    /// Without the files of the certificate where one is held in memory.
    tls: Tls,
    /// Presented instead of what the files hold.
    identity: Option<Arc<Identity>>,
    /// The files of what is to take the place of `identity` one day.
    next: Option<Tls>,
    dialing: Dialing,
    admission: Option<Arc<Admission>>,
    redactor: Arc<Redactor>,
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
        admission: Option<Arc<Admission>>,
        redactor: Arc<Redactor>,
    ) -> Result<Self, TlsError> {
        let mut tls = credential.tls.clone();
        let next = identity.is_some().then(|| credential.tls.clone());
        if identity.is_some() {
            (tls.certificate_file, tls.key_file) = (None, None);
        }
        let held = fingerprint(&tls);
        let dialing = credential.dialing.clone();
        let connector = connector(url, &tls, identity.as_deref(), &admission)?
            .dialing(dialing.clone())
            .cleaned_by(redactor.clone());
        Ok(Self(Arc::new(Origin {
            url: url.clone(),
            tls,
            identity,
            next,
            dialing,
            admission,
            redactor,
            held: Mutex::new(Held {
                seen: held,
                good: held,
                connector: Arc::new(connector),
                fault: None,
            }),
            // Less than the whole, so that the failure says which step was slow.
            connect_timeout: credential.fetch_timeout * 4 / 5,
            max_response: credential.max_response_bytes,
        })))
    }
}

impl Origin {
    async fn exchange(
        self: Arc<Self>,
        url: &Url,
        request: Request<Bytes>,
    ) -> Result<Response<Whole>, TokenError> {
        let (mut head, body) = request.into_parts();
        // The connection serves one request: the server need not wait for a second.
        let close = HeaderValue::from_static("close");
        head.headers.insert(CONNECTION, close);
        let body = (head.method != Method::GET).then_some(body);
        if let Some(body) = &body {
            head.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let root = PathAndQuery::from_static("/");
        let nobody = HeaderValue::from_static("");
        let request = RequestHead {
            line: RequestLine {
                method: &head.method,
                target: head.uri.path_and_query().unwrap_or(&root),
                host: head.headers.get(HOST).unwrap_or(&nobody),
            },
            headers: &head.headers,
            header_case: None,
            more: &[],
        };

        // Files are read elsewhere: this thread is needed while a file system hangs.
        let origin = Arc::clone(&self);
        let connector = tokio::task::spawn_blocking(move || origin.connector()).await;
        let connector = connector.map_err(|_| {
            let message = "reading files panicked: a defect of sidebearer";
            TokenError::new(TokenErrorKind::Local, message)
        })?;
        let connecting = connector.connect(Protocols::Any, self.connect_timeout);
        let connected = connecting.await.map_err(unreachable)?;
        let peer = connected.peer;
        let broken = |e: Error| match connector.certificate_refused(&e) {
            Some(refused) => unreachable(refused),
            None => broken(&self.shown(url), &e),
        };
        let limits = HeadLimits {
            bytes: self.max_response,
            fields: MAX_HEADERS,
        };
        let mut trip = Trip::new(connected.io, request, body.map(Full::new), limits, READ);
        let answer = std::future::poll_fn(|cx| trip.poll_head(cx, &mut |_| {}));
        let answer = answer.await.map_err(broken)?;
        let body = read(&mut trip, self.max_response).await.map_err(broken)?;
        let mut answer = answer.map(|()| body);
        answer.extensions_mut().insert(peer);
        Ok(answer)
    }

    /// A URL for messages; without our secrets, if a server named it.
    fn shown(&self, url: &Url) -> String {
        let shown = shown(url);
        match self.admission {
            Some(_) => self.redactor.clean(&shown),
            None => shown,
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
            held.fault = match connector(&self.url, &self.tls, identity, &self.admission) {
                Ok(connector) => {
                    let connector = connector.dialing(self.dialing.clone());
                    held.connector = Arc::new(connector.cleaned_by(self.redactor.clone()));
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
        Box::pin(Arc::clone(&self.0).exchange(url, request))
    }

    fn look(&self) -> (u64, Option<Fault>) {
        let held = self.0.refreshed();
        let next = self.0.next.as_ref();
        let next = || next.and_then(|tls| Some(fault(&Identity::read(tls).err()?, tls)));
        (held.good, held.fault.clone().or_else(next))
    }
}

fn connector(
    url: &Url,
    tls: &Tls,
    identity: Option<&Identity>,
    admission: &Option<Arc<Admission>>,
) -> Result<Connector, TlsError> {
    let connector = Connector::presenting(identity, url, tls, HttpVersion::Http1)?;
    Ok(match admission.clone() {
        Some(admission) => connector.judged(Arc::new(move |address| admission.judge(address))),
        None => connector,
    })
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

async fn read(body: &mut Trip, most: usize) -> Result<Whole, Error> {
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
        // What it would have to say is of no use here.
        ConnectError::Forbidden { .. } => TokenErrorKind::BadResponse,
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
fn broken(shown: &str, error: &Error) -> TokenError {
    let cut = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
    let (kind, message) = match error {
        Error::Head(HeadError::TooLarge) => (
            TokenErrorKind::BadResponse,
            format!("{shown} answered with headers of more than max_response_bytes, or too many"),
        ),
        Error::Head(_) | Error::Body(_) => (
            TokenErrorKind::BadResponse,
            format!("{shown} answered with something that is not HTTP/1.1"),
        ),
        Error::Interim => (
            TokenErrorKind::BadResponse,
            format!("{shown} sends interim responses without end, and no answer"),
        ),
        Error::Io(e) if !cut(e) => (
            TokenErrorKind::Unreachable,
            format!(
                "the connection to {shown} broke: {}",
                without_link(e.to_string())
            ),
        ),
        Error::Io(_) | Error::Closed | Error::Upload(_) => (
            TokenErrorKind::Unreachable,
            format!("{shown} closed the connection before its answer was complete"),
        ),
    };
    TokenError::new(kind, message)
}
