//! What is decided about a request by its head and the way that it has come. `explain` asks the same.

use http::request::Parts;

use super::browser_guard::{self, BrowserRefusal};
use super::destination::{self, Way};
use super::error::{ErrorKind, ProxyError};
use super::reception::Reception;
use super::request::{self, Checked};
use super::role::ProxyRole;
use super::route_taken::RouteTaken;
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

/// Refuses hosts that are not the listener's, and web pages that may not use it where they are refused wherever they want
/// to go.
///
/// # Errors
/// `browser_request`, or `no_route` for a host that is not the listener's.
pub fn admit_browsers(
    listener: &ListenerRules,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<(), ProxyError> {
    let Some(guard) = &listener.browser_guard else {
        return Ok(());
    };
    let admitted = if guard.guards_only_tokens {
        browser_guard::admit_host(guard, checked)
    } else {
        browser_guard::admit(guard, listener.scheme(), checked, &head.headers)
    };
    admitted.map_err(BrowserRefusal::to_listener_error)
}

/// The way of a request whose host and page may use the listener.
///
/// # Errors
/// As [`admit_browsers`] and [`find_way`].
pub fn lead<'s>(
    reception: &Reception<'s, '_>,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<Way<'s>, ProxyError> {
    // Behind identification: its answers tell which hosts there are.
    let listener = &reception.snapshot.listeners[reception.listener];
    admit_browsers(listener, checked, head)?;
    find_way(reception, checked, head)
}

/// The way that a request takes. Web pages that may not use the listener are refused where it leads to a token.
///
/// # Errors
/// `no_route`; by a forward listener as [`destination::find_way`]; `browser_request`.
pub fn find_way<'s>(
    reception: &Reception<'s, '_>,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<Way<'s>, ProxyError> {
    let snapshot = reception.snapshot;
    let listener = &snapshot.listeners[reception.listener];
    let (way, scheme) = if listener.is_forward {
        destination::find_way(reception, checked, head)?
    } else {
        let (host, path) = (&checked.host, &checked.path.canonical);
        let routes = &snapshot.routes;
        let matched = routes.find(reception.listener, host, path, &head.method);
        let matched = matched.ok_or_else(no_route)?;
        let way = Way::Routed(RouteTaken::written(&matched), ProxyRole::Reverse);
        (way, listener.scheme())
    };
    if let Some(guard) = &listener.browser_guard
        && guard.guards_only_tokens
        && let Way::Routed(taken, _) = &way
        && snapshot.upstreams[taken.upstream as usize].injects()
    {
        browser_guard::admit_page(guard, scheme, checked, &head.headers)
            .map_err(BrowserRefusal::to_listener_error)?;
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
