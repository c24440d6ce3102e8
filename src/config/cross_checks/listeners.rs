//! Keys of listeners that have no effect by what the listener leads to.

use super::super::draft::{Draft, Tables};
use super::super::parse::listener::EVERY_HOST;
use super::super::report::{Report, SourceSpan};
use super::super::settings::{HostPattern, ListenAddress, Listener, Route, Upstream};
use super::super::words::QuotedWord;
use super::led_to;
use crate::host::canonical_host;

/// The permissions by which others than the owner of a unix socket connect to it.
const OF_OTHERS: u32 = 0o022;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    interception_of_nothing(draft, report);
    routes_for_any_host(draft, report);
    for (listener, place) in &draft.listeners {
        browsers_without_tokens(draft, listener, place, report);
        users_kept_out(draft, listener, place, report);
        if listener.forward.is_none() {
            hosts_without_a_route(draft, listener, place, report);
        }
    }
}

fn interception_of_nothing(draft: &Draft, report: &Report<'_>) {
    if draft.interception.is_none() {
        return;
    }
    let is_https = |upstream: &&Upstream| upstream.url.scheme() == "https";
    for ((name, forward), place) in &draft.forward_listeners {
        let led_to = led_to::upstreams(draft, name, forward);
        if forward.intercept && led_to.is_some_and(|led_to| !led_to.iter().any(is_https)) {
            let message = format!("`intercept` of listener {} has no effect", QuotedWord(name));
            let help = "no upstream that it leads to has an https:// URL";
            report.warning(place, message, help);
        }
    }
}

/// On forward and redirected listeners a route for any host has to name its listener.
fn routes_for_any_host(draft: &Draft, report: &Report<'_>) {
    let is_forward = |name: &str| {
        let mut listeners = draft.forward_listeners.iter();
        listeners.any(|((forward, _), _)| forward == name)
    };
    let mut listeners = draft.listener_names.iter();
    if draft.forward_listeners.is_empty()
        || listeners.any(|(name, _)| !is_forward(name))
        || !draft.are_whole(&[Tables::Listeners])
    {
        return;
    }
    let for_none = |route: &Route| route.listener.is_none() && route.host == HostPattern::Any;
    for (_, place) in draft.routes.iter().filter(|(route, _)| for_none(route)) {
        let help = "on forward and redirected listeners, of which there are no others, a route is for any host only if it \
                    names its `listener`: name that, or the `host`";
        report.warning(place, "this route matches no request", help);
    }
}

/// Pages are refused only where a token would be put in, but for reverse listeners on loopback, which every page can
/// reach.
fn browsers_without_tokens(
    draft: &Draft,
    listener: &Listener,
    place: &SourceSpan,
    report: &Report<'_>,
) {
    let key = match (listener.allow_browsers, listener.allow_origins.is_empty()) {
        (true, _) => "allow_browsers",
        (false, false) => "allow_origins",
        (false, true) => return,
    };
    let Some(forward) = &listener.forward else {
        return;
    };
    let led_to = led_to::upstreams(draft, &listener.name, forward);
    // With a mistake, what names credentials may have been left out.
    let whole = draft.are_whole(&[Tables::Upstreams]);
    let has_tokens = |upstream: &&Upstream| !whole || upstream.has_credentials();
    if led_to.is_some_and(|led_to| !led_to.iter().any(has_tokens)) {
        let name = QuotedWord(&listener.name);
        let message = format!("`{key}` of listener {name} has no effect");
        let help = "pages are refused only where a token is put in, and no upstream that it leads to has a credential";
        report.warning(place, message, help);
    }
}

/// Only the owner of the socket may connect, and the callers are several users. Root may, whatever the mode.
fn users_kept_out(draft: &Draft, listener: &Listener, place: &SourceSpan, report: &Report<'_>) {
    let ListenAddress::Unix { mode, .. } = listener.address else {
        return;
    };
    // A mode with a mistake stands for none.
    if mode == 0 || mode & OF_OTHERS != 0 {
        return;
    }
    let callers = draft.sound_callers().map(|(caller, _)| caller);
    let callers = callers.filter(|caller| listener.callers.has(&caller.name));
    let mut users = callers.filter(|caller| caller.user.is_some_and(|uid| uid != 0));
    if let (Some(first), Some(second)) = (users.next(), users.next()) {
        let message = format!(
            "`mode` of listener {} keeps caller {} or {} out",
            QuotedWord(&listener.name),
            QuotedWord(&first.name),
            QuotedWord(&second.name)
        );
        let help = format!(
            "\"{mode:04o}\" lets one user connect, and these are two: expected one such as \"0660\""
        );
        report.warning(place, message, help);
    }
}

/// A name that is accepted and leads nowhere.
fn hosts_without_a_route(
    draft: &Draft,
    listener: &Listener,
    place: &SourceSpan,
    report: &Report<'_>,
) {
    if !led_to::routes_are_known(draft) || listener.hosts.iter().any(|host| host == EVERY_HOST) {
        return;
    }
    let routes = draft.routes.iter().map(|(route, _)| route);
    let is_for = |route: &&Route| {
        let name = route.listener.as_ref();
        name.is_none_or(|name| *name == listener.name)
    };
    let routes: Vec<_> = routes.filter(is_for).collect();
    let is_matched = |host: &&String| {
        let host = canonical_host(host);
        routes.iter().any(|route| matches(&route.host, &host))
    };
    // That there is none at all is said of the listener.
    if routes.is_empty() {
        return;
    }
    if let Some(host) = listener.hosts.iter().find(|host| !is_matched(host)) {
        let message = format!(
            "`hosts` of listener {} names {}, and no route is for it",
            QuotedWord(&listener.name),
            QuotedWord(host)
        );
        let help = "requests for it are answered with 404: add a route, or leave it out";
        report.warning(place, message, help);
    }
}

fn matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest == parent)
        }
    }
}
