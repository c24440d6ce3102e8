//! Whom listeners let in and can know, one of them or several together.

use std::collections::{BTreeMap, HashMap};

use super::super::super::draft::Draft;
use super::super::super::settings::{CallerList, Enforcement, Listener, Upstream};
use super::means::Kinds;
use super::questions;

/// The callers that are defined, and which listeners can know them.
pub(super) struct DefinedCallers<'d> {
    kinds: HashMap<&'d str, Kinds>,
    /// Those that each kind of listener can know.
    by_kind: [Vec<&'d str>; Kinds::COUNT],
    /// Those that can know some caller.
    any: Kinds,
}

impl<'d> DefinedCallers<'d> {
    pub(super) fn of(draft: &'d Draft) -> Self {
        let callers = draft.callers.iter().map(|(name, slot)| {
            let caller = slot.as_ref().and_then(|(caller, _)| caller.as_ref());
            // One with a mistake may be one that everything can know.
            (name.as_str(), caller.map_or(Kinds::ALL, Kinds::that_know))
        });
        let kinds: HashMap<_, _> = callers.collect();
        let mut any = Kinds::default();
        let mut by_kind: [Vec<_>; Kinds::COUNT] = Default::default();
        for (name, kinds) in &kinds {
            any = any.or(*kinds);
            for kind in kinds.each() {
                by_kind[kind].push(*name);
            }
        }
        Self {
            kinds,
            by_kind,
            any,
        }
    }

    /// The listeners that can know a caller; `None` for one that does not exist.
    pub(super) fn kinds(&self, caller: &str) -> Option<Kinds> {
        questions::count();
        self.kinds.get(caller).copied()
    }

    /// The callers that one of these listeners can know.
    pub(super) fn to(&self, kinds: Kinds) -> impl Iterator<Item = &'d str> {
        kinds
            .each()
            .flat_map(|kind| self.by_kind[kind].iter().copied())
    }
}

/// Whom an upstream has credentials for, and which listeners can know one of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Holders {
    kinds: Kinds,
    has_undefined: bool,
}

impl Holders {
    pub(super) fn of(upstream: &Upstream, known: &DefinedCallers<'_>) -> Self {
        let mut holders = Self::default();
        for caller in upstream.credentials.keys() {
            match known.kinds(caller) {
                Some(kinds) => holders.kinds = holders.kinds.or(kinds),
                None => holders.has_undefined = true,
            }
        }
        holders
    }

    /// Whether these listeners can know one. One that does not exist may be such a one.
    fn meet(self, kinds: Kinds) -> bool {
        !kinds.is_empty() && (self.has_undefined || self.kinds.meets(kinds))
    }
}

/// Whom some listeners let in.
#[derive(Default)]
pub(super) struct Audience<'d> {
    /// The callers that they name, and whether one of those that name it can know it.
    named: HashMap<&'d str, bool>,
    /// How many of those are known.
    known: usize,
    /// All of them.
    all: Kinds,
    /// Those that let every caller in.
    any: Kinds,
    /// Those where lists of callers refuse nothing.
    reporting: Kinds,
    /// Whether one serves a caller.
    pub(super) serves_someone: bool,
    /// Whether one does so where lists of callers refuse nothing.
    reporting_serves: bool,
    /// The first that identifies nobody, by its number.
    pub(super) open: Option<usize>,
    /// The first that identifies its clients, by its number.
    pub(super) identifying: Option<usize>,
}

