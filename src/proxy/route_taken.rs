//! The route that a request takes, whatever way it came.

use crate::route::Match;
use crate::snapshot::{RouteTarget, Snapshot};

/// The route that a request takes.
pub struct RouteTaken<'s> {
    /// The index of its upstream.
    pub upstream: u32,
    /// The index of its label.
    pub route: u32,
    /// How many bytes of the path a prefix covers that is replaced, and what takes its place.
    pub replace_prefix: Option<(usize, &'s str)>,
    /// The path of the request has that of the upstream's URL already.
    pub has_base_path: bool,
}

impl<'s> RouteTaken<'s> {
    /// One that was written.
    pub fn written(found: &Match<'s, RouteTarget>) -> Self {
        let replacement = found.value.replace_prefix.as_deref();
        Self {
            upstream: found.value.upstream,
            route: found.value.route,
            replace_prefix: replacement.map(|replacement| (found.prefix_len, replacement)),
            has_base_path: false,
        }
    }

    /// To the upstream with this index, by the written route with that one, whatever the path.
    pub fn to(upstream: u32, route: u32) -> Self {
        Self {
            upstream,
            route,
            replace_prefix: None,
            has_base_path: false,
        }
    }

    /// By an own name of the upstream with this index.
    pub fn implied(snapshot: &Snapshot, upstream: u32) -> Self {
        Self {
            upstream,
            route: snapshot.implied_route(upstream),
            replace_prefix: None,
            has_base_path: true,
        }
    }
}
