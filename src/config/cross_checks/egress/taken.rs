//! Rules that let less pass than they say, since a route for any host takes it.

use std::collections::HashSet;

use super::super::super::draft::{Draft, DraftRule};
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::forward::leads_to;
use super::super::super::settings::{EgressAction, Forwarding, HostPattern, Route, Upstream};
use super::super::super::words::QuotedWord;

/// Reports those that this is so for on each of their listeners. What else they are for passes.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let listeners = draft.forward_listeners.iter();
    let listeners =
        listeners.map(|((name, forward), _)| (name, AnyHostRoutes::of(draft, name, forward)));
    let listeners: Vec<_> = listeners.collect();
    let passing = |rule: &&DraftRule| rule.rule.action == EgressAction::Pass;
    for rule in draft.egress_rules.iter().filter(passing) {
        let of_rule = listeners.iter().filter(|(name, _)| rule.rule.is_for(name));
        let of_rule: Option<Vec<_>> = of_rule.map(|(_, takes)| takes.as_ref()).collect();
        let Some(of_rule) = of_rule else {
            continue;
        };
        let Some(first) = of_rule.first() else {
            continue;
        };
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            if of_rule.iter().all(|takes| takes.takes_some_for(host)) {
                let all = of_rule.iter().all(|takes| takes.takes_tls_for(host));
                first.report(host, all, place, report);
            }
        }
    }
}

/// What the routes for any host of a listener take.
struct AnyHostRoutes<'d> {
    listener: &'d str,
    /// Where the one for every path and method is written.
    place: &'d SourceSpan,
    upstream: &'d Upstream,
    /// Whether a rule that names the very host goes before them for TLS.
    gives_way_to_exact: bool,
    /// The hosts that something else leads on, whatever is asked for.
    elsewhere: HashSet<String>,
}

impl<'d> AnyHostRoutes<'d> {
    /// `None` if there is none for every path and method, or its upstream is not known.
    fn of(draft: &'d Draft, listener: &'d str, forward: &Forwarding) -> Option<Self> {
        let is_whole = |route: &Route| route.path == "/" && route.methods.is_empty();
        let is_of_listener = |of: Option<&str>| of == Some(listener);
        // Without a listener it would be for none of these.
        let for_any = || {
            let routes = draft.routes.iter();
            routes.filter(|(route, _)| {
                route.host == HostPattern::Any && is_of_listener(route.listener.as_deref())
            })
        };
        let (route, place) = for_any().find(|(route, _)| is_whole(route))?;
        let upstream_of = |route: &Route| {
            let slot = draft.upstreams.get(route.upstream.as_str())?;
            slot.as_ref()?.0.as_ref()
        };
        let adds_a_token = |upstream: &Upstream| leads_tls(upstream) && upstream.has_credentials();
        let mut upstreams = for_any().filter_map(|(route, _)| upstream_of(route));
        let named = draft.routes.iter().filter_map(|(route, _)| {
            let of = route.listener.as_deref();
            match &route.host {
                HostPattern::Exact(name) if of.is_none() || is_of_listener(of) => {
                    is_whole(route).then(|| name.to_string())
                }
                _ => None,
            }
        });
        let sound = draft.upstreams.values().flatten();
        let own = sound.filter_map(|(slot, _)| slot.as_ref());
        let own =
            own.filter(|own| leads_to(&forward.upstreams, &own.name) && own.base_path() == "/");
        let own = own.flat_map(|own| own.destinations().map(|(_, host, _)| host));
        Some(Self {
            listener,

            place,
            upstream: upstream_of(route)?,
            gives_way_to_exact: forward.intercept || upstreams.any(adds_a_token),
            elsewhere: named.chain(own).collect(),
        })
    }

    /// Whether any request for such a host is taken.
    fn takes_some_for(&self, host: &HostPattern) -> bool {
        !matches!(host, HostPattern::Exact(name) if self.elsewhere.contains(name.as_str()))
    }

    /// Whether TLS to such a host is, besides plain http.
    fn takes_tls_for(&self, host: &HostPattern) -> bool {
        let is_exact = matches!(host, HostPattern::Exact(_));
        leads_tls(self.upstream) && !(is_exact && self.gives_way_to_exact)
    }

    fn report(&self, host: &HostPattern, all: bool, place: &SourceSpan, report: &Report<'_>) {
        let what = if all {
            "requests"
        } else {
            "plain http requests"
        };
        let message = format!(
            "a route for any host of listener {} takes {what} for {}, so that they do not pass",
            QuotedWord(self.listener),
            QuotedWord(&host.to_string())
        );
        let with_token = if self.upstream.has_credentials() {
            " with its token"
        } else {
            ""
        };
        let help = format!(
            "they go to upstream {}{with_token} (see {}): give the route a `host`, or each of them a listener of its own",
            QuotedWord(&self.upstream.name),
            report.locate(self.place)
        );
        report.warning(place, message, help);
    }
}

/// Whether https leads there: never to an upstream without TLS.
fn leads_tls(upstream: &Upstream) -> bool {
    upstream.url.scheme() == "https"
}
