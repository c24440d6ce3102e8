//! Whom listeners and routes let in, and who of them can be known and has a credential.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::super::draft::Draft;
use super::super::super::report::SourceSpan;
use super::super::super::settings::caller::EVERY_CALLER;
use super::super::super::settings::forward::leads_to;
use super::super::super::settings::{CallerList, Enforcement, Listener, Route, Upstream};
use super::super::led_to;
use super::means::can_know;

/// A listener without mistakes, and whom it lets in.
pub(super) struct ListenerCallers<'d> {
    pub(super) listener: &'d Listener,
    pub(super) place: &'d SourceSpan,
    draft: &'d Draft,
    named: HashSet<&'d str>,
    /// Whether it serves any caller.
    pub(super) serves_someone: bool,
}

impl<'d> ListenerCallers<'d> {
    /// All listeners.
    pub(super) fn of(draft: &'d Draft) -> Vec<Self> {
        let listeners = draft.listeners.iter();
        let listeners = listeners.map(|(listener, place)| {
            let mut callers = Self {
                listener,
                place,
                draft,
                named: names(&listener.callers).collect(),
                serves_someone: false,
            };
            let mut all = callers.named.iter().copied();
            let mut defined = draft.callers.keys().map(String::as_str);
            callers.serves_someone = all.any(|caller| callers.serves(caller))
                || defined.any(|caller| callers.serves(caller));
            callers
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

    /// Whether a caller may use it that is identified; where lists only report, everyone may.
    pub(super) fn lets_in(&self, caller: &str) -> bool {
        self.lets_any_in() || self.only_reports() || self.named.contains(caller)
    }

    /// Whether lists of callers refuse nothing there.
    pub(super) fn only_reports(&self) -> bool {
        self.listener.enforcement == Enforcement::Report
    }

    /// Whether its list names a caller.
    pub(super) fn has_named(&self, caller: &str) -> bool {
        self.named.contains(caller)
    }

    /// Whether a caller may use it and can be known there. One that does not exist, or has a mistake, may be such a one.
    pub(super) fn serves(&self, caller: &str) -> bool {
        let Some(slot) = self.draft.callers.get(caller) else {
            return true;
        };
        let caller_of = slot.as_ref().and_then(|(caller, _)| caller.as_ref());
        self.lets_in(caller) && caller_of.is_none_or(|caller| can_know(self.listener, caller))
    }

    /// Whether some client of it gets through a list of callers, and to an upstream that has a credential for it.
    pub(super) fn lets_through(&self, list: &CallerList, upstream: Option<&Upstream>) -> bool {
        if self.identifies_nobody() {
            return true;
        }
        let credentials = upstream.map(|upstream| &upstream.credentials);
        let credentials = credentials.filter(|credentials| {
            !credentials.is_empty() && !credentials.contains_key(EVERY_CALLER)
        });
        let has_credential =
            |caller: &str| credentials.is_none_or(|credentials| credentials.contains_key(caller));
        match (list, credentials) {
            (CallerList::Named(names), _) if !self.only_reports() => {
                let mut names = names.iter();
                names.any(|name| self.serves(name) && has_credential(name))
            }
            (_, Some(credentials)) => credentials.keys().any(|caller| self.serves(caller)),
            (_, None) => self.serves_someone,
        }
    }

    /// Whether nobody is identified.
    pub(super) fn identifies_nobody(&self) -> bool {
        self.listener.callers.is_unsaid()
    }

    /// Whether a route is for it.
    pub(super) fn has(&self, route: &Route) -> bool {
        if self.listener.forward.is_some() {
            return led_to::can_take(&self.listener.name, route);
        }
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
pub(super) struct Admitted<'l, 'd> {
    /// Those by which everyone gets there whom they serve.
    open: Vec<&'l ListenerCallers<'d>>,
    /// Others, and the names in lists of routes by which it is reached from there.
    narrowed: Vec<(&'l ListenerCallers<'d>, BTreeSet<&'d str>)>,
}

impl<'l, 'd> Admitted<'l, 'd> {
    /// Those whom these routes and the upstream's own name let in.
    pub(super) fn to(
        upstream: &str,
        routes: &[&'d Route],
        listeners: &'l [ListenerCallers<'d>],
    ) -> Self {
        let identify = listeners.iter().filter(|it| !it.identifies_nobody());
        let (open, others) = identify.partition(|listener| {
            let is_wide = |route: &Route| {
                listener.only_reports() || !matches!(route.callers, CallerList::Named(_))
            };
            let mut routes = routes.iter();
            listener.leads_to(upstream) || routes.any(|route| listener.has(route) && is_wide(route))
        });
        let others: Vec<_> = others;
        let narrowed = others.into_iter().map(|listener| {
            let routes = routes.iter().filter(|route| listener.has(route));
            let named = routes.flat_map(|route| names(&route.callers));
            (listener, named.collect())
        });
        Self {
            open,
            narrowed: narrowed.collect(),
        }
    }

    /// Whether a caller is let in.
    pub(super) fn lets_in(&self, caller: &str) -> bool {
        self.any(caller, |listener| listener.lets_in(caller))
    }

    /// Whether a caller is let in where it can be known.
    pub(super) fn serves(&self, caller: &str) -> bool {
        self.any(caller, |listener| listener.serves(caller))
    }

    fn any(&self, caller: &str, admits: impl Fn(&ListenerCallers<'_>) -> bool) -> bool {
        let mut narrowed = self.narrowed.iter();
        self.open.iter().any(|listener| admits(listener))
            || narrowed.any(|(listener, named)| named.contains(caller) && admits(listener))
    }

    /// Those that lists of listeners and routes name.
    pub(super) fn named(&self) -> impl Iterator<Item = &'d str> {
        let by_listeners = self.open.iter().flat_map(|listener| listener.named());
        let by_routes = self.narrowed.iter().flat_map(|(_, named)| named.iter());
        by_listeners.chain(by_routes.copied())
    }
}
