//! What does not fit together about the own names of upstreams, by which forward listeners lead to them.

use std::collections::{HashMap, HashSet};

use super::super::draft::Draft;
use super::super::report::Report;
use super::super::settings::Scheme;
use super::super::settings::forward::leads_to;
use super::super::words::QuotedWord;
use super::led_to;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    for (listener, place) in &draft.forward_listeners {
        let mut seen: HashMap<(Scheme, String, u16, &str), &str> = HashMap::new();
        for (name, slot) in &draft.upstreams {
            let Some((Some(upstream), _)) = slot else {
                continue;
            };
            if !leads_to(&listener.1.upstreams, name) {
                continue;
            }
            for destination in upstream.destinations() {
                let (scheme, host, port) = destination;
                let place_of = (scheme, host, port, upstream.base_path());
                let (host, path) = (place_of.1.clone(), place_of.3);
                if let Some(first) = seen.insert(place_of, name) {
                    let message = format!(
                        "listener {} cannot tell upstream {} from {}: both are {scheme}://{host}:{port}{path}",
                        QuotedWord(&listener.0),
                        QuotedWord(name),
                        QuotedWord(first),
                    );
                    let help = "name one of them in `upstreams`, or give them different `hosts`";
                    report.error(place, message, help);
                    break;
                }
            }
        }
    }
    let mut routed = HashSet::new();
    for ((listener, _), _) in &draft.forward_listeners {
        let routes = draft.routes.iter().map(|(route, _)| route);
        let routes = routes.filter(|route| led_to::can_take(listener, route));
        routed.extend(routes.map(|route| route.upstream.as_str()));
    }
    if !led_to::routes_are_known(draft) {
        return;
    }
    // That an upstream is not used at all is said as such.
    let is_used = |name: &str| {
        let mut uses = draft.references.upstreams.iter();
        uses.any(|used| used.name == name)
    };
    for (name, slot) in &draft.upstreams {
        let is_led_to = || {
            let mut listeners = draft.forward_listeners.iter();
            listeners.any(|((_, forward), _)| leads_to(&forward.upstreams, name))
                || routed.contains(name.as_str())
        };
        if let Some((Some(upstream), place)) = slot
            && !upstream.hosts.is_empty()
            && (draft.forward_listeners.is_empty() || is_used(name))
            && !is_led_to()
        {
            let message = format!("`hosts` of upstream {} has no effect", QuotedWord(name));
            let help = if draft.forward_listeners.is_empty() {
                "it is for listeners of `kind` \"forward\" or \"redirected\", and there is none"
            } else {
                "no forward or redirected listener leads to it: name it in `upstreams` of one"
            };
            report.warning(place, message, help);
        }
    }
}
