//! The limits of callers and routes, and what they keep over a reload.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::config::{self, Config, HostPattern, Limits};
use crate::policy::LimitState;

/// The limits of one configuration. A caller or a route without any takes no room where no other has any.
#[derive(Debug, Default)]
pub struct LimitTable {
    /// In the order of the names of the configuration; empty if none has limits.
    callers: Box<[Option<Arc<LimitState>>]>,
    /// In the order of the configuration; empty if none has limits.
    routes: Box<[Option<Arc<LimitState>>]>,
}

/// What makes a route of two configurations the same, together with its methods.
type RouteKey<'c> = (Option<&'c str>, &'c HostPattern, &'c str);

/// The state of one of the routes that have the same key.
type StateOfMethods<'c> = (&'c [Method], &'c Arc<LimitState>);

/// Whether a route with some methods goes on with the state of one with others.
type MethodsFit = fn(&[Method], &[Method]) -> bool;

impl LimitTable {
    /// The limits of `config`; what is held and used of those of the configuration before it stays.
    pub(super) fn build(config: &Config, old: Option<(&Config, &Self)>) -> Self {
        let known = old.map(|(old, table)| {
            let names = old.callers.keys().map(String::as_str);
            let states = table.callers.iter();
            let callers: HashMap<_, _> = names.zip(states).collect();
            callers
        });
        let caller = |caller: &config::Caller| {
            let known = known.as_ref();
            let old = known.and_then(|callers| callers.get(caller.name.as_str())?.as_ref());
            LimitState::build(caller.limits, old)
        };
        let before = match old {
            Some((old, table)) => states_before(&config.routes, &old.routes, &table.routes),
            None => Vec::new(),
        };
        let before = before.into_iter().chain(std::iter::repeat(None));
        let routes = config.routes.iter().zip(before);
        Self {
            callers: unless_all_none(config.callers.values().map(caller)),
            routes: unless_all_none(routes.map(|(it, old)| LimitState::build(it.limits, old))),
        }
    }

    /// Those of the caller with this index.
    pub fn caller(&self, caller: usize) -> Option<&Arc<LimitState>> {
        self.callers.get(caller)?.as_ref()
    }

    /// Those of the route with this index, which may be one that is not configured: it has none.
    pub fn route(&self, route: usize) -> Option<&Arc<LimitState>> {
        self.routes.get(route)?.as_ref()
    }
}

/// The state that each of these routes had before a reload. If no old route has the same methods, it is the state of a route
/// that differs in its methods alone, first of all of one that names one of its methods. A route without limits has at most
/// one that is in use.
fn states_before<'c>(
    routes: &'c [config::Route],
    old: &'c [config::Route],
    states: &'c [Option<Arc<LimitState>>],
) -> Vec<Option<&'c Arc<LimitState>>> {
    let mut known: HashMap<RouteKey<'_>, Vec<StateOfMethods<'_>>> = HashMap::new();
    for (route, state) in old.iter().zip(states) {
        if let Some(state) = state {
            let of_key = known.entry(route_key(route)).or_default();
            of_key.push((&route.methods, state));
        }
    }
    let mut take = |route: &'c config::Route, fits: MethodsFit| {
        let of_key = known.get_mut(&route_key(route))?;
        let at = of_key
            .iter()
            .position(|(methods, _)| fits(&route.methods, methods))?;
        Some(of_key.remove(at).1)
    };
    let same: MethodsFit = |new, old| new == old;
    let common: MethodsFit = |new, old| new.iter().any(|method| old.contains(method));
    let any: MethodsFit = |_, _| true;
    let mut found = vec![None; routes.len()];
    for fits in [same, common, any] {
        for (route, found) in routes.iter().zip(&mut found) {
            if found.is_none() && route.limits != Limits::default() {
                *found = take(route, fits);
            }
        }
    }
    // They throw away what is not in use: the others choose first.
    for (route, found) in routes.iter().zip(&mut found) {
        if route.limits == Limits::default() {
            *found = take(route, same);
        }
    }
    found
}

fn route_key(route: &config::Route) -> RouteKey<'_> {
    (route.listener.as_deref(), &route.host, &route.path)
}

fn unless_all_none(
    states: impl Iterator<Item = Option<Arc<LimitState>>>,
) -> Box<[Option<Arc<LimitState>>]> {
    let states: Box<[_]> = states.collect();
    if states.iter().all(Option::is_none) {
        return Box::default();
    }
    states
}
