//! CONNECT to a forward listener: plain HTTP inside of it is served, TLS is ended where the listener intercepts, and a
//! tunnel is opened where no token is owed.

mod verdict;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::ext::Protocol;
use http::request::Parts;
use http::{Method, Version};

use super::client_connection::{ClientConnection, ConnectionTarget};
use super::destination;
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::failure;
use super::identify;
use super::intercept;
use super::open_tunnels::{Revocation, TunnelGrant};
use super::passing::{self, Passage};
use super::permit;
use super::reply_body::Successor;
use super::request;
use super::tunnel::OpenedConnection;
use super::undecided::Undecided;
use crate::config::Scheme;
use crate::limit::Permit;
use crate::policy::RequestKind;
use crate::snapshot::{self, Snapshot};
use crate::upstream::{Endpoint, Origin};

pub use verdict::{ConnectVerdict, judge};

/// Tunnels end all the time; some place is free again soon.
const PLACES_RETURN: Duration = Duration::from_secs(1);

/// Whether it is a CONNECT as proxies know it (RFC 9110 section 9.3.6), not an extended one.
pub fn is_connect(head: &Parts) -> bool {
    head.method == Method::CONNECT && head.extensions.get::<Protocol>().is_none()
}

/// Answers a CONNECT: what follows. A tunnel is open when this returns.
///
/// # Errors
///
/// `bad_request` if it is malformed, inside of another one or on a redirected connection; `loop` for a socket of this process;
/// `interception_off` where a tunnel would send requests past their token; `destination_denied` if nothing leads
/// there; what goes wrong while the upstream is connected to.
pub async fn answer(exchange: &mut Exchange, head: &Parts) -> Result<Successor, ProxyError> {
    let (host, port) = check(exchange.client(), head)?;
    identify::identify(exchange, &head.headers).await?;
    permit::permit_listener(exchange)?;
    let asked = ConnectionTarget {
        scheme: Scheme::Http,
        host: host.into(),
        port,
        caller: exchange.named_caller(),
        extended_connect: true,
    };
    lead(exchange, head, asked).await
}

/// The host and port that a CONNECT asks for on this connection.
///
/// # Errors
/// `bad_request`.
pub fn check<'r>(
    client: &ClientConnection,
    head: &'r Parts,
) -> Result<(Cow<'r, str>, u16), ProxyError> {
    if client.target().is_some() {
        return Err(ProxyError::bad_request(
            "the connection has been opened by a CONNECT already",
        ));
    }
    if client.original_destination().is_some() {
        return Err(ProxyError::bad_request(
            "the connection was redirected here on its way to a server, and a CONNECT is for a proxy",
        ));
    }
    request::check_connect(head)
}

/// Leads a connection on whose client is known: one that a CONNECT has opened, or that was redirected here. A tunnel is open
/// when this returns.
///
/// # Errors
/// As [`answer`], but for what is wrong with a CONNECT itself.
pub async fn lead(
    exchange: &mut Exchange,
    head: &Parts,
    asked: ConnectionTarget,
) -> Result<Successor, ProxyError> {
    let shard = Rc::clone(&exchange.shard);
    let original = exchange.client().original_destination();
    let caller = exchange.caller_index();
    let verdict = judge(&shard.snapshot, exchange.listener, caller, &asked, original);
    let (verdict, reported) = verdict?;
    exchange.report(reported);
    match verdict {
        ConnectVerdict::PlainHttp => {
            exchange.admit(RequestKind::Response)?;
            Ok(Successor::PlainHttp(asked))
        }
        ConnectVerdict::Intercept(taken) => {
            exchange.admit(RequestKind::Response)?;
            // The limits of the route are for the requests that follow.
            exchange.set_route(&taken);
            let upstream = taken.upstream as usize;
            let place = place_of_stream(exchange, head)?;
            let mut pending = intercept::prepare(exchange, asked, place)?;
            pending.spoken = Some(intercept::spoken_by(&shard, upstream).await?);
            Ok(Successor::Intercepted(pending))
        }
        ConnectVerdict::InterceptByName(passage) => {
            let undecided = match passage {
                Some(passage) => {
                    let opened = match pass(exchange, head, asked.clone(), passage).await? {
                        Err(error) if !is_out_of_reach(&error) => {
                            let listener = exchange.listener;
                            passing::record(&shard.snapshot, listener, passage, Some(&error));
                            return Err(error);
                        }
                        opened => opened,
                    };
                    let exchange = exchange.leave_undecided(head);
                    Some(Box::new(Undecided::new(exchange, passage, opened)))
                }
                None => {
                    exchange.admit(RequestKind::Response)?;
                    None
                }
            };
            let place = place_of_stream(exchange, head)?;
            let mut pending = intercept::prepare(exchange, asked, place)?;
            pending.undecided = undecided;
            Ok(Successor::Intercepted(pending))
        }
        ConnectVerdict::Tunnel(taken) => {
            exchange.set_route(&taken);
            exchange.admit(RequestKind::Tunnel)?;
            let upstream = &shard.snapshot.upstreams[taken.upstream as usize];
            let leads_to = destination::authority(upstream);
            let opened = open(exchange, head, asked, leads_to, &upstream.endpoint).await?;
            Ok(Successor::Tunnel(opened.into_tunnel(exchange)))
        }
        ConnectVerdict::Pass(passage) => {
            let opened = pass(exchange, head, asked, passage).await?;
            let error = opened.as_ref().err();
            passing::record(&shard.snapshot, exchange.listener, passage, error);
            let opened = opened?;
            exchange.report(passage.reported);
            Ok(Successor::Tunnel(opened.into_tunnel(exchange)))
        }
    }
}

