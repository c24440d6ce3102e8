//! The handshake with a client whose TLS is ended inside of a CONNECT, with a certificate of our own CA.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::{AlertDescription, Error};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::client_hello::{self, NoHello};
use super::failure::{FailedHandshake, HandshakeInside, distrusts};
use super::handshake::Negotiated;
use crate::client_socket::ClientSocket;
use crate::config::Scheme;
use crate::interception::MirroredAlpn;
use crate::proxy::{
    self, ClientConnection, CurrentSnapshot, NamedDestination, NotIntercepted, PendingInterception,
    ShardSnapshot, UpstreamTunnel,
};
use crate::server::refusal::{Refusal, close, refuse};
use crate::snapshot::Snapshot;
use crate::upstream::SpokenHttp;

/// How long a client that names an address may say nothing. Then it is taken for one that waits for its server to begin.
const DETECT: Duration = Duration::from_secs(1);

/// What a connection has become.
pub enum Intercepted {
    /// One of TLS that is ended here, and the version of HTTP that was chosen.
    Secured(ClientSocket, Option<Negotiated>),
    /// A tunnel, of which some has been read already: no route leads to what the client names.
    Tunnel(ClientSocket, Bytes, Box<UpstreamTunnel>),
}

/// How a handshake has ended.
enum InterceptionEnd {
    Secured(Box<TlsStream<ClientSocket>>),
    /// The client named nothing that a route leads to, or spoke something else, and this was read of it.
    Unmatched(ClientSocket, Bytes),
    /// The client spoke plain HTTP, or something else.
    Plaintext(ClientSocket),
    /// The client went away before it began.
    Silent,
    /// It failed. The client may have been told why, if there is still a socket.
    Failed(FailedHandshake, Option<ClientSocket>),
}

/// What a handshake was for, as far as that became known.
struct HandshakePurpose {
    /// The destination that the connection was opened for, then the one that the client names in its first message.
    named: NamedDestination,
    spoken: Option<SpokenHttp>,
    /// What it was opened for may be passed to if the client names nothing that a route leads to.
    may_pass: bool,
    /// How long the client may say nothing then. Perhaps it waits for its server to begin.
    silence: Option<Duration>,
}

/// Makes a connection of TLS from a socket of which `received` has been read already; `None` if there is no connection
/// to serve. The client has been told then, and the failure is counted and logged. There is never a tunnel in the place of
/// an interception that fails: it would carry requests past their token.
///
/// From then on all requests of the client are for the destination of its handshake.
pub async fn intercept(
    socket: ClientSocket,
    received: Bytes,
    pending: Box<PendingInterception>,
    client: &Arc<ClientConnection>,
    current: &CurrentSnapshot,
) -> Option<Intercepted> {
    let (shard, listener) = current(client);
    let PendingInterception {
        target,
        spoken,
        place,
        mut undecided,
        ..
    } = *pending;
    let mut purpose = HandshakePurpose {
        named: NamedDestination {
            target,
            taken: None,
        },
        spoken,
        may_pass: undecided.is_some(),
        silence: undecided.as_ref().filter(|it| it.is_open()).map(|_| DETECT),
    };
    let end = {
        let handshake = pin!(run(socket, received, &mut purpose, &shard, listener));
        client.until_cut(handshake).await?
    };
    drop(place);
    let snapshot = &shard.snapshot;
    if let (Some(undecided), Some(taken)) = (&mut undecided, &purpose.named.taken) {
        undecided.set_intercepted(snapshot, taken);
    }
    let (failed, socket) = match end {
        InterceptionEnd::Secured(stream) => {
            snapshot.count_interception(listener, "success");
            let negotiated = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Some(Negotiated::Http2),
                Some(_) => Some(Negotiated::Http1),
                None => None,
            };
            client.set_target(purpose.named.target);
            return Some(Intercepted::Secured(ClientSocket::Tls(stream), negotiated));
        }
        InterceptionEnd::Unmatched(mut socket, received) => {
            if let Some(tunnel) = undecided.and_then(|undecided| undecided.into_tunnel()) {
                return Some(Intercepted::Tunnel(socket, received, tunnel));
            }
            // There is no connection to where it would lead, as its record says.
            close(&mut socket, &shard.limits).await;
            return None;
        }
        InterceptionEnd::Plaintext(mut socket) => {
            snapshot.count_interception(listener, "plaintext");
            refuse(&mut socket, Refusal::PlaintextInside, client, current).await;
            return None;
        }
        InterceptionEnd::Silent => {
            snapshot.count_interception(listener, "client_gone");
            return None;
        }
        InterceptionEnd::Failed(failed, socket) => (failed, socket),
    };
    drop(undecided);
    report(&failed, &purpose.named, snapshot, client);
    snapshot.count_interception(listener, failed.outcome);
    if let Some(mut socket) = socket {
        // A close with unread bytes would reset the connection, and the alert with it.
        close(&mut socket, &shard.limits).await;
    }
    None
}

