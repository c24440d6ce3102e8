//! The handshake with one client.

use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::client_hello::{self, NoHello};
use super::failure::FailedHandshake;
use crate::caller::{CertificateIdentity, PresentedCertificate};
use crate::client_socket::ClientSocket;
use crate::limit::FairPermit;
use crate::proxy::{ClientConnection, CurrentSnapshot};
use crate::server::refusal::{Refusal, close, refuse};
use crate::tls::{HandshakeTurns, ServerTls};

/// A handshake that is allowed to begin.
pub struct PendingHandshake {
    /// What the listener presents and demands.
    pub tls: Arc<ServerTls>,
    /// Its place among the handshakes of the listener.
    pub place: FairPermit,
}

/// The version of HTTP that ALPN has chosen (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiated {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
}

/// How a handshake has ended.
enum HandshakeEnd {
    Secured(Box<TlsStream<ClientSocket>>),
    /// The client spoke plain HTTP, or something else.
    Plaintext(ClientSocket),
    /// The client went away before it began.
    Silent,
    /// It failed. The client may have been told why, if there is still a socket.
    Failed(FailedHandshake, Option<ClientSocket>),
}

/// Makes a connection of TLS from a socket; `None` if there is no connection to serve. The client has been told then,
/// and the failure is counted and logged.
pub async fn handshake(
    socket: ClientSocket,
    pending: PendingHandshake,
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
) -> Option<(ClientSocket, Option<Negotiated>)> {
    let (shard, listener) = current(client);
    let patience = shard.snapshot.config.listeners[listener].handshake_timeout;
    let PendingHandshake { tls, place } = pending;
    let end = {
        let handshake = pin!(timeout(patience, run(socket, &tls, &shard.turns)));
        client.until_cut(handshake).await?
    };
    drop(place);
    let snapshot = &shard.snapshot;
    let (failed, socket) = match end {
        Ok(HandshakeEnd::Secured(stream)) => match establish(&stream, &tls, client) {
            Ok(negotiated) => {
                snapshot.count_handshake(listener, "success");
                // What admits clients may have changed meanwhile.
                let (newest, listener) = current(client);
                let newest = newest.snapshot.listeners[listener].tls.as_ref();
                if newest.is_none_or(|newest| newest.admission != tls.admission) {
                    client.close();
                }
                return Some((ClientSocket::Tls(stream), negotiated));
            }
            Err(failed) => (failed, None),
        },
        Ok(HandshakeEnd::Plaintext(mut socket)) => {
            snapshot.count_handshake(listener, "plaintext");
            refuse(&mut socket, Refusal::Plaintext, client, current).await;
            return None;
        }
        Ok(HandshakeEnd::Silent) => {
            snapshot.count_handshake(listener, "client_gone");
            return None;
        }
        Ok(HandshakeEnd::Failed(failed, socket)) => (failed, socket),
        Err(_) => {
            let cause = "the client did not finish the handshake within handshake_timeout";
            (FailedHandshake::new("timeout", cause), None)
        }
    };
    failed.report(snapshot, client, None);
    snapshot.count_handshake(listener, failed.outcome);
    if let Some(mut socket) = socket {
        // A close with unread bytes would reset the connection, and the alert with it.
        close(&mut socket, &shard.limits).await;
    }
    None
}

/// Notes what the client has presented; the version of HTTP that was chosen.
fn establish(
    stream: &TlsStream<ClientSocket>,
    tls: &ServerTls,
    client: &ClientConnection,
) -> Result<Option<Negotiated>, FailedHandshake> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let certificate = match chain.first() {
        None => None,
        Some(leaf) => {
            let identity = CertificateIdentity::read(leaf)
                .map_err(|error| FailedHandshake::new("certificate_invalid", error.to_string()))?;
            // By the clock that the certificate was verified by.
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default();
            Some(Arc::new(PresentedCertificate::new(
                identity, chain, tls, now,
            )))
        }
    };
    client.set_tls(certificate);
    Ok(match session.alpn_protocol() {
        Some(b"h2") => Some(Negotiated::Http2),
        Some(_) => Some(Negotiated::Http1),
        None => None,
    })
}

async fn run(mut socket: ClientSocket, tls: &ServerTls, turns: &HandshakeTurns) -> HandshakeEnd {
    let accepted = match client_hello::read(&mut socket, &mut BytesMut::new()).await {
        Ok(accepted) => accepted,
        Err(NoHello::Plaintext) => return HandshakeEnd::Plaintext(socket),
        Err(NoHello::Silent) => return HandshakeEnd::Silent,
        Err(NoHello::Gone(error)) => {
            return HandshakeEnd::Failed(FailedHandshake::of_io(&error), None);
        }
        Err(NoHello::Refused { error, alert }) => {
            client_hello::tell(&mut socket, &alert).await;
            return HandshakeEnd::Failed(FailedHandshake::of_tls(&error), Some(socket));
        }
    };
    let config = Arc::clone(&tls.config);
    // The key exchange and the signature.
    let started = turns
        .compute(|| StartHandshake::from_parts(accepted, socket).into_stream(config))
        .await;
    // The certificate of the client.
    match turns.drive(started.into_fallible()).await {
        Ok(stream) => HandshakeEnd::Secured(Box::new(stream)),
        Err((error, socket)) => HandshakeEnd::Failed(FailedHandshake::of_io(&error), Some(socket)),
    }
}
