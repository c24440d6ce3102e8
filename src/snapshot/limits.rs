//! The limits of callers and routes, and what they keep over a reload.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::config::{self, Config, HostPattern};
use crate::policy::LimitState;

/// The limits of one configuration. A caller or a route without any takes no room where no other has any.
#[derive(Debug, Default)]
pub struct LimitTable {
    /// In the order of the names of the configuration; empty if none has limits.
    callers: Box<[Option<Arc<LimitState>>]>,
    /// In the order of the configuration; empty if none has limits.
    routes: Box<[Option<Arc<LimitState>>]>,
}

/// What makes a route of two configurations the same.
type RouteKey<'c> = (Option<&'c str>, &'c HostPattern, &'c str, &'c [Method]);

impl LimitTable {
    /// The limits of `config`; what is held and used of those of the configuration before it stays.
    pub(super) fn build(config: &Config, old: Option<(&Config, &Self)>) -> Self {
        let known = old.map(|(old, table)| {
            let names = old.callers.keys().map(String::as_str);
            let states = table.callers.iter();
            let callers: HashMap<_, _> = names.zip(states).collect();
            let routes = old.routes.iter().map(route_key);
            let routes: HashMap<_, _> = routes.zip(&table.routes).collect();
            (callers, routes)
        });
        let caller = |caller: &config::Caller| {
            let known = known.as_ref();
            let old = known.and_then(|(callers, _)| callers.get(caller.name.as_str())?.as_ref());
            LimitState::build(caller.limits, old)
        };
        let route = |route: &config::Route| {
            let known = known.as_ref();
            let old = known.and_then(|(_, routes)| routes.get(&route_key(route))?.as_ref());
            LimitState::build(route.limits, old)
        };
        Self {
            callers: unless_all_none(config.callers.values().map(caller)),
            routes: unless_all_none(config.routes.iter().map(route)),
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

fn route_key(route: &config::Route) -> RouteKey<'_> {
    let listener = route.listener.as_deref();
    (listener, &route.host, &route.path, &route.methods)
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
