//! Listeners all of whose ways are for others.

use std::collections::{HashMap, HashSet};

use super::super::super::draft::Tables;
use super::super::super::report::Report;
use super::super::super::settings::{CallerList, Upstream};
use super::super::super::words::QuotedWord;
use super::super::passing::may_pass;
use super::admission::{ListenerSet, Listeners, chooses_by_name, has_credential};
use super::audience::names;
use super::means::Kinds;

/// Why a listener serves nobody.
const NO_WAY: &str = "no route of it lets a caller through that can be known there, and whose credential the upstream has";

/// Reports them. What is said of a route of one, by its number, is not said again.
pub(super) fn check(listeners: &Listeners<'_>, idle: &HashSet<usize>, report: &Report<'_>) {
    let draft = listeners.draft;
    let tables = [
        Tables::Listeners,
        Tables::Routes,
        Tables::Egress,
        Tables::Upstreams,
    ];
    if !draft.are_whole(&tables) {
        return;
    }
    let mut uses = Uses::of(listeners);
    let mut leading = HashSet::new();
    for (at, (route, _)) in draft.routes.iter().enumerate() {
        let Some(way) = listeners.way_of(route) else {
            continue;
        };
        leading.insert(way);
        if idle.contains(&at) {
            uses.by_all.insert(way);
        } else {
            let upstream = listeners.upstream(&route.upstream);
            uses.note(way, &route.callers, upstream);
        }
    }
    for (at, listener) in listeners.all.iter().enumerate() {
        let of = listener.listener;
        let own_upstreams = || listener.own_upstreams(draft);
        let leads_to_own = |name: &str| {
            let upstream = listeners.upstream(name);
            listeners.lets_through(ListenerSet::One(at), &CallerList::Unsaid, upstream)
        };
        let mut ways = listeners.ways_over(at).into_iter();
        let leads_somewhere =
            ways.any(|way| leading.contains(&way)) || own_upstreams().next().is_some();
        if listener.audience.serves_someone
            && leads_somewhere
            && !uses.has(at)
            && !own_upstreams().any(leads_to_own)
            && !of
                .forward
                .as_ref()
                .is_some_and(|it| may_pass(draft, &of.name, it))
        {
            let message = format!("listener {} refuses everyone", QuotedWord(&of.name));
            report.warning(listener.place, message, NO_WAY);
        }
    }
}

/// Which listeners let someone through by routes. A list of a route costs no more the more listeners it is for.
struct Uses<'l, 'd> {
    listeners: &'l Listeners<'d>,
    /// Those that do, by their numbers.
    some: HashSet<usize>,
    /// The ways all of whose listeners do.
    by_all: HashSet<ListenerSet>,
    /// Those that do so if they let every caller in.
    for_all: HashMap<ListenerSet, Kinds>,
    /// The callers of lists that have been looked at.
    named: HashSet<(ListenerSet, &'d str)>,
    /// The upstreams that have been looked at, for all listeners of a way or for those whose lists only report.
    upstreams: HashSet<(ListenerSet, Option<&'d str>, bool)>,
}

impl<'l, 'd> Uses<'l, 'd> {
    fn of(listeners: &'l Listeners<'d>) -> Self {
        Self {
            listeners,
            some: HashSet::new(),
            by_all: HashSet::new(),
            for_all: HashMap::new(),
            named: HashSet::new(),
            upstreams: HashSet::new(),
        }
    }

    /// Notes those that let someone through a list to an upstream.
    fn note(&mut self, way: ListenerSet, list: &'d CallerList, upstream: Option<&'d Upstream>) {
        if self.by_all.contains(&way) {
            return;
        }
        if let ListenerSet::One(at) = way {
            if !self.some.contains(&at) && self.listeners.lets_through(way, list, upstream) {
                self.some.insert(at);
            }
            return;
        }
        let upstream = upstream.filter(|upstream| chooses_by_name(upstream));
        if !matches!(list, CallerList::Named(_)) {
            self.note_upstream(way, upstream, false);
            return;
        }
        for caller in names(list).filter(|caller| has_credential(upstream, caller)) {
            self.note_caller(way, caller);
        }
        if self.listeners.audience(way).has_reporting() {
            self.note_upstream(way, upstream, true);
        }
    }

    /// Notes those that let a caller in and can know it.
    fn note_caller(&mut self, way: ListenerSet, caller: &'d str) {
        if !self.named.insert((way, caller)) {
            return;
        }
        let Some(kinds) = self.listeners.known.kinds(caller) else {
            self.by_all.insert(way);
            return;
        };
        let for_all = self.for_all.entry(way).or_default();
        *for_all = for_all.or(kinds);
        for at in self.listeners.naming(caller) {
            if self.listeners.ways_over(*at).contains(&way)
                && self.listeners.serves(ListenerSet::One(*at), caller)
            {
                self.some.insert(*at);
            }
        }
    }

    /// Notes those that let someone through who needs to be in no list.
    fn note_upstream(
        &mut self,
        way: ListenerSet,
        upstream: Option<&'d Upstream>,
        only_reporting: bool,
    ) {
        let name = upstream.map(|upstream| upstream.name.as_str());
        if !self.upstreams.insert((way, name, only_reporting)) {
            return;
        }
        for at in self.listeners.members(way) {
            let reports = self.listeners.all[at].only_reports();
            let (way, list) = (ListenerSet::One(at), &CallerList::Unsaid);
            if !self.some.contains(&at)
                && (reports || !only_reporting)
                && self.listeners.lets_through(way, list, upstream)
            {
                self.some.insert(at);
            }
        }
    }

    /// Whether a listener lets someone through.
    fn has(&self, at: usize) -> bool {
        let listener = &self.listeners.all[at];
        let for_all = listener.audience.for_all();
        let is_used = |way: &ListenerSet| {
            let kinds = self.for_all.get(way).copied().unwrap_or_default();
            self.by_all.contains(way) || kinds.meets(for_all)
        };
        listener.identifies_nobody()
            || self.some.contains(&at)
            || self.listeners.ways_over(at).iter().any(is_used)
    }
}
