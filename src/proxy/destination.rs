//! Where a request of a forward or redirected listener goes: what its client names, and what that is here.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::request::Parts;
use http::uri::Scheme as UriScheme;
use http::{Method, Version};

use super::client_connection::ConnectionTarget;
use super::error::{ErrorKind, ProxyError};
use super::own_names;
use super::passing::{self, Passage};
use super::reception::Reception;
use super::request::Checked;
use super::role::ProxyRole;
use super::route_taken::RouteTaken;
use crate::config::{HostPattern, Route, Scheme};
use crate::host::host_of_address;
use crate::policy::CallerIndex;
use crate::route::Destination;
use crate::snapshot::{self, BuiltUpstream, RouteTarget, Snapshot};
use crate::upstream::Origin;

/// The way of a request.
pub enum Way<'s> {
    /// By a route to an upstream.
    Routed(RouteTaken<'s>, ProxyRole),
    /// No route leads there, and it may go on to the origin that its client names.
    Passed(Origin, Passage),
}

/// The way of a request of a forward listener, and the scheme that it names. First by a route: one that was written, or one that the own names of an
/// upstream imply. Of two that name the very host, the one with the longer path wins, and a written one if both are
/// equal; routes for a wildcard or any host come behind. Where none leads, the rules about what may leave decide.
///
/// # Errors
///
/// `bad_request` if the target is not absolute and not inside of a CONNECT; `misdirected` if that is for another
/// host; `loop` if it is a socket of this process; `destination_denied` if it may not leave.
pub fn find_way<'s>(
    reception: &Reception<'s, '_>,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<(Way<'s>, Scheme), ProxyError> {
    let host = host(reception, checked);
    let destination = asked(reception, &host, checked, head)?;
    let path = &*checked.path.canonical;
    let Reception {
        snapshot,
        listener,
        caller,
        client,
    } = *reception;
    let way = way_to(snapshot, listener, caller, destination, path, &head.method)?;
    let way = match (way, client.original_destination()) {
        // What its host resolves to here is of no account.
        (Way::Passed(named, passage), Some(original)) if named.scheme == UriScheme::HTTP => {
            Way::Passed(snapshot::origin_at(original), passage)
        }
        (way, _) => way,
    };
    Ok((way, destination.scheme))
}

/// The host that a request is for, in its canonical form. One without a host, on a redirected connection, is for the address
/// that this was made to.
pub fn host<'r>(reception: &Reception<'_, '_>, checked: &'r Checked<'_>) -> Cow<'r, str> {
    match reception.client.original_destination() {
        Some(original) if checked.host.is_empty() => host_of_address(original.ip()).into(),
        _ => Cow::Borrowed(&checked.host),
    }
}

/// The destination that a request of a forward or redirected listener is for, whose host is given in its canonical form.
///
/// # Errors
/// `bad_request` and `misdirected`, as [`find_way`].
pub fn asked<'r>(
    reception: &Reception<'_, 'r>,
    host: &'r str,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<Destination<'r>, ProxyError> {
    match reception.client.target() {
        Some(opened) => inside(reception, opened, host, checked.authority, head),
        None => match reception.client.original_destination() {
            Some(original) => redirected(original, host, head),
            None => named(head, host),
        },
    }
}

/// What a request of plain HTTP names on a redirected connection: a host, at the port that the connection was made to. A
/// client that knows of no proxy says in `Host` what it has resolved.
fn redirected<'r>(
    original: SocketAddr,
    host: &'r str,
    head: &Parts,
) -> Result<Destination<'r>, ProxyError> {
    if head.version < Version::HTTP_2 && head.uri.scheme().is_some() {
        return Err(ProxyError::bad_request(
            "the connection was redirected here on its way to a server, and the request is for a proxy",
        ));
    }
    if scheme_of(head) == Some(Scheme::Https) {
        return Err(ProxyError::bad_request(
            "the :scheme is https on a connection without TLS",
        ));
    }
    Ok(Destination {
        scheme: Scheme::Http,
        host,
        port: original.port(),
    })
}

