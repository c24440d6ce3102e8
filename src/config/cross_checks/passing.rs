//! What may pass by forward and redirected listeners, as far as hosts say.

use super::super::draft::Draft;
use super::super::settings::{EgressAction, EgressRule, Forwarding, HostPattern};

/// Whether what nothing matches may pass by a forward listener, to some host at least.
pub(super) fn may_pass(draft: &Draft, name: &str, forward: &Forwarding) -> bool {
    may_pass_to(draft, name, forward, |_| true)
}

/// The same of hosts for which a rule counts that names one of these.
pub(super) fn may_pass_to(
    draft: &Draft,
    name: &str,
    forward: &Forwarding,
    names: impl Fn(&HostPattern) -> bool,
) -> bool {
    let passes = |rule: &EgressRule| {
        rule.action == EgressAction::Pass && rule.is_for(name) && rule.hosts.iter().any(&names)
    };
    forward.unmatched == EgressAction::Pass
        || draft.egress_rules.iter().any(|draft| passes(&draft.rule))
}

/// Whether a pattern of a rule, which stands for names of any depth, has a host in common with what leads to an upstream.
pub(super) fn covers(rule: &HostPattern, led: &HostPattern) -> bool {
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
