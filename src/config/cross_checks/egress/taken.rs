//! Rules that let less pass than they say, since a route for any host takes it.

use super::super::super::draft::{Draft, DraftRule};
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{EgressAction, HostPattern, Route};
use super::super::super::words::QuotedWord;
use super::super::led_to::can_take;

/// Reports it. What a route leads to goes to its upstream, perhaps with a token, whatever rules say of the host.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let taking = routes_for_any_host(draft);
    let passing = |rule: &&DraftRule| rule.rule.action == EgressAction::Pass;
    for rule in draft.egress_rules.iter().filter(passing) {
        let mut taking = taking.iter();
        let taken = taking.find(|(listener, ..)| rule.rule.is_for(listener));
        let Some((listener, route, written)) = taken else {
            continue;
        };
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            let message = format!(
                "a route for any host of listener {} takes requests for {}, so that they do not pass",
                QuotedWord(listener),
                QuotedWord(&host.to_string())
            );
            let upstream = draft
                .upstreams
                .get(route.upstream.as_str())
                .and_then(|slot| slot.as_ref()?.0.as_ref());
            let with_token = match upstream {
                Some(upstream) if upstream.has_credentials() => " with its token",
                _ => "",
            };
            let help = format!(
                "they go to upstream {}{with_token} (see {}): give the route a `host`, or each of them a listener of its own",
                QuotedWord(&route.upstream),
                report.locate(written)
            );
            report.warning(place, message, help);
        }
    }
}

/// The first route for any host of each forward or redirected listener that has one.
fn routes_for_any_host(draft: &Draft) -> Vec<(&str, &Route, &SourceSpan)> {
    let listeners = draft.forward_listeners.iter();
    let found = listeners.filter_map(|((listener, _), _)| {
        let mut routes = draft.routes.iter();
        let (route, place) = routes
            .find(|(route, _)| route.host == HostPattern::Any && can_take(listener, route))?;
        Some((listener.as_str(), route, place))
    });
    found.collect()
}
