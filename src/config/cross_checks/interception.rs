//! What does not fit together about interception.

use std::fs;

use super::super::draft::{Draft, Tables};
use super::super::report::{Report, SourceSpan};
use super::super::settings::forward::leads_to;
use super::super::settings::{
    Forwarding, HostPattern, Interception, Listener, Route, Scheme, Upstream,
};
use super::super::words::QuotedWord;
use crate::ca::CHAIN_FILE;
use crate::files;

/// A listener that intercepts, by its name.
type Intercepting<'a> = (&'a str, &'a Forwarding);

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let listeners = draft.forward_listeners.iter();
    let intercepting = listeners.filter(|((_, forward), _)| forward.intercept);
    let intercepting: Vec<_> = intercepting.collect();
    let Some((settings, place)) = &draft.interception else {
        for (_, place) in intercepting {
            let message = "`intercept` without a CA";
            let help =
                "[interception] is missing: it needs at least `domains`, such as [\"example.com\"]";
            report.error(place, message, help);
        }
        return;
    };
    if intercepting.is_empty() && draft.are_whole(&[Tables::Listeners]) {
        let help = "no listener has `intercept = true`";
        report.warning(place, "[interception] has no effect", help);
    }
    let Some(settings) = settings else { return };
    let intercepting: Vec<Intercepting<'_>> = intercepting
        .into_iter()
        .map(|((name, forward), _)| (name.as_str(), forward))
        .collect();
    names_of_upstreams(draft, report, settings, &intercepting);
    hosts_of_routes(draft, report, settings, &intercepting);
    for (listener, place) in &draft.listeners {
        ca_of_the_network(report, settings, listener, place);
    }
}

/// The own names of upstreams, for which a certificate would be needed.
fn names_of_upstreams(
    draft: &Draft,
    report: &Report<'_>,
    settings: &Interception,
    intercepting: &[Intercepting<'_>],
) {
    for (name, slot) in &draft.upstreams {
        let Some((Some(upstream), place)) = slot else {
            continue;
        };
        let is_led_to = |(_, forward): &Intercepting<'_>| leads_to(&forward.upstreams, name);
        if !intercepting.iter().any(is_led_to) {
            continue;
        }
        let outside = upstream
            .destinations()
            .find(|(scheme, host, _)| *scheme == Scheme::Https && !settings.covers(host));
        if let Some((_, host, _)) = outside {
            let message = format!(
                "upstream {} is called {}, which is not in `domains` of [interception]",
                QuotedWord(name),
                QuotedWord(&host)
            );
            report.error(place, message, OUTSIDE);
        }
    }
}

const OUTSIDE: &str = "clients would be shown no certificate for it: add it there, or leave it out of what \
                       listeners with `intercept` lead to";

/// The hosts of routes, likewise. What a route for any host leads to is judged when it is asked for.
fn hosts_of_routes(
    draft: &Draft,
    report: &Report<'_>,
    settings: &Interception,
    intercepting: &[Intercepting<'_>],
) {
    let is_https = |route: &Route| {
        let slot = draft.upstreams.get(route.upstream.as_str());
        let upstream = slot.and_then(|slot| slot.as_ref()?.0.as_ref());
        upstream.is_some_and(|upstream: &Upstream| upstream.url.scheme() == "https")
    };
    for (route, place) in &draft.routes {
        let is_for = |(name, _): &Intercepting<'_>| {
            route.listener.as_ref().is_none_or(|known| known == name)
        };
        let host = match &route.host {
            HostPattern::Any => continue,
            HostPattern::Exact(host) | HostPattern::Wildcard(host) => host,
        };
        if intercepting.iter().any(is_for) && is_https(route) && !settings.covers(host) {
            let message = format!(
                "the route is for {}, which is not in `domains` of [interception]",
                QuotedWord(&route.host.to_string())
            );
            report.error(place, message, OUTSIDE);
        }
    }
}

/// Replicas must not each make a CA: clients would trust one of them.
fn ca_of_the_network(
    report: &Report<'_>,
    settings: &Interception,
    listener: &Listener,
    place: &SourceSpan,
) {
    let intercepts = listener
        .forward
        .as_ref()
        .is_some_and(|forward| forward.intercept);
    if !intercepts || !listener.address.is_on_network() {
        return;
    }
    let chain = settings.key_directory.join(CHAIN_FILE);
    let named = chain.clone();
    let found = files::run_within_timeout(&chain, move || Ok(fs::metadata(named).is_ok()));
    // One that does not answer is reported with the directory.
    if !found.unwrap_or(true) {
        let message = format!(
            "listener {} can be reached from the network, and there is no CA yet",
            QuotedWord(&listener.name)
        );
        let help = "make it beforehand, so that not every replica makes its own: sidebearer ca create --domain DOMAIN --out KEY_DIRECTORY";
        report.error(place, message, help);
    }
}