/// Writes a line about a client that has finished its handshake and closed the connection at once, without a request, if
/// TLS was ended for it here. That is how a client ends it that verifies our certificate only then, such as one that is
/// built with GnuTLS.
#[cold]
pub fn report_silence(client: &ClientConnection, current: &CurrentSnapshot) {
    let Some(target) = client
        .target()
        .filter(|target| target.scheme == Scheme::Https)
    else {
        return;
    };
    let (shard, listener) = current(client);
    let snapshot = &shard.snapshot;
    if let Ok(named) = proxy::name_inside(snapshot, listener, target, None) {
        let failed = FailedHandshake::new(
            "client_gone",
            "the client closed the connection when the handshake was done, without a request: perhaps it does not trust \
             the CA of [interception]; give it what lies in trust_directory",
        );
        report(&failed, &named, snapshot, client);
    }
}

fn report(
    failed: &FailedHandshake,
    named: &NamedDestination,
    snapshot: &Snapshot,
    client: &ClientConnection,
) {
    let upstream = named.taken.as_ref();
    let upstream = upstream.map(|taken| &snapshot.upstreams[taken.upstream as usize]);
    let interception = snapshot.config.interception.as_ref();
    let inside = HandshakeInside {
        destination: &named.target.to_string(),
        upstream: upstream.map_or("", |upstream| &upstream.config.name),
        trust_directory: interception.map(|known| &*known.trust_directory),
    };
    failed.report(snapshot, client, Some(inside));
}

