//! What is decided about a request by its head and the way that it has come. `explain` asks the same.

use http::request::Parts;

use super::browser_guard::{self, BrowserRefusal};
use super::destination::{self, Way};
use super::error::{ErrorKind, ProxyError};
use super::forwarded::Forwarded;
use super::reception::Reception;
use super::request::{self, Checked};
use super::route_taken::RouteTaken;
use crate::config::Scheme;
use crate::snapshot::{ListenerRules, Snapshot};

/// Refuses what is malformed, ambiguous, too large or in a loop.
///
/// # Errors
/// As [`request::check`]; `header_too_large` or `loop`.
pub fn check_head<'r>(snapshot: &Snapshot, head: &'r Parts) -> Result<Checked<'r>, ProxyError> {
    let checked = request::check(head)?;
    if head.headers.len() > snapshot.config.server.max_headers {
        // Over HTTP/1.1 they have been counted.
        return Err(ProxyError::new(
            ErrorKind::HeaderTooLarge,
            "the request has too many headers; send fewer, or raise max_headers",
        ));
    }
    if checked.seen.via
        && snapshot.via.is_some()
        && request::has_passed_through(&head.headers, &snapshot.instance)
    {
        return Err(ProxyError::new(
            ErrorKind::Loop,
            "the request already passed through this instance; look for an upstream whose url leads back here",
        ));
    }
    Ok(checked)
}

/// Refuses web pages that may not use the listener, whose own pages have come in the `own` scheme.
///
/// # Errors
/// `browser_request`, or `no_route` for a host that is not the listener's.
pub fn admit_browsers(
    listener: &ListenerRules,
    own: Scheme,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<(), ProxyError> {
    match &listener.browser_guard {
        Some(guard) => browser_guard::admit(guard, own, checked, &head.headers)
            .map_err(BrowserRefusal::to_listener_error),
        None => Ok(()),
    }
}

/// The way that a request takes. On a forward listener web pages are refused where it leads to a token.
///
/// # Errors
/// `no_route`; by a forward listener as [`destination::find_way`].
pub fn find_way<'s>(
    reception: &Reception<'s, '_>,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<Way<'s>, ProxyError> {
    let snapshot = reception.snapshot;
    let listener = &snapshot.listeners[reception.listener];
    if !listener.is_forward {
        let (host, path) = (&checked.host, &checked.path.canonical);
        let routes = &snapshot.routes;
        let matched = routes.find(reception.listener, host, path, &head.method);
        let matched = matched.ok_or_else(no_route)?;
        return Ok(Way::Routed(RouteTaken::written(&matched), Forwarded::No));
    }
    let (way, scheme) = destination::find_way(reception, checked, head)?;
    if let Way::Routed(taken, _) = &way
        && snapshot.upstreams[taken.upstream as usize].injects()
    {
        admit_browsers(listener, scheme, checked, head)?;
    }
    Ok(way)
}

#[cold]
fn no_route() -> ProxyError {
    ProxyError::new(
        ErrorKind::NoRoute,
        "no route matches this host, path and method; add one to [[routes]], or an upstream to the listener",
    )
}
