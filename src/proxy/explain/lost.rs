//! The routes that a request nearly takes, and why it does not. Each is tried by the table that matches requests.

use http::Method;

use crate::config::{HostPattern, Route};
use crate::explanation::LostRoute;
use crate::policy::CallerIndex;
use crate::proxy::destination;
use crate::proxy::passing;
use crate::proxy::route_taken::RouteTaken;
use crate::route::{Destination, RoutePattern, RouteTable};
use crate::snapshot::Snapshot;

/// What is matched.
#[derive(Clone, Copy)]
pub(super) struct Matched<'a> {
    pub(super) listener: usize,
    /// As it is matched.
    pub(super) host: &'a str,
    /// On a forward or redirected listener: where the request is for.
    pub(super) destination: Option<Destination<'a>>,
    /// As it is matched.
    pub(super) path: &'a str,
    pub(super) method: &'a Method,
}

/// What of a route does not fit a request, the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Misfit {
    Method,
    Listener,
    Destination,
    Path,
    Host,
}

/// The route that would be next if the one that is taken were not there, and the one that lacks one thing to go before it.
pub(super) fn routes(
    snapshot: &Snapshot,
    matched: Matched<'_>,
    taken: Option<&RouteTaken<'_>>,
) -> Vec<LostRoute> {
    let mut lost = Vec::new();
    if let Some(taken) = taken
        && let Some(next) = next_best(snapshot, matched, taken.route)
    {
        lost.push(LostRoute {
            reason: why_behind(snapshot, matched, taken, &next),
            ..named(snapshot, &next)
        });
    }
    let written = |taken: &RouteTaken<'_>| snapshot.config.routes.get(taken.route as usize);
    let than = taken.and_then(written);
    if taken.is_none() || than.is_some() {
        lost.extend(nearest(snapshot, matched, than));
    }
    if taken.is_none() {
        lost.extend(own_name(snapshot, matched));
    }
    lost
}

/// The same of a connection that no route leads on. Of its requests neither paths nor methods are known.
pub(super) fn of_connection(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    destination: Destination<'_>,
) -> Vec<LostRoute> {
    let by_rule = passing::judge_by_exact_host(snapshot, listener, caller, destination);
    let why = if by_rule.is_some() {
        "a rule of [egress] that names the very host goes before it"
    } else {
        "a tunnel shows no path to choose it by"
    };
    let routes = destination::routes_to(snapshot, listener, destination);
    let routes: Vec<_> = routes
        .map(|route| LostRoute {
            reason: why.to_owned(),
            ..named(snapshot, &route)
        })
        .collect();
    if !routes.is_empty() {
        return routes;
    }
    let matched = Matched {
        listener,
        host: destination.host,
        destination: Some(destination),
        path: "/",
        method: &Method::CONNECT,
    };
    let name = &snapshot.config.listeners[listener].name;
    let routes = snapshot.config.routes.iter().enumerate();
    let near = routes.filter(|(_, route)| destination::is_for_host(route, destination.host));
    let near = near.filter_map(|(at, route)| {
        let is_of_listener = route.listener.as_ref().is_none_or(|of| of == name);
        let upstream = snapshot.upstream_index(&route.upstream)?;
        let leads = destination::leads_there(snapshot, upstream, at, destination);
        let misfit = match (is_of_listener, leads) {
            (true, false) => Misfit::Destination,
            (false, true) if route.host != HostPattern::Any => Misfit::Listener,
            _ => return None,
        };
        let taken = RouteTaken::to(upstream as u32, at as u32);
        let lost = LostRoute {
            reason: reason(matched, misfit, route),
            ..named(snapshot, &taken)
        };
        Some((misfit, lost))
    });
    let nearest = near.min_by_key(|(misfit, _)| *misfit);
    let nearest = nearest.map(|(_, lost)| lost);
    nearest
        .into_iter()
        .chain(own_name(snapshot, matched))
        .collect()
}

fn next_best<'s>(
    snapshot: &'s Snapshot,
    matched: Matched<'_>,
    taken: u32,
) -> Option<RouteTaken<'s>> {
    let Matched {
        listener,
        host,
        destination,
        path,
        method,
    } = matched;
    match destination {
        Some(destination) => {
            let counts = |route| route != taken;
            destination::route_to(snapshot, listener, destination, path, method, counts)
        }
        None => {
            let routes = &snapshot.routes;
            let next = routes.find_where(listener, host, path, method, |it| it.route != taken);
            next.map(|found| RouteTaken::written(&found))
        }
    }
}

