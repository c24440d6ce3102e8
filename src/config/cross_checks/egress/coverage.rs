//! Rules that never decide, since others come first.

use std::collections::{BTreeSet, HashMap};

use super::super::super::draft::{Draft, DraftRule, Tables};
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::forward::leads_to;
use super::super::super::settings::{
    CallerList, EgressAction, EgressRule, Enforcement, Forwarding, HostPattern, Listener,
};
use super::super::super::words::QuotedWord;
use super::super::passing::{covers, may_pass_to};

/// One host of a rule, and where it is written.
type HostOfRule<'d> = (&'d DraftRule, &'d SourceSpan);

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    // What one with a mistake leads to, or decides about, is not known.
    let ways_are_known = draft.are_whole(&[Tables::Listeners, Tables::Egress]);
    let upstreams = upstreams_by_host(draft);
    let mut seen: HashMap<&HostPattern, Vec<HostOfRule<'_>>> = HashMap::new();
    for rule in &draft.egress_rules {
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            let earlier = seen.entry(host).or_default();
            let shown = host.to_string();
            let message = || format!("this rule never decides about {}", QuotedWord(&shown));
            if let Some((_, first)) = earlier.iter().find(|first| is_covered_by(rule, first)) {
                let help = format!("the one at {} comes first", report.locate(first));
                report.error(place, message(), help);
            } else if draft.listeners_are_known()
                && let Some(first) = covered_together(draft, &rule.rule, earlier)
            {
                // Not an error: it may be so by a list of callers of a listener, and who shortens that wants it obeyed.
                let first: Vec<_> = first.iter().map(|place| report.locate(place)).collect();
                let help = format!(
                    "others come first for all of its listeners and callers: {}",
                    first.join(" and ")
                );
                report.warning(place, message(), help);
            }
            earlier.push((rule, place));
            if ways_are_known && rule.rule.action == EgressAction::Deny {
                denied_upstream(draft, &upstreams, &rule.rule, (host, place), report);
            }
        }
    }
}

/// Whether one earlier rule decides whatever this one could, whoever the listeners let in.
fn is_covered_by(rule: &DraftRule, (first, _): &HostOfRule<'_>) -> bool {
    let (rule, first) = (&rule.rule, &first.rule);
    let all = first.listeners.is_empty();
    let named = !rule.listeners.is_empty() && rule.listeners.iter().all(|name| first.is_for(name));
    (all || named) && first.callers.includes(&rule.callers)
}

/// The earlier rules that decide together whatever this one could, if they do.
fn covered_together<'d>(
    draft: &Draft,
    rule: &EgressRule,
    earlier: &[HostOfRule<'d>],
) -> Option<Vec<&'d SourceSpan>> {
    if earlier.is_empty() {
        return None;
    }
    let listeners = draft.listeners.iter().map(|(listener, _)| listener);
    let listeners = listeners.filter(|it| it.forward.is_some() && rule.is_for(&it.name));
    let mut deciding = Vec::new();
    let mut clients = 0;
    for listener in listeners {
        // There the first rule decides that some caller of its own may pass.
        if listener.enforcement == Enforcement::Report {
            return None;
        }
        for client in clients_of(draft, listener) {
            if !decides_about(&rule.callers, client) {
                continue;
            }
            clients += 1;
            let decides = |first: &&HostOfRule<'_>| {
                let first = &first.0.rule;
                first.is_for(&listener.name) && decides_about(&first.callers, client)
            };
            let (_, place) = earlier.iter().find(decides)?;
            if !deciding.contains(place) {
                deciding.push(place);
            }
        }
    }
    (clients > 0).then_some(deciding)
}

/// Who uses a listener: callers by their names, or anybody.
fn clients_of<'d>(draft: &'d Draft, listener: &'d Listener) -> Vec<Option<&'d str>> {
    match &listener.callers {
        CallerList::Unsaid => vec![None],
        CallerList::Any => draft
            .callers
            .keys()
            .map(|name| Some(name.as_str()))
            .collect(),
        CallerList::Named(names) => names.iter().map(|name| Some(name.as_str())).collect(),
    }
}

fn decides_about(callers: &CallerList, client: Option<&str>) -> bool {
    callers.is_unsaid() || client.is_some_and(|client| callers.has(client))
}

/// The names of upstreams by the hosts that are their own.
fn upstreams_by_host(draft: &Draft) -> HashMap<String, BTreeSet<&str>> {
    let mut by_host: HashMap<String, BTreeSet<&str>> = HashMap::new();
    for (name, slot) in &draft.upstreams {
        if let Some((Some(upstream), _)) = slot {
            for (_, host, _) in upstream.destinations() {
                by_host.entry(host).or_default().insert(name);
            }
        }
    }
    by_host
}

/// A rule that denies the very host of an upstream refuses none of the requests that lead to it. That is worth a word where
/// it refuses nothing else either.
fn denied_upstream(
    draft: &Draft,
    upstreams: &HashMap<String, BTreeSet<&str>>,
    rule: &EgressRule,
    (host, place): (&HostPattern, &SourceSpan),
    report: &Report<'_>,
) {
    let HostPattern::Exact(name) = host else {
        return;
    };
    let of_rule = |(listener, _): &&(String, Forwarding)| rule.is_for(listener);
    let listeners = draft.forward_listeners.iter().map(|(listener, _)| listener);
    let listeners: Vec<_> = listeners.filter(of_rule).collect();
    let passes_otherwise = |(listener, forward): &&(String, Forwarding)| {
        may_pass_to(draft, listener, forward, |other| covers(other, host))
    };
    let all_lead_to = |upstream: &&&str| {
        let mut listeners = listeners.iter();
        listeners.all(|(_, forward)| leads_to(&forward.upstreams, upstream))
    };
    let upstream = upstreams
        .get(name.as_str())
        .and_then(|known| known.iter().find(all_lead_to));
    if let Some(upstream) = upstream
        && !listeners.is_empty()
        && !listeners.iter().any(passes_otherwise)
    {
        let message = format!(
            "this rule refuses no request for {}, the host of upstream {}",
            QuotedWord(name),
            QuotedWord(upstream)
        );
        let help = "rules decide only about what no route leads to: leave the upstream out of `upstreams` of the listener \
                    if it may not be used there";
        report.warning(place, message, help);
    }
}