/// The way of a request of a caller for a destination, whose host is in its canonical form.
///
/// # Errors
/// As [`find_way`], if there is none.
pub fn way_to<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    destination: Destination<'_>,
    path: &str,
    method: &Method,
) -> Result<Way<'s>, ProxyError> {
    let Some(taken) = route_to(snapshot, listener, destination, path, method, |_| true) else {
        let passage = passing::judge(snapshot, listener, caller, destination)?;
        let Destination { scheme, host, port } = destination;
        return Ok(Way::Passed(snapshot::origin(scheme, host, port), passage));
    };
    let upstream = &snapshot.upstreams[taken.upstream as usize];
    let role = if destination.scheme == Scheme::Http && is_https(upstream) {
        ProxyRole::ForwardOverTls
    } else {
        ProxyRole::Forward
    };
    Ok(Way::Routed(taken, role))
}

/// The route that leads to a destination, whose host is in its canonical form: of the routes that count, by the indices of
/// their labels.
pub fn route_to<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'_>,
    path: &str,
    method: &Method,
    counts: impl Fn(u32) -> bool,
) -> Option<RouteTaken<'s>> {
    let host = destination.host;
    let fits = |target: &RouteTarget| {
        let (upstream, route) = (target.upstream as usize, target.route as usize);
        leads_there(snapshot, upstream, route, destination)
    };
    let is_counted = |target: &RouteTarget| counts(target.route);
    let routes = &snapshot.routes;
    let by_name = routes.find_by_name_where(listener, host, path, method, is_counted);
    let by_name = by_name.filter(|found| fits(found.value));
    let is_counted_upstream = |upstream| counts(snapshot.implied_route(upstream));
    let implied =
        (snapshot.implied_routes).find_where(listener, destination, path, is_counted_upstream);
    match (by_name, implied) {
        (Some(written), Some(implied)) if written.prefix_len < implied.prefix_len => {
            Some(RouteTaken::implied(snapshot, *implied.value))
        }
        (Some(written), _) => Some(RouteTaken::written(&written)),
        (None, Some(implied)) => Some(RouteTaken::implied(snapshot, *implied.value)),
        (None, None) => {
            let written = routes.find_where(listener, host, path, method, is_counted);
            let written = written.filter(|found| fits(found.value))?;
            Some(RouteTaken::written(&written))
        }
    }
}

/// What the target names, whose host is given in its canonical form.
fn named<'r>(head: &Parts, host: &'r str) -> Result<Destination<'r>, ProxyError> {
    let uri = &head.uri;
    let (Some(scheme), Some(authority)) = (scheme_of(head), uri.authority()) else {
        return Err(ProxyError::bad_request(
            "this is a forward proxy, which takes whole URLs: set http_proxy to its address, or call a reverse listener",
        ));
    };
    Ok(Destination {
        scheme,
        host,
        port: authority.port_u16().unwrap_or(scheme.usual_port()),
    })
}

fn scheme_of(head: &Parts) -> Option<Scheme> {
    let scheme = head.uri.scheme_str()?;
    let is = |secure: &str| scheme.eq_ignore_ascii_case(secure);
    Some(if is("https") || is("wss") {
        Scheme::Https
    } else {
        Scheme::Http
    })
}

/// What a request inside of a CONNECT names: the same as that, or nothing.
fn inside<'r>(
    reception: &Reception<'_, '_>,
    opened: &'r ConnectionTarget,
    host: &str,
    authority: &str,
    head: &Parts,
) -> Result<Destination<'r>, ProxyError> {
    let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
    let port = match port {
        Some(Ok(port)) => port,
        // What stands behind the last colon belongs to an IPv6 address.
        Some(Err(_)) | None => opened.scheme.usual_port(),
    };
    let is_same = is_same(reception.snapshot, reception.listener, opened, host, port);
    if !is_same || scheme_of(head).is_some_and(|scheme| scheme != opened.scheme) {
        return Err(ProxyError::new(
            ErrorKind::Misdirected,
            "the request is not for the scheme, host and port that its connection was opened for: open another one",
        ));
    }
    Ok(opened.destination())
}