/// Why a route goes behind the one that is taken, where both fit.
fn why_behind(
    snapshot: &Snapshot,
    matched: Matched<'_>,
    taken: &RouteTaken<'_>,
    next: &RouteTaken<'_>,
) -> String {
    let routes = &snapshot.config.routes;
    let path = |it| path_of(snapshot, it);
    let is_shorter = || {
        format!(
            "its path {:?} is shorter than {:?}",
            path(next),
            path(taken)
        )
    };
    let written = (
        routes.get(taken.route as usize),
        routes.get(next.route as usize),
    );
    match written {
        (Some(winner), Some(loser))
            if is_by_name(matched, winner) == is_by_name(matched, loser) =>
        {
            if rank(&winner.host) != rank(&loser.host) {
                format!(
                    "its host {} is less specific than {}",
                    loser.host, winner.host
                )
            } else if winner.path != loser.path {
                is_shorter()
            } else if winner.methods.is_empty() != loser.methods.is_empty() {
                "it is for any method, and the other one names this one".to_owned()
            } else {
                "it is for every listener, and the other one names this one".to_owned()
            }
        }
        (Some(winner), Some(loser)) => format!(
            "its host {} is less specific than {}",
            loser.host, winner.host
        ),
        (None, Some(loser)) if !is_by_name(matched, loser) => {
            format!(
                "its host {} does not name the very host, as an own name of an upstream does",
                loser.host
            )
        }
        _ if path(next).len() < path(taken).len() => is_shorter(),
        (Some(_), None) => "a written route goes before an own name of an upstream".to_owned(),
        _ => "another upstream has the same name, and stands before it".to_owned(),
    }
}

/// The path that requests begin with which take a route.
pub(super) fn path_of<'s>(snapshot: &'s Snapshot, taken: &RouteTaken<'_>) -> &'s str {
    match snapshot.config.routes.get(taken.route as usize) {
        Some(route) => &route.path,
        None => snapshot.upstreams[taken.upstream as usize]
            .config
            .base_path(),
    }
}

fn is_by_name(matched: Matched<'_>, route: &Route) -> bool {
    matches!(&route.host, HostPattern::Exact(name) if name == matched.host)
}

/// The less, the more specific.
fn rank(host: &HostPattern) -> u8 {
    match host {
        HostPattern::Exact(_) => 0,
        HostPattern::Wildcard(_) => 1,
        HostPattern::Any => 2,
    }
}

/// The written route that lacks one thing to be taken, and would go before the one that is.
fn nearest(snapshot: &Snapshot, matched: Matched<'_>, than: Option<&Route>) -> Option<LostRoute> {
    let routes = snapshot.config.routes.iter().enumerate();
    let near = routes.filter_map(|(at, route)| {
        let misfit = misfit(snapshot, matched, at, route)?;
        let is_of_proxy = matched.destination.is_some();
        let is_of_another =
            misfit == Misfit::Listener || is_for_no_proxy(route) && misfit != Misfit::Destination;
        if is_of_proxy && route.host == HostPattern::Any && is_of_another {
            return None;
        }
        let goes_before = than.is_none_or(|than| {
            let specific = |route: &Route| (std::cmp::Reverse(rank(&route.host)), route.path.len());
            specific(route) >= specific(than) && misfit < Misfit::Path
        });
        goes_before.then_some((misfit, std::cmp::Reverse(route.path.len()), at))
    });
    let (misfit, _, at) = near.min()?;
    let route = &snapshot.config.routes[at];
    Some(LostRoute {
        route: snapshot.route_label(at).to_string(),
        upstream: route.upstream.to_string(),
        reason: reason(matched, misfit, route),
    })
}

