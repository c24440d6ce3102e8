//! Whose token goes with whose request.

use super::super::super::draft::Tables;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::caller::EVERY_CALLER;
use super::super::super::settings::{Route, Upstream};
use super::super::super::words::QuotedWord;
use super::admission::{ListenerCallers, Listeners};
use super::admitted::{Admitted, routes_by_upstream};
use super::audience::names;

/// What leads to upstreams.
const WAYS: [Tables; 2] = [Tables::Listeners, Tables::Routes];

/// Reports `credentials` that no request has a caller for, that are never chosen, and that are missing.
pub(super) fn check(listeners: &Listeners<'_>, report: &Report<'_>) {
    let draft = listeners.draft;
    let routes = routes_by_upstream(draft);
    for (name, slot) in &draft.upstreams {
        let Some((Some(upstream), place)) = slot else {
            continue;
        };
        let routes = routes.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let mut reaching = listeners.reaching(name, routes);
        if upstream.credentials.is_empty() {
            if upstream.forward_caller.is_some()
                && draft.are_whole(&WAYS)
                && reaching.clone().next().is_some()
                && reaching.all(ListenerCallers::identifies_nobody)
            {
                let message = format!(
                    "`forward_caller` of upstream {} has no effect",
                    QuotedWord(name)
                );
                let help = "none of the listeners that lead to it has `callers`";
                report.warning(place, message, help);
            }
            continue;
        }
        if let Some(open) = reaching.find(|listener| listener.identifies_nobody()) {
            let message = format!(
                "`credentials` of upstream {} needs to know the caller, and listener {} identifies nobody",
                QuotedWord(name),
                QuotedWord(&open.listener.name)
            );
            let help = "give that listener `callers`, or do not let it lead to this upstream";
            report.error(place, message, help);
            continue;
        }
        if draft.are_whole(&WAYS) {
            let admitted = Admitted::to(name, routes, listeners);
            never_chosen((upstream, place), &admitted, report);
        }
        if draft.are_whole(&[Tables::Upstreams]) {
            missing((upstream, place), routes, listeners, report);
        }
    }
}

fn never_chosen(
    (upstream, place): (&Upstream, &SourceSpan),
    admitted: &Admitted<'_, '_>,
    report: &Report<'_>,
) {
    for (caller, credential) in &upstream.credentials {
        let (chosen, help) = if caller == EVERY_CALLER {
            (
                admitted.serves_others_than(&upstream.credentials),
                "every caller that may use the upstream has its own",
            )
        } else {
            let help = if admitted.lets_in(caller) {
                "none of the listeners that let this caller reach the upstream can know it"
            } else {
                "no listener and no route lets this caller reach the upstream"
            };
            (admitted.serves(caller), help)
        };
        if !chosen {
            let message = format!(
                "credential {} is never chosen for caller {} of upstream {}",
                QuotedWord(credential),
                QuotedWord(caller),
                QuotedWord(&upstream.name)
            );
            report.warning(place, message, help);
        }
    }
}

/// A route that names a caller promises more than the upstream keeps. That it lets nobody through is said of the route.
fn missing<'d>(
    (upstream, place): (&'d Upstream, &SourceSpan),
    routes: &[&Route],
    listeners: &Listeners<'d>,
    report: &Report<'_>,
) {
    if upstream.credentials.contains_key(EVERY_CALLER) {
        return;
    }
    let lets_through = |route: &&&Route| {
        let way = listeners.way_of(route);
        way.is_some_and(|way| listeners.lets_through(way, &route.callers, Some(upstream)))
    };
    let routes = routes.iter().filter(lets_through);
    let mut named = routes.flat_map(|route| names(&route.callers));
    if let Some(caller) = named.find(|caller| !upstream.credentials.contains_key(*caller)) {
        let message = format!(
            "caller {} may use a route to upstream {}, which has no credential for it",
            QuotedWord(caller),
            QuotedWord(&upstream.name)
        );
        let help =
            "every such request is refused: name the caller in `credentials`, or not in the route";
        report.warning(place, message, help);
    }
}
