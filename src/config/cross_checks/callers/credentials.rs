//! Whose token goes with whose request.

use super::super::super::draft::Draft;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::caller::EVERY_CALLER;
use super::super::super::settings::{Route, Upstream};
use super::super::super::words::QuotedWord;
use super::admission::{Admitted, ListenerCallers, names, routes_by_upstream};

/// Reports `credentials` that no request has a caller for, that are never chosen, and that are missing.
pub(super) fn check(draft: &Draft, listeners: &[ListenerCallers<'_>], report: &Report<'_>) {
    let routes = routes_by_upstream(draft);
    for (name, slot) in &draft.upstreams {
        let Some((Some(upstream), place)) = slot else {
            continue;
        };
        let routes = routes.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let reaches = |listener: &&ListenerCallers<'_>| {
            listener.leads_to(name) || routes.iter().any(|route| listener.has(route))
        };
        let mut reaching = listeners.iter().filter(reaches);
        if upstream.credentials.is_empty() {
            if upstream.forward_caller.is_some()
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
        let admitted = Admitted::to(name, routes, listeners);
        never_chosen(draft, (upstream, place), &admitted, report);
        missing((upstream, place), routes, report);
    }
}

fn never_chosen(
    draft: &Draft,
    (upstream, place): (&Upstream, &SourceSpan),
    admitted: &Admitted<'_>,
    report: &Report<'_>,
) {
    let has_own = |caller: &str| upstream.credentials.contains_key(caller);
    let others = || {
        let mut others = admitted.named().filter(|caller| !has_own(caller));
        let mut all = draft.callers.keys().filter(|caller| !has_own(caller));
        others.next().is_some() || admitted.any && all.next().is_some()
    };
    for (caller, credential) in &upstream.credentials {
        let (chosen, help) = if caller == EVERY_CALLER {
            (
                others(),
                "every caller that may use the upstream has its own",
            )
        } else {
            (
                admitted.has(caller),
                "no listener and no route lets this caller reach the upstream",
            )
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

/// A route that names a caller promises more than the upstream keeps.
fn missing((upstream, place): (&Upstream, &SourceSpan), routes: &[&Route], report: &Report<'_>) {
    if upstream.credentials.contains_key(EVERY_CALLER) {
        return;
    }
    let mut named = routes.iter().flat_map(|route| names(&route.callers));
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
