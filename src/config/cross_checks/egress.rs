//! What does not fit together about what may leave.

mod addresses;
mod coverage;
mod effects;
mod taken;

use super::super::draft::{Draft, DraftRule, Tables};
use super::super::report::{Report, SourceSpan};
use super::super::settings::forward::leads_to;
use super::super::settings::{EgressAction, EgressRule, HostPattern, Route, Upstream};
use super::super::words::{QuotedWord, did_you_mean};
use super::passing::covers;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    coverage::check(draft, report);
    addresses::check(draft, report);
    hosts_with_credentials(draft, report);
    taken::check(draft, report);
    listeners_of_rules(draft, report);
    // One with a mistake may be the one that is meant.
    if !draft.are_whole(&[Tables::Listeners]) {
        return;
    }
    effects::check(draft, report);
    if let (Some(first), true) = (
        draft.egress_rules.first(),
        draft.forward_listeners.is_empty(),
    ) {
        let help =
            "they are for listeners of `kind` \"forward\" or \"redirected\", and there is none";
        report.warning(&first.place, "the rules of [egress] have no effect", help);
    }
}

/// That a listener exists is checked with all other names.
fn listeners_of_rules(draft: &Draft, report: &Report<'_>) {
    let is_forward = |name: &str| {
        let mut listeners = draft.forward_listeners.iter();
        listeners.any(|((forward, _), _)| forward == name)
    };
    // That of one with a mistake may not be known.
    let is_reverse = |name: &str| {
        let mut listeners = draft.listeners.iter();
        listeners.any(|(known, _)| known.name == name) && !is_forward(name)
    };
    for rule in &draft.egress_rules {
        let named = rule.rule.listeners.iter().zip(&rule.listeners);
        for (name, place) in named.filter(|(name, _)| is_reverse(name)) {
            let message = format!(
                "listener {} is neither a forward nor a redirected listener",
                QuotedWord(name)
            );
            let forward = draft.forward_listeners.iter();
            let close = did_you_mean(name, forward.map(|((name, _), _)| name.as_str()));
            let help = close.unwrap_or_else(|| {
                "only requests of such listeners go where no route leads".to_owned()
            });
            report.error(place, message, help);
        }
    }
}

/// What passes to the host of an upstream that has a credential goes there without its token: that has to be
/// meant.
fn hosts_with_credentials(draft: &Draft, report: &Report<'_>) {
    let passing = |rule: &&DraftRule| rule.rule.action == EgressAction::Pass;
    for rule in draft.egress_rules.iter().filter(passing) {
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            for (name, slot) in &draft.upstreams {
                if let Some((Some(upstream), _)) = slot
                    && upstream.has_credentials()
                    && let Some(own) = covered_host(draft, &rule.rule, upstream, host)
                {
                    report_host(report, place, host, (name, &own));
                }
            }
        }
    }
}

/// A host that the pattern of a rule covers, and by which a listener of the rule leads to the upstream: an own name of it,
/// or the host of a route.
fn covered_host(
    draft: &Draft,
    rule: &EgressRule,
    upstream: &Upstream,
    pattern: &HostPattern,
) -> Option<String> {
    let listeners = draft.forward_listeners.iter();
    let mut listeners = listeners.filter(|((name, _), _)| rule.is_for(name));
    let routes = || {
        let routes = draft.routes.iter().map(|(route, _)| route);
        routes.filter(|route| route.upstream == upstream.name)
    };
    let is_for = |route: &Route, name: &str| route.listener.as_deref().is_none_or(|it| it == name);
    listeners.find_map(|((name, forward), _)| {
        let mut routes = routes().filter(|route| is_for(route, name)).peekable();
        let is_led_to = leads_to(&forward.upstreams, &upstream.name) || routes.peek().is_some();
        let own = is_led_to.then(|| upstream.destinations());
        let own = own.into_iter().flatten();
        let mut own = own.map(|(_, host, _)| HostPattern::Exact(host.into()));
        let own = own.find(|own| covers(pattern, own));
        let routed = || {
            routes
                .map(|route| &route.host)
                .find(|host| covers(pattern, host))
        };
        own.or_else(|| routed().cloned())
            .map(|host| host.to_string())
    })
}

fn report_host(
    report: &Report<'_>,
    place: &SourceSpan,
    pattern: &HostPattern,
    (upstream, host): (&str, &str),
) {
    if matches!(pattern, HostPattern::Exact(_)) {
        let message = format!(
            "{} is the host of upstream {}, whose token does not go along",
            QuotedWord(host),
            QuotedWord(upstream)
        );
        let help = "tunnels to it, and what its `url` does not begin with, pass without a token";
        report.warning(place, message, help);
    } else {
        let message = format!(
            "{} covers {}, the host of upstream {}, whose token would not go along",
            QuotedWord(&pattern.to_string()),
            QuotedWord(host),
            QuotedWord(upstream)
        );
        let help = "name each host that may pass, and this one only if that is meant";
        report.error(place, message, help);
    }
}
