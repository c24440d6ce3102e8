//! CONNECT to a forward listener: plain HTTP inside of it is served, TLS is ended where the listener intercepts, and a
//! tunnel is opened where no token is owed.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::ext::Protocol;
use http::request::Parts;
use http::{Method, Version};

use super::caller_rule::CallerRule;
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
use super::route_taken::RouteTaken;
use super::tunnel::OpenedConnection;
use super::undecided::Undecided;
use crate::config::{HostPattern, Route, Scheme};
use crate::limit::Permit;
use crate::policy::{CallerIndex, RequestKind};
use crate::route::{self, Destination};
use crate::snapshot::{self, Snapshot};
use crate::upstream::{Endpoint, Origin};

/// Tunnels end all the time; some place is free again soon.
const PLACES_RETURN: Duration = Duration::from_secs(1);

/// What becomes of a CONNECT.
pub enum ConnectVerdict<'s> {
    /// Plain HTTP is served inside of it.
    PlainHttp,
    /// TLS is ended inside of it, for what the route leads to.
    Intercept(RouteTaken<'s>),
    /// It is for an address. TLS is ended inside of it if the handshake names what a route leads to; else it is a tunnel, if
    /// it may pass.
    InterceptByName(Option<Passage>),
    /// It is a tunnel to an upstream without a credential.
    Tunnel(RouteTaken<'s>),
    /// It is a tunnel to where the client names, as far as the addresses there allow.
    Pass(Passage),
}

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
        host: route::canonical(&host).into(),
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
                    let opened = pass(exchange, head, asked.clone(), passage).await?;
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
            exchange.report(passage.reported);
            passing::record(&shard.snapshot, exchange.listener, passage, None);
            Ok(Successor::Tunnel(opened.into_tunnel(exchange)))
        }
    }
}

/// Opens a connection to where no route leads.
async fn pass(
    exchange: &mut Exchange,
    head: &Parts,
    asked: ConnectionTarget,
    passage: Passage,
) -> Result<OpenedConnection, ProxyError> {
    exchange.set_passage(passage);
    exchange.admit(RequestKind::Tunnel)?;
    let shard = Rc::clone(&exchange.shard);
    let origin = passes_to(&asked, exchange.client().original_destination());
    let passed = shard.passed_origin(&origin, passage.way(&origin, Version::HTTP_11))?;
    let leads_to = format!("{}:{}", origin.host, origin.port).into();
    let opened = open(exchange, head, asked, leads_to, &passed.upstream.endpoint).await;
    opened.inspect_err(|error| {
        passing::record(&shard.snapshot, exchange.listener, passage, Some(error));
    })
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

/// What becomes of a CONNECT of a caller to a host and port, and of the tunnel that it has opened, by one snapshot; with
/// the list of callers that would refuse it, if the listener only reports that. The same of a connection that was redirected
/// on its way to `original`: it is known to be TLS if `asked` is `https`, and to be nothing that is read here if not.
pub fn judge<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    asked: &'s ConnectionTarget,
    original: Option<SocketAddr>,
) -> Result<(ConnectVerdict<'s>, Option<CallerRule>), ProxyError> {
    let destination = |scheme| Destination {
        scheme,
        host: &asked.host,
        port: asked.port,
    };
    let leads = |scheme| destination::places_of(snapshot, listener, destination(scheme));
    let upstream = |taken: &RouteTaken<'_>| &snapshot.upstreams[taken.upstream as usize];
    let over_tls: Vec<_> = leads(Scheme::Https).collect();
    let pass = |judged: Result<Passage, ProxyError>| {
        judged.map(|passage| (ConnectVerdict::Pass(passage), None))
    };
    if original.is_some() && asked.scheme == Scheme::Http {
        let destination = destination(Scheme::Https);
        return pass(passing::judge(snapshot, listener, caller, destination));
    }
    let intercepts = snapshot.listeners[listener].intercepts;
    let injects = over_tls.iter().any(|taken| upstream(taken).injects());
    if injects || intercepts && !over_tls.is_empty() {
        let destination = destination(Scheme::Https);
        if let Some(judged) = passing::judge_by_exact_host(snapshot, listener, caller, destination)
        {
            return pass(judged);
        }
        if intercepts {
            return judge_interception(snapshot, listener, caller, asked, over_tls);
        }
        for taken in &over_tls {
            permit::judge_route(snapshot, listener, taken.route, caller)?;
        }
        return Err(ProxyError::new(
            ErrorKind::InterceptionOff,
            "a tunnel would carry the request past its token: set `intercept = true` on the listener, or call the API as \
             http:// through this proxy",
        ));
    }
    let mut over_tls = over_tls.into_iter();
    if let Some(first) = over_tls.next() {
        let leads_to = destination::authority(upstream(&first));
        if over_tls.any(|other| destination::authority(upstream(&other)) != leads_to) {
            return Err(ProxyError::new(
                ErrorKind::DestinationDenied,
                "upstreams at several places have this host and port, and a tunnel shows no path to choose one by: \
                 call the API as http:// through this proxy",
            ));
        }
        let reported = permit::judge_route(snapshot, listener, first.route, caller)?;
        return Ok((ConnectVerdict::Tunnel(first), reported));
    }
    if original.is_none() && leads(Scheme::Http).next().is_some() {
        return Ok((ConnectVerdict::PlainHttp, None));
    }
    if intercepts
        && original.is_none()
        && route::is_address(&asked.host)
        && intercept::has_names_at(snapshot, listener, asked.port)
    {
        let destination = destination(Scheme::Https);
        let passage = passing::judge_if_host_passes(snapshot, listener, caller, destination);
        return match passage {
            Some(Err(error)) if error.kind == ErrorKind::Loop => Err(error),
            passage => Ok((
                ConnectVerdict::InterceptByName(passage.and_then(Result::ok)),
                None,
            )),
        };
    }
    pass(passing::judge(
        snapshot,
        listener,
        caller,
        destination(Scheme::Https),
    ))
}

