//! What does not fit together about what may leave.

use std::collections::HashMap;

use super::super::draft::{Draft, DraftRule};
use super::super::report::{Report, SourceSpan};
use super::super::settings::forward::leads_to;
use super::super::settings::{EgressAction, EgressRule, Forwarding, HostPattern, Upstream};
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
                    && is_led_to(draft, &rule.rule, name)
                    && let Some(own) = own_host(upstream, host)
                {
                    report_host(report, place, host, (name, &own));
                }
            }
        }
    }
}

/// Whether a listener that the rule is for leads to the upstream.
fn is_led_to(draft: &Draft, rule: &EgressRule, upstream: &str) -> bool {
    let routed = |listener: &str| {
        let mut routes = draft.routes.iter();
        routes.any(|(route, _)| {
            route.upstream == upstream
                && route
                    .listener
                    .as_deref()
                    .is_none_or(|name| name == listener)
        })
    };
    draft.forward_listeners.iter().any(|((name, forward), _)| {
        rule.is_for(name) && (leads_to(&forward.upstreams, upstream) || routed(name))
    })
}

/// The name of the upstream that the pattern matches, at any depth.
fn own_host(upstream: &Upstream, pattern: &HostPattern) -> Option<String> {
    let mut own = upstream.destinations().map(|(_, host, _)| host);
    own.find(|own| match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == own,
        HostPattern::Wildcard(parent) => own
            .strip_suffix(parent.as_str())
            .is_some_and(|front| front.ends_with('.')),
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