/// What alone keeps a route from being taken; `None` if it fits, or lacks more than one thing.
fn misfit(snapshot: &Snapshot, matched: Matched<'_>, at: usize, route: &Route) -> Option<Misfit> {
    let listener = route.listener.as_deref();
    let pattern = RoutePattern {
        listener: listener.and_then(|name| snapshot.listener(name)),
        host: &route.host,
        path: &route.path,
        methods: &route.methods,
    };
    let fits = |pattern: RoutePattern<'_>| {
        let Matched {
            listener,
            host,
            path,
            method,
            ..
        } = matched;
        let table = RouteTable::build([(pattern, ())]);
        table.find(listener, host, path, method).is_some()
    };
    if fits(pattern) {
        let destination = matched.destination?;
        let upstream = snapshot.upstream_index(&route.upstream)?;
        let leads = destination::leads_there(snapshot, upstream, at, destination);
        return (!leads).then_some(Misfit::Destination);
    }
    let without = |misfit| match misfit {
        Misfit::Method => RoutePattern {
            methods: &[],
            ..pattern
        },
        Misfit::Listener => RoutePattern {
            listener: None,
            ..pattern
        },
        Misfit::Path => RoutePattern {
            path: "/",
            ..pattern
        },
        Misfit::Host | Misfit::Destination => RoutePattern {
            host: &HostPattern::Any,
            ..pattern
        },
    };
    let kinds = [Misfit::Method, Misfit::Listener, Misfit::Path, Misfit::Host];
    kinds.into_iter().find(|misfit| fits(without(*misfit)))
}

/// Whether it is not for what clients of proxies name, whatever that is.
fn is_for_no_proxy(route: &Route) -> bool {
    route.host == HostPattern::Any && route.listener.is_none()
}

fn reason(matched: Matched<'_>, misfit: Misfit, route: &Route) -> String {
    match misfit {
        Misfit::Method => {
            let methods: Vec<_> = route.methods.iter().map(Method::as_str).collect();
            format!("it is for {} alone, and not for {}", methods.join(", "), matched.method)
        }
        Misfit::Listener => format!(
            "it is for the listener {:?} alone",
            route.listener.as_deref().unwrap_or_default()
        ),
        Misfit::Destination if is_for_no_proxy(route) => {
            "it is for any host and for every listener: a proxy would take every request for it; name a host or a listener"
                .to_owned()
        }
        Misfit::Destination => {
            "its upstream has another scheme or port: https leads to https alone, and a port to where the URL of the upstream, or \
             its hosts, have it"
                .to_owned()
        }
        Misfit::Path if route.path.trim_end_matches('/') == matched.path => {
            format!("its path {:?} ends in a slash: it is for what stands below", route.path)
        }
        Misfit::Path => format!("its path {:?} does not begin {:?}", route.path, matched.path),
        Misfit::Host => format!("its host {} is not {:?}", route.host, matched.host),
    }
}

/// The upstream whose own name is nearly the destination.
fn own_name(snapshot: &Snapshot, matched: Matched<'_>) -> Option<LostRoute> {
    let asked = matched.destination?;
    let config = &snapshot.config;
    let listener = &config.listeners[matched.listener];
    let by_listener: Vec<_> = config.forwarded_by(listener).map(|it| &it.name).collect();
    let mut near = config.upstreams.values().filter_map(|upstream| {
        let own = || upstream.destinations().filter(|own| own.1 == asked.host);
        let of_scheme = own().find(|(scheme, ..)| *scheme == asked.scheme);
        let (scheme, host, port) = of_scheme.or_else(|| own().next())?;
        let mut own = own();
        let is_it = |own: (_, String, _)| own.0 == asked.scheme && own.2 == asked.port;
        let reason = if !by_listener.contains(&&upstream.name) {
            "`upstreams` of the listener does not name it".to_owned()
        } else if own.any(is_it) {
            format!(
                "the path of its url, {:?}, does not begin {:?}",
                upstream.base_path(),
                matched.path
            )
        } else {
            let other = match (scheme == asked.scheme, port == asked.port) {
                (true, _) => "port",
                (_, true) => "scheme",
                _ => "scheme and port",
            };
            format!("it is {scheme}://{host}:{port}, which has another {other}")
        };
        Some((&upstream.name, reason))
    });
    let (name, reason) = near.next()?;
    let at = snapshot.upstream_index(name)? as u32;
    Some(LostRoute {
        route: snapshot
            .route_label(snapshot.implied_route(at) as usize)
            .to_string(),
        upstream: name.clone(),
        reason,
    })
}

/// A route with its upstream, without a reason.
pub(super) fn named(snapshot: &Snapshot, route: &RouteTaken<'_>) -> LostRoute {
    let upstream = &snapshot.upstreams[route.upstream as usize].config;
    LostRoute {
        route: snapshot.route_label(route.route as usize).to_string(),
        upstream: upstream.name.clone(),
        reason: String::new(),
    }
}