async fn run(
    mut socket: ClientSocket,
    received: Bytes,
    purpose: &mut HandshakePurpose,
    shard: &Rc<ShardSnapshot>,
    listener: usize,
) -> InterceptionEnd {
    let snapshot = &shard.snapshot;
    let patience = snapshot.config.listeners[listener].handshake_timeout;
    let mut until = Instant::now() + patience;
    let mut received = BytesMut::from(received);
    if purpose.may_pass && received.is_empty() {
        // Whoever speaks first, and the end too, is for the tunnel.
        let silence = purpose.silence.unwrap_or(patience);
        let first = timeout(silence, socket.read_buf(&mut received)).await;
        if !matches!(first, Ok(Ok(1..))) {
            return InterceptionEnd::Unmatched(socket, Bytes::new());
        }
    }
    let hello = timeout_at(until, client_hello::read(&mut socket, &mut received));
    let accepted = match hello.await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(NoHello::Plaintext)) if purpose.may_pass => {
            return InterceptionEnd::Unmatched(socket, received.freeze());
        }
        Ok(Err(NoHello::Plaintext)) => return InterceptionEnd::Plaintext(socket),
        Ok(Err(NoHello::Silent)) => return InterceptionEnd::Silent,
        Ok(Err(NoHello::Gone(error))) => {
            return InterceptionEnd::Failed(FailedHandshake::of_io(&error), None);
        }
        Ok(Err(NoHello::Refused { error, alert })) => {
            client_hello::tell(&mut socket, &alert).await;
            return InterceptionEnd::Failed(FailedHandshake::of_tls(&error), Some(socket));
        }
        Err(_) => return InterceptionEnd::Failed(late(), None),
    };
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let named = proxy::name_inside(snapshot, listener, &purpose.named.target, name.as_deref());
    match named {
        Ok(named) => {
            if named.target.host != purpose.named.target.host {
                // It was asked of what the connection was opened for.
                purpose.spoken = None;
            }
            purpose.named = named;
        }
        Err(refused) if refused.is_unmatched && purpose.may_pass => {
            return InterceptionEnd::Unmatched(socket, received.freeze());
        }
        Err(NotIntercepted { reason, .. }) => {
            client_hello::refuse(&mut socket, AlertDescription::UnrecognisedName).await;
            let failed = FailedHandshake::new("misdirected", reason);
            return InterceptionEnd::Failed(failed, Some(socket));
        }
    }
    drop(received);
    let began = Instant::now();
    let spoken = match (purpose.spoken, &purpose.named.taken) {
        (None, Some(taken)) => {
            let pool = shard.pool(taken.upstream as usize);
            pool.spoken().await.ok()
        }
        (known, _) => known,
    };
    // The client is not to blame for the time that the API takes.
    until += began.elapsed();
    let alpn = match spoken {
        Some(SpokenHttp::Http1) => MirroredAlpn::Http1,
        // What is wrong with the API each request is told, in the version that its client speaks.
        Some(SpokenHttp::Http2 { .. }) | None => MirroredAlpn::Http2AndHttp1,
    };
    purpose.named.target.extended_connect = matches!(
        spoken,
        Some(SpokenHttp::Http2 {
            extended_connect: true
        })
    );
    let Some(interception) = &snapshot.interception else {
        // A reload has ended it since the connection was opened.
        client_hello::refuse(&mut socket, AlertDescription::AccessDenied).await;
        let failed = FailedHandshake::new("no_leaf", "[interception] was removed by a reload");
        return InterceptionEnd::Failed(failed, Some(socket));
    };
    // A key and a signature, if there is no leaf for the name yet.
    let host = &purpose.named.target.host;
    let made = shard
        .turns
        .compute(|| interception.server_config(host, alpn));
    let config = match made.await {
        Ok(config) => config,
        Err(error) => {
            client_hello::refuse(&mut socket, AlertDescription::InternalError).await;
            let failed = FailedHandshake::new("no_leaf", error.to_string());
            return InterceptionEnd::Failed(failed, Some(socket));
        }
    };
    // The key exchange and the signature.
    let started = shard
        .turns
        .compute(|| StartHandshake::from_parts(accepted, socket).into_stream(config))
        .await;
    match timeout_at(until, shard.turns.drive(started.into_fallible())).await {
        Ok(Ok(stream)) => InterceptionEnd::Secured(Box::new(stream)),
        Ok(Err((error, socket))) => InterceptionEnd::Failed(of_distrust(&error), Some(socket)),
        Err(_) => InterceptionEnd::Failed(late(), None),
    }
}

fn late() -> FailedHandshake {
    let cause = "the client did not finish the handshake within handshake_timeout";
    FailedHandshake::new("timeout", cause)
}

/// Why it failed once our certificate had been shown: most often the client does not trust it.
fn of_distrust(error: &io::Error) -> FailedHandshake {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(Error::AlertReceived(alert)) if distrusts(*alert) => FailedHandshake::new(
            "refused_by_client",
            format!(
                "the client does not trust the CA of [interception] (alert {alert:?}): give it what lies in trust_directory"
            ),
        ),
        Some(Error::AlertReceived(alert)) => FailedHandshake::new(
            "refused_by_client",
            format!("the client ended the handshake with the alert {alert:?}"),
        ),
        Some(Error::NoApplicationProtocol) => FailedHandshake::new(
            "incompatible",
            "the client speaks HTTP/2 alone, and the API HTTP/1.1 alone",
        ),
        Some(_) => FailedHandshake::of_io(error),
        None => FailedHandshake::new(
            "client_gone",
            "the client closed the connection when it was shown our certificate: perhaps it does not trust the CA of \
             [interception]; give it what lies in trust_directory",
        ),
    }
}
