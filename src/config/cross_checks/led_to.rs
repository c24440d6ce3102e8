//! Which upstreams a forward or redirected listener leads to.

use std::collections::HashSet;

use super::super::draft::{Draft, Tables};
use super::super::settings::forward::leads_to;
use super::super::settings::{Forwarding, HostPattern, Route, Upstream};

/// Whether requests of a forward or redirected listener can take a route. One for any host is for such a listener only if
/// it names it: else each request for any other host would be taken for it.
pub(super) fn can_take(listener: &str, route: &Route) -> bool {
    match &route.listener {
        Some(name) => name == listener,
        None => route.host != HostPattern::Any,
    }
}

/// The upstreams that a listener leads to, by their own names and by routes. `None` if mistakes keep that from being
/// known.
pub(super) fn upstreams<'d>(
    draft: &'d Draft,
    listener: &str,
    forward: &Forwarding,
) -> Option<Vec<&'d Upstream>> {
    if !routes_are_known(draft) {
        return None;
    }
    let routes = draft.routes.iter().map(|(route, _)| route);
    let routed = routes.filter(|route| can_take(listener, route));
    let routed: HashSet<&str> = routed.map(|route| route.upstream.as_str()).collect();
    let is_led_to = |name: &str| leads_to(&forward.upstreams, name) || routed.contains(name);
    let slots = draft.upstreams.iter();
    let led_to = slots.filter(|(name, _)| is_led_to(name));
    led_to.map(|(_, slot)| slot.as_ref()?.0.as_ref()).collect()
}

/// Whether every route that is written could be read, those for which `upstream` of a listener stands included.
pub(super) fn routes_are_known(draft: &Draft) -> bool {
    draft.is_for_program || draft.are_whole(&[Tables::Listeners, Tables::Routes])
}