/// Tries to open a connection to where no route leads, which is for the caller of this function to count.
///
/// # Errors
/// It may not be tried: a limit is reached, or the audit is full.
async fn pass(
    exchange: &mut Exchange,
    head: &Parts,
    asked: ConnectionTarget,
    passage: Passage,
) -> Result<Result<OpenedConnection, ProxyError>, ProxyError> {
    exchange.set_passage(passage);
    exchange.admit(RequestKind::Tunnel)?;
    let shard = Rc::clone(&exchange.shard);
    let origin = passes_to(&asked, exchange.client().original_destination());
    let passed = shard.passed_origin(&origin, passage.way(&origin, Version::HTTP_11))?;
    let leads_to = format!("{}:{}", origin.host, origin.port).into();
    Ok(open(exchange, head, asked, leads_to, &passed.upstream.endpoint).await)
}

/// Whether the error only means that the address cannot be reached. The host that the handshake names may lead elsewhere.
fn is_out_of_reach(error: &ProxyError) -> bool {
    matches!(
        error.kind,
        ErrorKind::UpstreamConnect
            | ErrorKind::UpstreamTimeout
            | ErrorKind::UpstreamTls
            | ErrorKind::EgressProxy
    )
}

/// Opens the connection that a CONNECT asks for.
async fn open(
    exchange: &mut Exchange,
    head: &Parts,
    asked: ConnectionTarget,
    leads_to: Box<str>,
    endpoint: &Endpoint,
) -> Result<OpenedConnection, ProxyError> {
    let place = place_of_stream(exchange, head)?;
    exchange.trace.begin_tunnel(&leads_to);
    let opened = endpoint.open_tunnel().await;
    let opened = opened.map_err(|error| failure::from_connect_error(Arc::new(error)));
    let opened = opened.inspect_err(|error| exchange.trace.note_failure(error.kind.code()));
    let (io, peer, lease) = opened?;
    exchange.trace.note_tunnel();
    let peer = (!endpoint.connector.is_proxied()).then_some(peer.ip());
    let judged = asked.clone();
    let grant = TunnelGrant {
        client: Arc::clone(exchange.client()),
        caller: exchange.named_caller(),
        leads_to,
        peer,
        judge: Box::new(move |snapshot, tunnel| judge_again(snapshot, tunnel, &judged)),
    };
    let shard = &exchange.shard;
    let open = shard.tunnels.add(&shard.snapshot, grant);
    let open = open.map_err(|reason| ProxyError::new(ErrorKind::DestinationDenied, reason))?;
    Ok(OpenedConnection {
        io,
        lease,
        place,
        asked,
        open,
    })
}

/// The place among all connections of what a CONNECT makes of a stream. Over HTTP/1.1 it is the connection of the client
/// itself, which has its place.
fn place_of_stream(exchange: &Exchange, head: &Parts) -> Result<Option<Permit>, ProxyError> {
    if head.version < Version::HTTP_2 {
        return Ok(None);
    }
    let place = exchange.client().another_place().ok_or_else(no_place)?;
    Ok(Some(place))
}

#[cold]
fn no_place() -> ProxyError {
    ProxyError::new(
        ErrorKind::Overloaded,
        "as many connections and tunnels are open as server.max_connections allows; raise it, or keep fewer open",
    )
    .retry_after(PLACES_RETURN)
}

/// Judges a tunnel that a CONNECT has opened by another snapshot than the one it was opened with.
///
/// # Errors
/// Why it would not be opened any more.
fn judge_again(
    snapshot: &Snapshot,
    tunnel: &TunnelGrant,
    asked: &ConnectionTarget,
) -> Result<(), Revocation> {
    let listener = tunnel.listener_in(snapshot)?;
    let original = tunnel.client.original_destination();
    let is_redirected = snapshot.config.listeners[listener].redirection().is_some();
    if !snapshot.listeners[listener].is_forward || is_redirected != original.is_some() {
        return Err("its listener is of another kind now".into());
    }
    let caller = permit::judge_tunnel(snapshot, listener, tunnel)?;
    let judged = judge(snapshot, listener, caller, asked, original);
    match judged.map(|(verdict, _)| verdict) {
        Ok(ConnectVerdict::Tunnel(taken)) => {
            let upstream = &snapshot.upstreams[taken.upstream as usize];
            if destination::authority(upstream) == tunnel.leads_to {
                Ok(())
            } else {
                Err(LEADS_ELSEWHERE.into())
            }
        }
        Ok(ConnectVerdict::Pass(passage) | ConnectVerdict::InterceptByName(Some(passage))) => {
            let origin = passes_to(asked, original);
            if format!("{}:{}", origin.host, origin.port) != *tunnel.leads_to {
                return Err(LEADS_ELSEWHERE.into());
            }
            tunnel.judge_address(snapshot, passage.reach)
        }
        Ok(ConnectVerdict::PlainHttp) => {
            Err("only plain HTTP is served at the destination now".into())
        }
        Ok(ConnectVerdict::Intercept(_) | ConnectVerdict::InterceptByName(None)) => {
            Err("TLS with the destination is intercepted now".into())
        }
        Err(error) => Err(error.detail),
    }
}

const LEADS_ELSEWHERE: &str = "the destination leads to another host or port now";

/// Where a connection passes to that no route leads on: to where its client names, or, if it was redirected, to where it was
/// on its way to.
pub fn passes_to(asked: &ConnectionTarget, original: Option<SocketAddr>) -> Origin {
    original.map_or_else(
        || snapshot::origin(Scheme::Http, &asked.host, asked.port),
        snapshot::origin_at,
    )
}