/// Whether a host and port are another name for what a connection is for: those of an upstream's `url`, its `hosts`, and
/// its `host` count as one.
pub fn is_same(
    snapshot: &Snapshot,
    listener: usize,
    target: &ConnectionTarget,
    host: &str,
    port: u16,
) -> bool {
    if *host == *target.host && port == target.port {
        return true;
    }
    own_names_at(snapshot, listener, target.destination()).any(|at| {
        let upstream = &snapshot.upstreams[at as usize].config;
        upstream.has_destination(target.scheme, host, port)
            || own_names::is_sent_host(
                upstream,
                host,
                port,
                [target.port, target.scheme.usual_port()],
            )
    })
}

/// Whether a destination is an own name of an upstream.
pub fn is_own_name(snapshot: &Snapshot, listener: usize, destination: Destination<'_>) -> bool {
    own_names_at(snapshot, listener, destination)
        .next()
        .is_some()
}

/// The indices of the upstreams that have a destination as an own name.
fn own_names_at<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
) -> impl Iterator<Item = u32> {
    let Destination { scheme, host, port } = destination;
    let found = snapshot.implied_routes.at(listener, destination);
    found.filter(move |at| {
        let upstream = &snapshot.upstreams[*at as usize].config;
        upstream.has_destination(scheme, host, port)
    })
}

/// The routes that a destination has, whatever the path.
pub fn routes_to<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
) -> impl Iterator<Item = RouteTaken<'s>> {
    let written = snapshot.routes_by_host.all(destination.host);
    by_any_path(snapshot, listener, destination, written)
}

/// The places that a destination leads to: of the routes that lead to the same upstream for the same callers the first
/// alone. It takes as long for one route as for 100,000.
pub fn places_of<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
) -> impl Iterator<Item = RouteTaken<'s>> {
    let written = snapshot.routes_by_host.first_of_each(destination.host);
    by_any_path(snapshot, listener, destination, written)
}

fn by_any_path<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
    written: Vec<u32>,
) -> impl Iterator<Item = RouteTaken<'s>> {
    let config = &snapshot.config;
    let of_listener = &config.listeners[listener].name;
    let by_own_name = own_names_at(snapshot, listener, destination);
    let by_own_name = by_own_name.map(|upstream| RouteTaken::implied(snapshot, upstream));
    let by_route = written.into_iter().filter_map(move |at| {
        let route = &config.routes[at as usize];
        let is_for = |name: &str| name == of_listener;
        if !is_for_host(route, destination.host) || !route.listener.as_deref().is_none_or(is_for) {
            return None;
        }
        let upstream = snapshot.upstream_index(&route.upstream)?;
        let leads = leads_there(snapshot, upstream, at as usize, destination);
        leads.then(|| RouteTaken::to(upstream as u32, at))
    });
    by_own_name.chain(by_route)
}

/// Whether a written route is for this host, which is in its canonical form.
pub fn is_for_host(route: &Route, host: &str) -> bool {
    match &route.host {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(parent) => {
            let rest = host.split_once('.');
            rest.is_some_and(|(_, rest)| rest == parent)
        }
    }
}

/// Whether a written route, which knows no schemes and no ports, leads there: never from `https` to an `http`
/// upstream, nor from a port that neither the scheme nor the upstream has. A route for any host does so only if it
/// is for this listener alone: else each request for any other host would be taken for it.
pub fn leads_there(
    snapshot: &Snapshot,
    upstream: usize,
    route: usize,
    destination: Destination<'_>,
) -> bool {
    let route = &snapshot.config.routes[route];
    if route.host == HostPattern::Any && route.listener.is_none() {
        return false;
    }
    let upstream = &snapshot.upstreams[upstream];
    if destination.scheme == Scheme::Https && !is_https(upstream) {
        return false;
    }
    let is_named = || {
        let mut hosts = upstream.config.hosts.iter();
        hosts.any(|named| named.host == destination.host && named.port == Some(destination.port))
    };
    destination.port == destination.scheme.usual_port()
        || upstream.config.url.port_or_known_default() == Some(destination.port)
        || is_named()
}

/// The host and port that an upstream is reached at, whose host is in its canonical form.
pub fn authority(upstream: &BuiltUpstream) -> Box<str> {
    let url = &upstream.config.url;
    let host = upstream.config.own_host();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}").into()
}

fn is_https(upstream: &BuiltUpstream) -> bool {
    upstream.config.url.scheme() == "https"
}
