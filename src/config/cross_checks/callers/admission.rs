//! All listeners together: whom they let in, and who of them can be known and has a credential.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::super::super::draft::{Draft, Tables};
use super::super::super::report::SourceSpan;
use super::super::super::settings::caller::EVERY_CALLER;
use super::super::super::settings::forward::EVERY_UPSTREAM;
use super::super::super::settings::{
    CallerList, EgressRule, Enforcement, HostPattern, Listener, Route, Upstream,
};
use super::audience::{Audience, DefinedCallers, Holders};

/// A listener without mistakes, and whom it lets in.
pub(super) struct ListenerCallers<'d> {
    pub(super) listener: &'d Listener,
    pub(super) place: &'d SourceSpan,
    pub(super) audience: Audience<'d>,
    /// The upstreams that it leads to by their own names.
    upstreams: HashSet<&'d str>,
}

impl<'d> ListenerCallers<'d> {
    fn of(
        (listener, place): &'d (Listener, SourceSpan),
        number: usize,
        known: &DefinedCallers<'d>,
    ) -> Self {
        let forward = listener.forward.iter();
        let upstreams = forward.flat_map(|forward| forward.upstreams.iter().map(String::as_str));
        Self {
            listener,
            place,
            audience: Audience::of(listener, number, known),
            upstreams: upstreams.collect(),
        }
    }

    /// The callers that it names.
    pub(super) fn named(&self) -> impl Iterator<Item = &'d str> {
        self.audience.named()
    }

    /// Whether every caller may use it that is identified.
    pub(super) fn lets_any_in(&self) -> bool {
        self.listener.callers == CallerList::Any
    }

    /// Whether lists of callers refuse nothing there.
    pub(super) fn only_reports(&self) -> bool {
        self.listener.enforcement == Enforcement::Report
    }

    /// Whether nobody is identified.
    pub(super) fn identifies_nobody(&self) -> bool {
        self.listener.callers.is_unsaid()
    }

    /// Whether it is a forward or redirected one.
    fn is_forward(&self) -> bool {
        self.listener.forward.is_some()
    }

    /// Whether it leads to an upstream by the upstream's own name.
    pub(super) fn leads_to(&self, upstream: &str) -> bool {
        self.upstreams.contains(EVERY_UPSTREAM) || self.upstreams.contains(upstream)
    }

    /// The upstreams that it leads to by their own names.
    pub(super) fn own_upstreams(&self, draft: &'d Draft) -> impl Iterator<Item = &'d str> {
        let every = self.upstreams.contains(EVERY_UPSTREAM);
        let all = draft.upstreams.keys().filter(move |_| every);
        let named = self.upstreams.iter().copied();
        let named = named.filter(|name| draft.upstreams.contains_key(*name));
        all.map(String::as_str).chain(named)
    }
}

/// The listeners whose requests can take a route, or that a rule decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ListenerSet {
    Every,
    /// Those that are no forward and no redirected ones.
    Reverse,
    /// Those that are.
    Forward,
    /// The one with this number.
    One(usize),
}

/// All listeners without mistakes. Thousands of routes ask the same of them, so that the answers are kept.
pub(super) struct Listeners<'d> {
    pub(super) draft: &'d Draft,
    pub(super) all: Vec<ListenerCallers<'d>>,
    pub(super) known: DefinedCallers<'d>,
    by_name: HashMap<&'d str, usize>,
    /// Those that name a caller.
    naming: HashMap<&'d str, Vec<usize>>,
    every: Audience<'d>,
    reverse: Audience<'d>,
    forward: Audience<'d>,
    holders: RefCell<HashMap<&'d str, Holders>>,
    /// Whether a way lets someone through to an upstream.
    through: RefCell<HashMap<(ListenerSet, &'d str), bool>>,
}

impl<'d> Listeners<'d> {
    pub(super) fn of(draft: &'d Draft) -> Self {
        let known = DefinedCallers::of(draft);
        let all = draft.listeners.iter().enumerate();
        let all = all.map(|(at, listener)| ListenerCallers::of(listener, at, &known));
        let all: Vec<_> = all.collect();
        let mut by_name = HashMap::new();
        let mut naming: HashMap<_, Vec<_>> = HashMap::new();
        for (at, listener) in all.iter().enumerate() {
            by_name.insert(listener.listener.name.as_str(), at);
            for caller in listener.named() {
                naming.entry(caller).or_default().push(at);
            }
        }
        let audience_of = |is_in: fn(&ListenerCallers<'_>) -> bool| {
            let members = all.iter().filter(|listener| is_in(listener));
            Audience::of_all(members.map(|listener| &listener.audience))
        };
        Self {
            draft,
            known,
            by_name,
            naming,
            every: audience_of(|_| true),
            reverse: audience_of(|listener| !listener.is_forward()),
            forward: audience_of(|listener| listener.is_forward()),
            holders: RefCell::default(),
            through: RefCell::default(),
            all,
        }
    }

