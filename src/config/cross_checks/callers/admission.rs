//! Whom listeners and routes let in.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::super::draft::Draft;
use super::super::super::report::SourceSpan;
use super::super::super::settings::forward::leads_to;
use super::super::super::settings::{CallerList, Listener, Route};

/// A listener without mistakes, and whom it lets in.
pub(super) struct ListenerCallers<'d> {
    pub(super) listener: &'d Listener,
    pub(super) place: &'d SourceSpan,
    named: HashSet<&'d str>,
}

impl<'d> ListenerCallers<'d> {
    /// All listeners.
    pub(super) fn of(draft: &'d Draft) -> Vec<Self> {
        let listeners = draft.listeners.iter();
        let listeners = listeners.map(|(listener, place)| Self {
            listener,
            place,
            named: names(&listener.callers).collect(),
        });
        listeners.collect()
    }

    /// The callers that it names.
    pub(super) fn named(&self) -> impl Iterator<Item = &'d str> {
        self.named.iter().copied()
    }

    /// Whether every caller may use it that is identified.
    pub(super) fn lets_any_in(&self) -> bool {
        self.listener.callers == CallerList::Any
    }

    /// Whether a caller may use it that is identified.
    pub(super) fn lets_in(&self, caller: &str) -> bool {
        self.lets_any_in() || self.named.contains(caller)
    }

    /// Whether nobody is identified.
    pub(super) fn identifies_nobody(&self) -> bool {
        self.listener.callers.is_unsaid()
    }

    /// Whether a route is for it.
    pub(super) fn has(&self, route: &Route) -> bool {
        let name = route.listener.as_ref();
        name.is_none_or(|name| *name == self.listener.name)
    }

    /// Whether it leads to an upstream by the upstream's own name.
    pub(super) fn leads_to(&self, upstream: &str) -> bool {
        let forward = self.listener.forward.as_ref();
        forward.is_some_and(|forward| leads_to(&forward.upstreams, upstream))
    }
}

/// The callers that a list names.
pub(super) fn names(list: &CallerList) -> impl Iterator<Item = &str> {
    let named = match list {
        CallerList::Named(names) => names.as_slice(),
        CallerList::Unsaid | CallerList::Any => &[],
    };
    named.iter().map(String::as_str)
}

/// The routes to each upstream.
pub(super) fn routes_by_upstream(draft: &Draft) -> BTreeMap<&str, Vec<&Route>> {
    let mut routes: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for (route, _) in &draft.routes {
        routes.entry(&route.upstream).or_default().push(route);
    }
    routes
}

/// Who may reach an upstream, by all listeners and routes together.
#[derive(Default)]
pub(super) struct Admitted<'d> {
    /// Every caller.
    pub(super) any: bool,
    named: BTreeSet<&'d str>,
}

impl<'d> Admitted<'d> {
    /// Those whom these routes and the upstream's own name let in.
    pub(super) fn to(
        upstream: &str,
        routes: &[&'d Route],
        listeners: &[ListenerCallers<'d>],
    ) -> Self {
        let mut admitted = Self::default();
        for listener in listeners
            .iter()
            .filter(|listener| !listener.identifies_nobody())
        {
            let unsaid_or_any = |route: &&&Route| {
                listener.has(route) && !matches!(route.callers, CallerList::Named(_))
            };
            if listener.leads_to(upstream) || routes.iter().any(|route| unsaid_or_any(&route)) {
                admitted.any |= listener.lets_any_in();
                admitted.named.extend(listener.named());
            }
            for route in routes.iter().filter(|route| listener.has(route)) {
                let let_in = names(&route.callers).filter(|name| listener.lets_in(name));
                admitted.named.extend(let_in);
            }
        }
        admitted
    }

    /// Whether a caller is among them.
    pub(super) fn has(&self, caller: &str) -> bool {
        self.any || self.named.contains(caller)
    }

    /// Those that are named.
    pub(super) fn named(&self) -> impl Iterator<Item = &'d str> {
        self.named.iter().copied()
    }
}
