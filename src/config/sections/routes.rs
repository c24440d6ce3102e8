//! Reads `[[routes]]`.

use super::super::draft::{Draft, NameUse};
use super::super::keys::ROUTE;
use super::super::read::Section;
use super::super::settings::{HostPattern, Limits, Route};
use super::{callers, limits};

/// Reads one route.
pub(super) fn read(section: Section<'_>, draft: &mut Draft) {
    let listener = section.read(&ROUTE.listener);
    let host = section.read_written(&ROUTE.host);
    let path = section.read(&ROUTE.path);
    let replace_prefix = section.read_written(&ROUTE.replace_prefix);
    let methods = section.read(&ROUTE.methods);
    let upstream = section.read(&ROUTE.upstream);
    let callers = callers::read_list(&section, &ROUTE.callers, draft);
    let limits = Limits::read(&section, &ROUTE.limits);
    limits::refuse_burst_alone(&section, &ROUTE.limits, &limits);
    let place = section.place.clone();

    draft
        .route_listeners
        .push(listener.as_ref().map(|(_, name)| (*name).to_owned()));
    if let Some((value, name)) = &listener {
        draft.references.listeners.push(NameUse::new(name, value));
    }
    if let Some((value, name)) = &upstream {
        draft.references.upstreams.push(NameUse::new(name, value));
    }
    // A route with a mistake in it is left out; what it would tie with is not known.
    let route = || {
        Some(Route {
            listener: listener.map(|(_, name)| name.into()),
            host: host.unwrap_or(Some(HostPattern::Any))?,
            path: path?.into(),
            methods: methods.into_iter().collect::<Option<_>>()?,
            upstream: upstream?.1.into(),
            replace_prefix: match replace_prefix {
                Some(prefix) => Some(prefix?.into()),
                None => None,
            },
            callers: callers?,
            limits,
        })
    };
    if let Some(route) = route() {
        draft.routes.push((route, place));
    }
}