/// Judges a CONNECT to what `over_tls` leads to, on a listener that intercepts. It intercepts upstreams without a
/// credential too: limits, callers and paths hold for all requests to what is matched, and a reload that gives such an
/// upstream a credential changes nothing for its clients.
fn judge_interception<'s>(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    asked: &ConnectionTarget,
    over_tls: Vec<RouteTaken<'s>>,
) -> Result<(ConnectVerdict<'s>, Option<CallerRule>), ProxyError> {
    // The name that has to be covered is that of the handshake.
    if !route::is_address(&asked.host) && !intercept::covers(snapshot, &asked.host) {
        let detail = intercept::outside_of_domains(&asked.host);
        return Err(ProxyError::new(ErrorKind::InterceptionOff, detail));
    }
    // Each request is judged by its own route. A caller that may take none of them gets no further.
    // What a written route takes of every path goes by no implied one.
    let routes = &snapshot.config.routes;
    let written = |taken: &RouteTaken<'_>| routes.get(taken.route as usize);
    let takes_all = |route: &Route| {
        let is_exact = matches!(route.host, HostPattern::Exact(_));
        is_exact && route.path == "/" && route.methods.is_empty()
    };
    let all_taken = over_tls.iter().filter_map(written).any(takes_all);
    let mut refusal = None;
    for taken in over_tls {
        if all_taken && written(&taken).is_none() {
            continue;
        }
        let upstream = &snapshot.upstreams[taken.upstream as usize];
        let judged = permit::judge_route(snapshot, listener, taken.route, caller)
            .and_then(|reported| permit::judge_credentials(upstream, caller).map(|_| reported));
        match judged {
            Ok(reported) => return Ok((ConnectVerdict::Intercept(taken), reported)),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| permit::not_permitted(CallerRule::Route.as_str())))
}