impl<'d> Audience<'d> {
    /// That of one listener, which has this number.
    pub(super) fn of(listener: &'d Listener, number: usize, known: &DefinedCallers<'d>) -> Self {
        let kind = Kinds::of(listener);
        let only = |is_it: bool| if is_it { kind } else { Kinds::default() };
        let named = names(&listener.callers).map(|name| {
            let knows = known.kinds(name).is_none_or(|kinds| kinds.meets(kind));
            (name, knows)
        });
        let named: HashMap<_, _> = named.collect();
        let any = only(listener.callers == CallerList::Any);
        let reporting = only(listener.enforcement == Enforcement::Report);
        let open = listener.callers.is_unsaid();
        let serves_someone =
            named.values().any(|knows| *knows) || any.or(reporting).meets(known.any);
        Self {
            known: named.values().filter(|knows| **knows).count(),
            named,
            all: kind,
            any,
            reporting,
            serves_someone,
            reporting_serves: serves_someone && !reporting.is_empty(),
            open: open.then_some(number),
            identifying: (!open).then_some(number),
        }
    }

    /// That of several together.
    pub(super) fn of_all<'a>(alone: impl Iterator<Item = &'a Self>) -> Self
    where
        'd: 'a,
    {
        let mut together = Self::default();
        for one in alone {
            for (name, knows) in &one.named {
                *together.named.entry(name).or_default() |= knows;
            }
            together.all = together.all.or(one.all);
            together.any = together.any.or(one.any);
            together.reporting = together.reporting.or(one.reporting);
            together.serves_someone |= one.serves_someone;
            together.reporting_serves |= one.reporting_serves;
            together.open = together.open.or(one.open);
            together.identifying = together.identifying.or(one.identifying);
        }
        together.known = together.named.values().filter(|knows| **knows).count();
        together
    }

    /// Whether there is no listener.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The callers that they name.
    pub(super) fn named(&self) -> impl Iterator<Item = &'d str> {
        self.named.keys().copied()
    }

    /// Those that they name and can know. One that does not exist may be such a one.
    pub(super) fn named_and_known(&self) -> impl Iterator<Item = &'d str> {
        let known = self.named.iter().filter(|(_, knows)| **knows);
        known.map(|(name, _)| *name)
    }

    /// Those that let every caller in, named or not.
    pub(super) fn for_all(&self) -> Kinds {
        self.any.or(self.reporting)
    }

    /// Whether a list of one names a caller.
    pub(super) fn has_named(&self, caller: &str) -> bool {
        questions::count();
        self.named.contains_key(caller)
    }

    /// Whether a caller may use one that is identified; where lists only report, everyone may.
    pub(super) fn lets_in(&self, caller: &str) -> bool {
        !self.for_all().is_empty() || self.has_named(caller)
    }

    /// Whether a caller may use one and can be known there. One that does not exist, or has a mistake, may be such a one.
    pub(super) fn serves(&self, caller: &str, known: &DefinedCallers<'_>) -> bool {
        let Some(kinds) = known.kinds(caller) else {
            return !self.is_empty();
        };
        self.for_all().meets(kinds) || self.named.get(caller).is_some_and(|knows| *knows)
    }

    /// Whether one serves a caller that an upstream has a credential for.
    pub(super) fn serves_one_of(
        &self,
        credentials: &BTreeMap<String, String>,
        holders: Holders,
    ) -> bool {
        if holders.meet(self.for_all()) || holders.has_undefined && !self.is_empty() {
            return true;
        }
        // The shorter of both lists is gone through.
        if self.named.len() < credentials.len() {
            let mut named = self.named_and_known();
            return named.any(|caller| {
                questions::count();
                credentials.contains_key(caller)
            });
        }
        let knows = |caller: &String| {
            questions::count();
            self.named.get(caller.as_str()).is_some_and(|knows| *knows)
        };
        self.known > 0 && credentials.keys().any(knows)
    }

    /// Whether one serves a caller where lists of callers refuse nothing; with an upstream that has credentials, one of
    /// those that it has one for.
    pub(super) fn serves_despite_lists(&self, holders: Option<Holders>) -> bool {
        match holders {
            Some(holders) => holders.meet(self.reporting),
            None => self.reporting_serves,
        }
    }

    /// Whether lists of callers refuse nothing at one.
    pub(super) fn has_reporting(&self) -> bool {
        !self.reporting.is_empty()
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
