//! Who may reach an upstream.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::super::draft::Draft;
use super::super::super::settings::{CallerList, Route};
use super::admission::{ListenerSet, Listeners};
use super::audience::names;
use super::means::Kinds;

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
    listeners: &'l Listeners<'d>,
    /// Those by which everyone gets there whom they serve, by their numbers.
    open: HashSet<usize>,
    /// Those of them that let every caller in.
    for_all: Kinds,
    /// The ways there of callers that lists of routes name.
    narrowed: HashMap<&'d str, HashSet<ListenerSet>>,
}

impl<'l, 'd> Admitted<'l, 'd> {
    /// Those whom these routes and the upstream's own name let in.
    pub(super) fn to(upstream: &str, routes: &[&'d Route], listeners: &'l Listeners<'d>) -> Self {
        let mut all = HashSet::new();
        let mut wide = HashSet::new();
        let mut narrowed: HashMap<_, HashSet<_>> = HashMap::new();
        for route in routes {
            let Some(way) = listeners.way_of(route) else {
                continue;
            };
            all.insert(way);
            if !matches!(route.callers, CallerList::Named(_)) {
                wide.insert(way);
            }
            for caller in names(&route.callers) {
                narrowed.entry(caller).or_default().insert(way);
            }
        }
        let is_open = |at: &usize| {
            let listener = &listeners.all[*at];
            let ways = if listener.only_reports() { &all } else { &wide };
            let mut over = listeners.ways_over(*at).into_iter();
            !listener.identifies_nobody()
                && (listener.leads_to(upstream) || over.any(|way| ways.contains(&way)))
        };
        let open: HashSet<_> = (0..listeners.all.len()).filter(is_open).collect();
        let for_all = open.iter().map(|at| listeners.all[*at].audience.for_all());
        Self {
            for_all: for_all.fold(Kinds::default(), Kinds::or),
            listeners,
            open,
            narrowed,
        }
    }

    /// Whether a caller is let in.
    pub(super) fn lets_in(&self, caller: &str) -> bool {
        let mut naming = self.listeners.naming(caller).iter();
        let mut ways = self.narrowed.get(caller).into_iter().flatten();
        !self.for_all.is_empty()
            || naming.any(|at| self.open.contains(at))
            || ways.any(|way| self.listeners.audience(*way).lets_in(caller))
    }

    /// Whether a caller is let in where it can be known.
    pub(super) fn serves(&self, caller: &str) -> bool {
        let Some(kinds) = self.listeners.known.kinds(caller) else {
            return !self.open.is_empty() || self.narrowed.contains_key(caller);
        };
        let serves = |at: usize| self.listeners.serves(ListenerSet::One(at), caller);
        let mut naming = self.listeners.naming(caller).iter();
        let mut ways = self.narrowed.get(caller).into_iter().flatten();
        self.for_all.meets(kinds)
            || naming.any(|at| self.open.contains(at) && serves(*at))
            || ways.any(|way| self.listeners.serves(*way, caller))
    }

    /// Whether someone is let in, and known, whom these credentials do not name.
    pub(super) fn serves_others_than(&self, credentials: &BTreeMap<String, String>) -> bool {
        let is_other = |caller: &&str| !credentials.contains_key(*caller);
        let open = self.open.iter().map(|at| &self.listeners.all[*at]);
        let mut by_listeners = open.flat_map(|listener| listener.audience.named_and_known());
        let mut by_routes = self.narrowed.keys().filter(|caller| is_other(caller));
        by_listeners.any(|caller| is_other(&caller))
            || self
                .listeners
                .known
                .to(self.for_all)
                .any(|caller| is_other(&caller))
            || by_routes.any(|caller| self.serves(caller))
    }
}
