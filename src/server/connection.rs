//! One client connection, from its first byte to its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::detect::{Detected, detect};
use super::redirected::{self, Begun};
use super::refusal::{Refusal, close, part, refuse};
use super::tls::{Intercepted, Negotiated, PendingHandshake, handshake, intercept, report_silence};
use super::{http1_session, http2_session};
use crate::client_socket::ClientSocket;
use crate::config::{self, Scheme};
use crate::http1::HeadError;
use crate::proxy::{
    ClientConnection, CurrentSnapshot, PendingInterception, Successor, UpstreamTunnel,
};

const NOT_HTTP2: &str = "the client has chosen HTTP/2 by ALPN, and speaks something else";
const NOT_HTTP1: &str = "the client has chosen HTTP/1.1 by ALPN, and speaks HTTP/2";

/// Until when the end of a connection without a request tells of its handshake: a client that opens a connection
/// for later keeps it longer.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What a connection begins with.
pub enum Beginning {
    /// HTTP of either version, known by its first bytes.
    Http,
    /// The handshake of a listener with TLS.
    Tls(PendingHandshake),
    /// TLS that is ended inside of a CONNECT.
    Intercepted(Box<PendingInterception>),
    /// Whatever the system has redirected here.
    Redirected,
}

/// Serves a connection to its end.
///
/// The task of a connection is as large as the largest state in which it may wait. What is needed only
/// once in a connection's life is therefore boxed.
pub fn serve(
    mut socket: ClientSocket,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    mut beginning: Beginning,
) -> impl Future<Output = ()> {
    let limits = Rc::clone(&current(&client).0.limits);
    async move {
        let mut received = Bytes::new();
        loop {
            let negotiated;
            match std::mem::replace(&mut beginning, Beginning::Http) {
                Beginning::Http => negotiated = None,
                Beginning::Tls(pending) => {
                    let handshake = Box::pin(handshake(socket, pending, &client, &current));
                    let Some(secured) = handshake.await else {
                        return;
                    };
                    (socket, negotiated) = secured;
                }
                Beginning::Redirected => {
                    let begun = Box::pin(redirected::begin(socket, &client, &current)).await;
                    let Some((begun_socket, read, begun)) = begun else {
                        return;
                    };
                    (socket, received) = (begun_socket, read);
                    match begun {
                        Begun::Session(version) => negotiated = version,
                        Begun::Tunnel(tunnel) => {
                            let joined = join(socket, received, tunnel, &client, &limits);
                            return Box::pin(joined).await;
                        }
                    }
                }
                Beginning::Intercepted(pending) => {
                    let begun = std::mem::take(&mut received);
                    let handshake = intercept(socket, begun, pending, &client, &current);
                    match Box::pin(handshake).await {
                        None => return,
                        Some(Intercepted::Secured(secured, version)) => {
                            (socket, negotiated) = (secured, version);
                        }
                        Some(Intercepted::Tunnel(socket, received, tunnel)) => {
                            let joined = join(socket, received, tunnel, &client, &limits);
                            return Box::pin(joined).await;
                        }
                    }
                }
            }
            let ready_at = Instant::now();
            let detecting = Box::pin(detect(&mut socket, received, &client, &limits));
            let (detected, read_ahead) = detecting.await;
            match detected {
                Detected::Http1 if negotiated == Some(Negotiated::Http2) => {
                    let refusal = Refusal::Head(HeadError::Malformed(NOT_HTTP2));
                    return Box::pin(refuse(&mut socket, refusal, &client, &current)).await;
                }
                Detected::Http2 if negotiated == Some(Negotiated::Http1) => {
                    let refusal = Refusal::Head(HeadError::Malformed(NOT_HTTP1));
                    return Box::pin(refuse(&mut socket, refusal, &client, &current)).await;
                }
                Detected::Tls => {
                    let refusal = match client.target() {
                        Some(target) if target.scheme == Scheme::Http => Refusal::TlsInside,
                        // A client need not have negotiated anything.
                        None if !matches!(socket, ClientSocket::Tls(_)) => Refusal::Tls,
                        _ => Refusal::TlsInTls,
                    };
                    return Box::pin(refuse(&mut socket, refusal, &client, &current)).await;
                }
                Detected::Http1 => {
                    let session = http1_session::serve(
                        socket,
                        read_ahead,
                        Arc::clone(&client),
                        current.clone(),
                        Rc::clone(&limits),
                    );
                    let Some(succeeded) = session.await else {
                        return;
                    };
                    let successor;
                    (socket, received, successor) = succeeded;
                    match successor {
                        // It may be of either version again.
                        Successor::PlainHttp(target) => client.set_target(target),
                        Successor::Intercepted(pending) => {
                            beginning = Beginning::Intercepted(pending);
                        }
                        Successor::Tunnel(tunnel) => {
                            let joined = join(socket, received, tunnel, &client, &limits);
                            return Box::pin(joined).await;
                        }
                    }
                }
                Detected::Http2 => {
                    let session = http2_session::serve(
                        socket,
                        read_ahead,
                        client,
                        current,
                        limits,
                        serve_inside,
                    );
                    return Box::pin(session).await;
                }
                Detected::Nothing => {
                    if !client.is_cut() {
                        if ready_at.elapsed() < AT_ONCE {
                            report_silence(&client, &current);
                        }
                        Box::pin(part(&mut socket, &limits)).await;
                    }
                    return;
                }
                Detected::Incomplete => {
                    return Box::pin(refuse(&mut socket, Refusal::Slow, &client, &current)).await;
                }
            }
        }
    }
}

/// Serves what a CONNECT has made of one stream of an HTTP/2 connection.
fn serve_inside(
    stream: ClientSocket,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    pending: Option<Box<PendingInterception>>,
) {
    let beginning = pending.map_or(Beginning::Http, Beginning::Intercepted);
    tokio::task::spawn_local(serve(stream, client, current, beginning));
}

/// Joins a connection with its tunnel, and ends it in the same way as that has ended.
async fn join(
    mut socket: ClientSocket,
    received: Bytes,
    tunnel: Box<UpstreamTunnel>,
    client: &ClientConnection,
    limits: &config::Server,
) {
    match tunnel.join(&mut socket, received, client).await {
        Ok(()) if client.is_cut() => {}
        Ok(()) => close(&mut socket, limits).await,
        Err(_) => socket.reset_at_close(),
    }
}
