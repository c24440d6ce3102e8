//! What does not fit together about what may leave.

use std::collections::HashMap;

use super::super::draft::{Draft, DraftRule};
use super::super::report::{Report, SourceSpan};
use super::super::settings::forward::leads_to;
use super::super::settings::{EgressAction, EgressRule, Forwarding, HostPattern, Route, Upstream};
use super::super::words::{QuotedWord, did_you_mean};

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    listeners_of_rules(draft, report);
    rules_without_effect(draft, report);
    hosts_with_credentials(draft, report);
    if let (Some(first), true) = (
        draft.egress_rules.first(),
        draft.forward_listeners.is_empty(),
    ) {
        let help =
            "they are for listeners of `kind` \"forward\" or \"redirected\", and there is none";
        report.warning(&first.place, "the rules of [egress] have no effect", help);
    }
}

/// Whether what nothing matches may pass by a forward listener, to some host at least.
pub(super) fn may_pass(draft: &Draft, name: &str, forward: &Forwarding) -> bool {
    let passes = |rule: &EgressRule| rule.action == EgressAction::Pass && rule.is_for(name);
    forward.unmatched == EgressAction::Pass
        || draft.egress_rules.iter().any(|draft| passes(&draft.rule))
}

/// That a listener exists is checked with all other names.
fn listeners_of_rules(draft: &Draft, report: &Report<'_>) {
    let is_forward = |name: &str| {
        let mut listeners = draft.forward_listeners.iter();
        listeners.any(|((forward, _), _)| forward == name)
    };
    let is_reverse = |name: &str| {
        draft.listener_names.iter().any(|(known, _)| known == name) && !is_forward(name)
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

/// A host that an earlier rule for the same listeners names, or the same rule.
fn rules_without_effect(draft: &Draft, report: &Report<'_>) {
    let mut seen: HashMap<&HostPattern, Vec<(&DraftRule, &SourceSpan)>> = HashMap::new();
    for rule in &draft.egress_rules {
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            let earlier = seen.entry(host).or_default();
            let covers = |(first, _): &&(&DraftRule, &SourceSpan)| {
                let all = first.rule.listeners.is_empty();
                let named = !rule.rule.listeners.is_empty()
                    && rule
                        .rule
                        .listeners
                        .iter()
                        .all(|name| first.rule.is_for(name));
                (all || named) && first.rule.callers.includes(&rule.rule.callers)
            };
            if let Some((_, first)) = earlier.iter().find(covers) {
                let message = format!(
                    "this rule never decides about {}",
                    QuotedWord(&host.to_string())
                );
                let help = format!("the one at {} comes first", report.locate(first));
                report.error(place, message, help);
            }
            earlier.push((rule, place));
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
        let mut own = own.map(|(_, host, _)| HostPattern::Exact(host));
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

/// Whether a pattern of a rule, which stands for names of any depth, has a host in common with what leads to an upstream.
fn covers(rule: &HostPattern, led: &HostPattern) -> bool {
    let is_below = |name: &str, parent: &str| {
        let front = name.strip_suffix(parent);
        front.is_some_and(|front| front.ends_with('.'))
    };
    match (rule, led) {
        // What nothing names is for no upstream in particular.
        (_, HostPattern::Any) => false,
        (HostPattern::Any, _) => true,
        (HostPattern::Exact(name), HostPattern::Exact(led)) => name == led,
        (HostPattern::Exact(name), HostPattern::Wildcard(parent)) => {
            name.split_once('.').is_some_and(|(_, rest)| rest == parent)
        }
        (HostPattern::Wildcard(parent), HostPattern::Exact(led)) => is_below(led, parent),
        (HostPattern::Wildcard(parent), HostPattern::Wildcard(led)) => {
            led == parent || is_below(led, parent)
        }
    }
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
