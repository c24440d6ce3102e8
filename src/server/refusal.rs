//! The end of a connection: the refusal of what is not a request, and the time to read it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::config::{self, AccessLog};
use crate::http1::HeadError;
use crate::proxy::{self, ClientConnection, CurrentSnapshot, ErrorKind, ProxyError};
use crate::sampling::Failure;
use crate::snapshot::Snapshot;
use crate::telemetry::ACCESS;

/// Why there is no request to answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// Its head did not arrive in time.
    Slow,
    /// It is not TLS, on a listener with TLS.
    Plaintext,
    /// It is not TLS, inside of a CONNECT where TLS is ended.
    PlaintextInside,
    /// It is TLS, on a listener without.
    Tls,
    /// It is TLS, inside of a CONNECT where plain HTTP is served.
    TlsInside,
    /// It is TLS, inside of TLS that has been ended here.
    TlsInTls,
    /// Its head is not valid, or its framing is doubtful, or it is too large.
    Head(HeadError),
}

impl Refusal {
    fn error(self) -> ProxyError {
        let (kind, detail) = match self {
            Self::Slow => (
                ErrorKind::RequestTimeout,
                "the request head did not arrive in time; send it at once, or raise header_timeout",
            ),
            Self::Plaintext => (
                ErrorKind::BadRequest,
                "plain HTTP, or something else that is not TLS, came to a listener that speaks TLS; use https://",
            ),
            Self::PlaintextInside => (
                ErrorKind::BadRequest,
                "plain HTTP, or something else that is not TLS, came inside of a CONNECT to a port of https; use https://, or send http:// to this proxy",
            ),
            Self::Tls => (
                ErrorKind::BadRequest,
                "TLS came to a listener that speaks plain HTTP; use http://, or give the listener a certificate (tls)",
            ),
            Self::TlsInside => (ErrorKind::BadRequest, proxy::PLAIN_HTTP_INSIDE),
            Self::TlsInTls => (
                ErrorKind::BadRequest,
                "TLS came inside of TLS that was ended here already; send plain HTTP inside of it",
            ),
            Self::Head(HeadError::TargetTooLong) => (
                ErrorKind::UriTooLong,
                "the request target is too long; shorten it",
            ),
            Self::Head(HeadError::TooLarge) => (
                ErrorKind::HeaderTooLarge,
                "the request head is too large; send fewer or shorter headers, or raise max_header_bytes or max_headers",
            ),
            Self::Head(HeadError::Malformed(what)) => {
                let detail = format!("what arrived is not a well-formed HTTP request: {what}");
                return ProxyError::new(ErrorKind::BadRequest, detail);
            }
        };
        ProxyError::new(kind, detail)
    }
}

/// Answers what is not a request, or not a complete one, in the same form as every other error. Nothing more
/// is read as a request.
pub(super) async fn refuse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    refusal: Refusal,
    client: &ClientConnection,
    current: &CurrentSnapshot,
) {
    let error = refusal.error();
    let (shard, listener) = current(client);
    let patience = shard.snapshot.config.server.linger_timeout;
    shard
        .snapshot
        .traffic(listener, None)
        .count_response(error.kind.status(), None);
    // Plain HTTP in the place of TLS is counted as a handshake that failed.
    let is_audited = !matches!(refusal, Refusal::Plaintext | Refusal::PlaintextInside);
    report(&error, is_audited, client, &shard.snapshot, listener);
    let answer = proxy::problem_bytes_http1(&error, true);
    let sent = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = timeout(patience, sent).await {
        linger(stream, patience).await;
    }
}

/// Counts and logs what is refused before it is a request.
pub(super) fn report(
    error: &ProxyError,
    is_audited: bool,
    client: &ClientConnection,
    snapshot: &Snapshot,
    listener: usize,
) {
    let (kind, status) = (error.kind, error.kind.status());
    snapshot
        .traffic(listener, None)
        .count_error(kind.code(), None);
    if let Some(audit) = &snapshot.audit
        && is_audited
    {
        audit.trail.count_refused(&client.listener, kind.code());
    }
    let is_admitted = || {
        let failure = Failure {
            listener: client.listener.clone(),
            upstream: String::new(),
            error: Some(kind.code()),
            status: Some(status.as_u16()),
        };
        let now = Instant::now();
        snapshot.sampling.admit(failure, Some(&error.detail), now)
    };
    let is_logged = match snapshot.config.log.access {
        AccessLog::Off => false,
        AccessLog::Failures | AccessLog::Errors => is_admitted(),
        AccessLog::All => true,
    };
    if is_logged {
        tracing::info!(
            target: ACCESS,
            client = %client.peer,
            listener = client.listener,
            status = status.as_u16(),
            error = kind.code(),
            cause = &*error.detail,
            "refused before it was a request",
        );
    }
}

/// Closes a connection, and lets the client read its response first: bytes that still come from it must not turn the
/// close into a reset.
pub(super) async fn close(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    limits: &config::Server,
) {
    let closed = timeout(limits.idle_timeout, stream.shutdown()).await;
    if matches!(closed, Ok(Ok(()))) {
        linger(stream, limits.linger_timeout).await;
    }
}

/// Closes a connection on which nothing is under way. Over TLS the client is told that this is its end.
pub(super) async fn part(stream: &mut (impl AsyncWrite + Unpin), limits: &config::Server) {
    // It is closed whether that succeeds or not.
    let _ = timeout(limits.linger_timeout, stream.shutdown()).await;
}

/// Lets a client whose connection has been shut down read its answer and close. To close while bytes of it
/// are unread would reset the connection, and the client could lose the answer.
pub(super) async fn linger(stream: &mut (impl AsyncRead + Unpin), patience: Duration) {
    let read_to_end = async {
        // On the heap: in the task it would take its memory all the time.
        let mut rest = vec![0; 4096];
        while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    };
    // The connection ends here, whether the client has read its answer or not.
    let _ = timeout(patience, read_to_end).await;
}
