//! What becomes of a CONNECT, by one snapshot.

use std::net::SocketAddr;

use http::Method;

use super::super::caller_rule::CallerRule;
use super::super::client_connection::ConnectionTarget;
use super::super::destination;
use super::super::error::{ErrorKind, ProxyError};
use super::super::intercept;
use super::super::passing::{self, Passage};
use super::super::permit;
use super::super::route_taken::RouteTaken;
use crate::config::Scheme;
use crate::policy::CallerIndex;
use crate::route::{self, Destination};
use crate::snapshot::Snapshot;

/// What is inside of a CONNECT to it is plain HTTP, unless it is the very port of the `url` of an `https` upstream.
const PLAIN_PORT: u16 = 80;

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
    let has_tls_there = |taken: &RouteTaken<'_>| {
        upstream(taken).config.url.port_or_known_default() == Some(asked.port)
    };
    let is_plain = asked.port == PLAIN_PORT && !over_tls.iter().any(has_tls_there);
    if is_plain && original.is_none() && leads(Scheme::Http).next().is_some() {
        return Ok((ConnectVerdict::PlainHttp, None));
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
    let over = Destination {
        scheme: Scheme::Https,
        host: &asked.host,
        port: asked.port,
    };
    let mut refusal = None;
    for taken in over_tls {
        if is_implied_and_never_taken(snapshot, listener, over, &taken) {
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

/// Whether it is an implied route, of which a written one takes every path and method.
fn is_implied_and_never_taken(
    snapshot: &Snapshot,
    listener: usize,
    destination: Destination<'_>,
    taken: &RouteTaken<'_>,
) -> bool {
    let routes = &snapshot.config.routes;
    let written = |route: u32| routes.get(route as usize);
    if written(taken.route).is_some() {
        return false;
    }
    let path = snapshot.upstreams[taken.upstream as usize]
        .config
        .base_path();
    let takes_every_method = |route: u32| match written(route) {
        Some(written) => written.methods.is_empty(),
        None => route == taken.route,
    };
    let found = destination::route_to(
        snapshot,
        listener,
        destination,
        path,
        &Method::GET,
        takes_every_method,
    );
    found.is_some_and(|found| found.route != taken.route)
}