    /// Whose requests can take a route; `None` if its listener has a mistake. A route for any host is for a forward or
    /// redirected listener only if it names it.
    pub(super) fn way_of(&self, route: &Route) -> Option<ListenerSet> {
        match &route.listener {
            Some(name) => self
                .by_name
                .get(name.as_str())
                .copied()
                .map(ListenerSet::One),
            None if route.host == HostPattern::Any => Some(ListenerSet::Reverse),
            None => Some(ListenerSet::Every),
        }
    }

    /// The forward and redirected listeners that a rule decides about.
    pub(super) fn ways_of(&self, rule: &EgressRule) -> Vec<ListenerSet> {
        if rule.listeners.is_empty() {
            return vec![ListenerSet::Forward];
        }
        let named = rule.listeners.iter();
        let numbers = named.filter_map(|name| self.by_name.get(name.as_str()).copied());
        let forward = numbers.filter(|at| self.all[*at].is_forward());
        forward.map(ListenerSet::One).collect()
    }

    /// The ways that a listener is on.
    pub(super) fn ways_over(&self, at: usize) -> [ListenerSet; 3] {
        let kind = if self.all[at].is_forward() {
            ListenerSet::Forward
        } else {
            ListenerSet::Reverse
        };
        [ListenerSet::Every, kind, ListenerSet::One(at)]
    }

    /// Those that lead to an upstream with these routes.
    pub(super) fn reaching(
        &self,
        upstream: &str,
        routes: &[&Route],
    ) -> impl Iterator<Item = &ListenerCallers<'d>> + Clone {
        let ways = routes.iter().filter_map(|route| self.way_of(route));
        let ways: HashSet<_> = ways.collect();
        let all = self.all.iter().enumerate();
        let reaching = all.filter(move |(at, listener)| {
            let mut over = self.ways_over(*at).into_iter();
            listener.leads_to(upstream) || over.any(|way| ways.contains(&way))
        });
        reaching.map(|(_, listener)| listener)
    }

    /// The listeners of a way, by their numbers.
    pub(super) fn members(&self, way: ListenerSet) -> impl Iterator<Item = usize> {
        let numbers = match way {
            ListenerSet::One(at) => at..at + 1,
            ListenerSet::Every | ListenerSet::Reverse | ListenerSet::Forward => 0..self.all.len(),
        };
        numbers.filter(move |at| self.ways_over(*at).contains(&way))
    }

    /// Those that name a caller, by their numbers.
    pub(super) fn naming(&self, caller: &str) -> &[usize] {
        self.naming.get(caller).map_or(&[], Vec::as_slice)
    }

    /// Whom the listeners of a way let in.
    pub(super) fn audience(&self, way: ListenerSet) -> &Audience<'d> {
        match way {
            ListenerSet::Every => &self.every,
            ListenerSet::Reverse => &self.reverse,
            ListenerSet::Forward => &self.forward,
            ListenerSet::One(at) => &self.all[at].audience,
        }
    }

    /// Whether a caller may use one and can be known there.
    pub(super) fn serves(&self, way: ListenerSet, caller: &str) -> bool {
        self.audience(way).serves(caller, &self.known)
    }

    /// The upstream with a name, as far as one knows all that it says.
    pub(super) fn upstream(&self, name: &str) -> Option<&'d Upstream> {
        let whole = self.draft.are_whole(&[Tables::Upstreams]);
        let slot = self.draft.upstreams.get(name);
        slot.filter(|_| whole)?.as_ref()?.0.as_ref()
    }

    /// Whether some client gets through a list of callers, and to an upstream that has a credential for it.
    pub(super) fn lets_through(
        &self,
        way: ListenerSet,
        list: &CallerList,
        upstream: Option<&'d Upstream>,
    ) -> bool {
        let audience = self.audience(way);
        if audience.open.is_some() {
            return true;
        }
        let upstream = upstream.filter(|upstream| chooses_by_name(upstream));
        match (list, upstream) {
            (CallerList::Named(names), _) => {
                let mut names = names.iter().filter(|name| has_credential(upstream, name));
                names.any(|name| self.serves(way, name))
                    || audience.has_reporting()
                        && audience.serves_despite_lists(upstream.map(|it| self.holders(it)))
            }
            (_, Some(upstream)) => {
                let key = (way, upstream.name.as_str());
                if let Some(answer) = self.through.borrow().get(&key) {
                    return *answer;
                }
                let holders = self.holders(upstream);
                let answer = audience.serves_one_of(&upstream.credentials, holders);
                self.through.borrow_mut().insert(key, answer);
                answer
            }
            (_, None) => audience.serves_someone,
        }
    }

    fn holders(&self, upstream: &'d Upstream) -> Holders {
        let mut known = self.holders.borrow_mut();
        let of = || Holders::of(upstream, &self.known);
        *known.entry(&upstream.name).or_insert_with(of)
    }
}

/// Whether it has credentials for callers by their names alone.
pub(super) fn chooses_by_name(upstream: &Upstream) -> bool {
    let credentials = &upstream.credentials;
    !credentials.is_empty() && !credentials.contains_key(EVERY_CALLER)
}

/// Whether an upstream, if it chooses by names, has a credential for a caller.
pub(super) fn has_credential(upstream: Option<&Upstream>, caller: &str) -> bool {
    upstream.is_none_or(|upstream| upstream.credentials.contains_key(caller))
}
