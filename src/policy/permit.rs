//! Which callers may use what.

use std::collections::{BTreeMap, HashMap};

use crate::config::{CallerList, Config};

/// An index of the callers of a configuration, in the order of their names.
pub type CallerIndex = u32;

/// The names of the callers of one configuration, by their indices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallerNames(Box<[Box<str>]>);

/// Some of the callers of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerSet {
    /// All of them.
    Any,
    /// These, sorted.
    Named(Box<[CallerIndex]>),
}

/// Who may use the listeners and routes of one configuration. A route that names no callers has no entry.
#[derive(Debug)]
pub struct PermitTable {
    /// In the order of the configuration; `None` for one that identifies nobody.
    listeners: Box<[Option<CallerSet>]>,
    /// By the index of the route.
    routes: HashMap<u32, CallerSet>,
}

impl CallerNames {
    /// Those of the tables `[callers.NAME]`.
    pub fn new<T>(callers: &BTreeMap<String, T>) -> Self {
        Self(callers.keys().map(|name| name.as_str().into()).collect())
    }

    /// The name of a caller.
    pub fn name(&self, caller: CallerIndex) -> &str {
        self.0.get(caller as usize).map_or("", |name| name)
    }

    /// The caller with a name.
    pub fn index(&self, name: &str) -> Option<CallerIndex> {
        let found = self.0.binary_search_by(|known| (**known).cmp(name));
        found.ok().map(|at| at as CallerIndex)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl CallerSet {
    /// The callers that a list means; `None` where nothing is said.
    pub fn new(list: &CallerList, names: &CallerNames) -> Option<Self> {
        match list {
            CallerList::Unsaid => None,
            CallerList::Any => Some(Self::Any),
            CallerList::Named(named) => {
                let indices = named.iter().filter_map(|name| names.index(name));
                let mut indices: Box<[_]> = indices.collect();
                indices.sort_unstable();
                Some(Self::Named(indices))
            }
        }
    }

    /// Whether a caller is one of them; nobody known is not.
    pub fn has(&self, caller: Option<CallerIndex>) -> bool {
        match (self, caller) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Named(indices), Some(caller)) => indices.binary_search(&caller).is_ok(),
        }
    }
}

impl PermitTable {
    /// What a configuration says.
    pub fn new(config: &Config, names: &CallerNames) -> Self {
        let set = |list| CallerSet::new(list, names);
        let listeners = config.listeners.iter();
        let routes = config.routes.iter().zip(0..);
        Self {
            listeners: listeners.map(|listener| set(&listener.callers)).collect(),
            routes: routes
                .filter_map(|(route, at)| Some((at, set(&route.callers)?)))
                .collect(),
        }
    }

    /// Whether a listener has to know who is calling.
    pub fn identifies(&self, listener: usize) -> bool {
        self.listeners[listener].is_some()
    }

    /// Whether a caller may use a listener; anybody, if it identifies nobody.
    pub fn may_use_listener(&self, listener: usize, caller: Option<CallerIndex>) -> bool {
        let callers = self.listeners[listener].as_ref();
        callers.is_none_or(|callers| callers.has(caller))
    }

    /// Whether a caller may take the route with this index.
    pub fn may_take_route(&self, route: u32, caller: Option<CallerIndex>) -> bool {
        self.routes.is_empty()
            || (self.routes.get(&route)).is_none_or(|callers| callers.has(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> CallerNames {
        let callers = ["a", "b", "c"].map(|name| (name.to_owned(), ()));
        CallerNames::new(&BTreeMap::from(callers))
    }

    #[test]
    fn nobody_is_in_a_list_that_names_nobody() {
        let names = names();
        let set = |list| CallerSet::new(&list, &names);
        assert_eq!(set(CallerList::Unsaid), None);
        let unknown = set(CallerList::Named(vec!["x".to_owned()])).unwrap();
        for caller in [None, Some(0), Some(1), Some(2)] {
            assert!(!unknown.has(caller));
        }
        let any = set(CallerList::Any).unwrap();
        assert!(any.has(Some(2)) && !any.has(None));
        let named = set(CallerList::Named(vec!["c".to_owned(), "a".to_owned()])).unwrap();
        let has = [None, Some(0), Some(1), Some(2)].map(|caller| named.has(caller));
        assert_eq!(has, [false, true, false, true]);
    }

    #[test]
    fn names_and_indices_belong_together() {
        let names = names();
        for (name, at) in ["a", "b", "c"].into_iter().zip(0..) {
            assert_eq!(names.index(name), Some(at));
            assert_eq!(names.name(at), name);
        }
        assert_eq!(names.index("d"), None);
        assert_eq!(names.name(3), "");
    }
}
