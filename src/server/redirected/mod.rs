//! A connection that the system has redirected here, until it is known who reads on: a session of HTTP, TLS of ours, or
//! nobody but the server that it was on its way to.

mod first_words;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::AlertDescription;
use socket2::SockRef;
use tokio::time::timeout;

use super::detect::{FirstRead, FirstReader, READ_AHEAD, TLS};
use super::refusal::{Refusal, close, part, refuse, report};
use super::tls::client_hello::{self, NoHello};
use super::tls::{Intercepted, Negotiated, intercept};
use crate::client_socket::ClientSocket;
use crate::proxy::{
    self, ClientConnection, CurrentSnapshot, ErrorKind, FirstToSpeak, ProxyError, RedirectedAs,
    Successor, UpstreamTunnel,
};
use crate::snapshot::Snapshot;
pub use first_words::{FirstWords, first_words, may_become_http};

/// What is read at once of a connection on which nothing has been said.
const READ_OF_SILENT: usize = 1024;

/// What a redirected connection goes on as.
pub(super) enum Begun {
    /// A session of HTTP, over TLS of ours if it has negotiated anything.
    Session(Option<Negotiated>),
    /// A tunnel.
    Tunnel(Box<UpstreamTunnel>),
}

/// The address that a connection was on its way to when the system redirected it here; `None` if it was not.
pub(super) fn original_destination(socket: &ClientSocket) -> Option<SocketAddr> {
    let ClientSocket::Tcp(socket) = socket else {
        return None;
    };
    let local = canonical(socket.local_addr().ok()?);
    let socket = SockRef::from(socket);
    let original = match local.ip() {
        // A socket for both families knows it as one of IPv4 too.
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    let original = canonical(original.ok()?.as_socket()?);
    (original != local).then_some(original)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Counts and logs a connection to a redirected listener that is closed, since it leads nowhere but to this process.
pub(super) fn report_own(client: &ClientConnection, snapshot: &Snapshot, listener: usize) {
    let error = ProxyError::new(
        ErrorKind::Loop,
        "the connection was made to sidebearer itself: a redirected listener takes only connections that the system has \
         redirected to it",
    );
    report(&error, true, client, snapshot, listener);
}

/// Reads as much of a connection as shows who reads on: what it goes on as, and what has been read of it. `None` if it has
/// ended.
pub(super) async fn begin(
    mut socket: ClientSocket,
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
) -> Option<(ClientSocket, Bytes, Begun)> {
    let (shard, listener) = current(client);
    let limits = Rc::clone(&shard.limits);
    let silence = shard.snapshot.config.listeners[listener]
        .redirection()?
        .detect_timeout;
    drop(shard);
    let mut received = BytesMut::with_capacity(READ_AHEAD);
    // Leads to the server of a client that said nothing for a while.
    let mut open = None;
    loop {
        let reader = FirstReader::new(client, &limits, silence);
        let tunnel = match listen(reader, silence, &mut socket, &mut received).await {
            Heard::Words(FirstWords::Http) => {
                return Some((socket, received.freeze(), Begun::Session(None)));
            }
            Heard::Words(FirstWords::Tls) => {
                return begin_tls(socket, received, client, current).await;
            }
            Heard::Words(FirstWords::Other) => match open.take() {
                Some(tunnel) => tunnel,
                None => lead_unread(&mut socket, client, current).await?,
            },
            Heard::Silence => {
                received = BytesMut::with_capacity(READ_OF_SILENT);
                let mut tunnel = lead_unread(&mut socket, client, current).await?;
                match tunnel
                    .first_to_speak(&mut socket, &mut received, client)
                    .await
                {
                    FirstToSpeak::Server => tunnel,
                    // It had opened its connection before it had anything to say, as browsers do.
                    FirstToSpeak::Client => {
                        open = Some(tunnel);
                        continue;
                    }
                    FirstToSpeak::Nobody => return None,
                }
            }
            Heard::Fragment if received.starts_with(&TLS[..1]) => {
                part(&mut socket, &limits).await;
                return None;
            }
            Heard::Fragment => {
                refuse(&mut socket, Refusal::Slow, client, current).await;
                return None;
            }
            Heard::End => {
                part(&mut socket, &limits).await;
                return None;
            }
        };
        return Some((socket, received.freeze(), Begun::Tunnel(tunnel)));
    }
}

/// What has been heard of a client.
enum Heard {
    Words(FirstWords),
    /// Nothing, and perhaps its end: the server may be the first to speak.
    Silence,
    /// The beginning of a request or of TLS, of which the rest did not come in time.
    Fragment,
    /// The connection ends here.
    End,
}

async fn listen(
    mut reader: FirstReader<'_>,
    silence: Duration,
    socket: &mut ClientSocket,
    received: &mut BytesMut,
) -> Heard {
    loop {
        if let Some(words) = first_words(received) {
            return Heard::Words(words);
        }
        let has_begun = !received.is_empty();
        let is_other = has_begun && !may_become_http(received);
        let reading = reader.read(socket, received);
        let read = if is_other {
            match timeout(silence, reading).await {
                Ok(read) => read,
                Err(_) => return Heard::Words(FirstWords::Other),
            }
        } else {
            reading.await
        };
        match read {
            FirstRead::Some => {}
            _ if reader.is_ending() => return Heard::End,
            FirstRead::Late | FirstRead::Closed if !has_begun => return Heard::Silence,
            FirstRead::Late => return Heard::Fragment,
            // No request comes of it any more.
            FirstRead::Closed => return Heard::Words(FirstWords::Other),
        }
    }
}

/// Leads a connection on that shows no name. If there is no tunnel, it is reset: nothing can be said on it.
async fn lead_unread(
    socket: &mut ClientSocket,
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
) -> Option<Box<UpstreamTunnel>> {
    let led = proxy::lead_redirected(client, current, RedirectedAs::Unread);
    match client.until_cut(pin!(led)).await {
        Some(Ok(Successor::Tunnel(tunnel))) => Some(tunnel),
        _ => {
            socket.reset_at_close();
            None
        }
    }
}

/// Begins TLS of ours, or leads it on unread, by the name in the first message of the client.
async fn begin_tls(
    mut socket: ClientSocket,
    mut received: BytesMut,
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
) -> Option<(ClientSocket, Bytes, Begun)> {
    let (shard, listener) = current(client);
    let patience = shard.snapshot.config.listeners[listener].handshake_timeout;
    drop(shard);
    let hello = timeout(patience, client_hello::read(&mut socket, &mut received));
    let accepted = match client.until_cut(pin!(hello)).await? {
        Ok(Ok(accepted)) => Some(accepted),
        // It names nobody whom we know, and may well be understood where it was on its way to.
        Ok(Err(NoHello::Refused { .. })) => None,
        Ok(Err(_)) => return None,
        Err(_) => {
            let (shard, listener) = current(client);
            let error = ProxyError::new(
                ErrorKind::RequestTimeout,
                "the first message of the handshake did not arrive within handshake_timeout",
            );
            report(&error, true, client, &shard.snapshot, listener);
            return None;
        }
    };
    let hello = accepted.as_ref().map(|accepted| accepted.client_hello());
    let name = hello.as_ref().and_then(|hello| hello.server_name());
    let led = proxy::lead_redirected(client, current, RedirectedAs::Tls(name));
    let successor = match client.until_cut(pin!(led)).await? {
        Ok(successor) => successor,
        Err(error) => {
            refuse_tls(&mut socket, &error, client, current).await;
            return None;
        }
    };
    let received = received.freeze();
    match successor {
        Successor::Tunnel(tunnel) => Some((socket, received, Begun::Tunnel(tunnel))),
        Successor::Intercepted(pending) => {
            let intercepted = intercept(socket, received, pending, client, current);
            Some(match Box::pin(intercepted).await? {
                Intercepted::Secured(socket, negotiated) => {
                    (socket, Bytes::new(), Begun::Session(negotiated))
                }
                Intercepted::Tunnel(socket, received, tunnel) => {
                    (socket, received, Begun::Tunnel(tunnel))
                }
            })
        }
        // That is for a CONNECT, of which nobody knows what follows.
        Successor::PlainHttp(_) => None,
    }
}

/// Tells a client that its handshake does not go on: by an alert where that is a matter of rules, else by a reset, as if its
/// server had gone.
async fn refuse_tls(
    socket: &mut ClientSocket,
    error: &ProxyError,
    client: &ClientConnection,
    current: &CurrentSnapshot,
) {
    let by_rule = matches!(
        error.kind,
        ErrorKind::DestinationDenied | ErrorKind::InterceptionOff | ErrorKind::NotPermitted
    );
    if by_rule {
        client_hello::refuse(socket, AlertDescription::AccessDenied).await;
        close(socket, &current(client).0.limits).await;
    } else {
        socket.reset_at_close();
    }
}
