//! Whether the limits of its caller and its route leave room for a request.

use super::error::{ErrorKind, ProxyError};
use crate::policy::{LimitPermit, LimitState, RateLimited, RequestKind};
use crate::snapshot::Snapshot;

/// What a request holds of limits until its end: of those of its caller, and of those of its route.
#[derive(Debug, Default)]
pub struct HeldLimits([Option<LimitPermit>; 2]);

/// A limit that leaves no room.
#[derive(Debug)]
pub struct LimitReached {
    limited: RateLimited,
    is_of_caller: bool,
}

impl HeldLimits {
    /// What a request of this caller may hold that takes this route.
    ///
    /// # Errors
    /// A limit is reached. The caller's come first: what they refuse has used nothing of the route's, which others share. What
    /// the route's refuse has used nothing of the caller's.
    pub fn acquire(
        snapshot: &Snapshot,
        caller: Option<usize>,
        route: Option<usize>,
        kind: RequestKind,
    ) -> Result<Self, LimitReached> {
        let (of_caller, of_route) = limits(snapshot, caller, route);
        let caller = of_caller.map(|limits| limits.admit(kind).map_err(reached(true)));
        let caller = caller.transpose()?;
        let route = of_route.map(|limits| limits.admit(kind).map_err(reached(false)));
        let route = route.transpose().inspect_err(|_| {
            of_caller.inspect(|limits| limits.return_rate());
        });
        Ok(Self([caller, route?]))
    }

    /// Whether [`acquire`](Self::acquire) would find room now, for the last one of so many requests of the caller that come one
    /// behind the other. Nothing is held or used.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn judge(
        snapshot: &Snapshot,
        caller: Option<(usize, u32)>,
        route: Option<usize>,
        kind: RequestKind,
    ) -> Result<(), LimitReached> {
        let requests = caller.map_or(1, |(_, requests)| requests);
        let (caller, route) = limits(snapshot, caller.map(|(at, _)| at), route);
        let judge = |limits: &LimitState, requests, is_of_caller| {
            let judged = limits.judge(kind, requests);
            judged.map_err(reached(is_of_caller))
        };
        caller.map_or(Ok(()), |limits| judge(limits, requests, true))?;
        route.map_or(Ok(()), |limits| judge(limits, 1, false))
    }

    /// What the tunnel holds that the request has become. The rest ends with the request.
    pub fn take_tunnel(&mut self) -> Self {
        Self(self.0.each_mut().map(|held| held.as_mut()?.take_tunnel()))
    }
}

fn limits(
    snapshot: &Snapshot,
    caller: Option<usize>,
    route: Option<usize>,
) -> (Option<&LimitState>, Option<&LimitState>) {
    let limits = &snapshot.limits;
    let caller = caller.and_then(|caller| limits.caller(caller));
    let route = route.and_then(|route| limits.route(route));
    (caller.map(|of| &**of), route.map(|of| &**of))
}

fn reached(is_of_caller: bool) -> impl Fn(RateLimited) -> LimitReached {
    move |limited| LimitReached {
        limited,
        is_of_caller,
    }
}

impl LimitReached {
    /// Which keys hold it.
    pub fn keys(&self) -> &'static str {
        if self.is_of_caller {
            "`limits` of [callers.NAME]"
        } else {
            "`limits` of the route"
        }
    }

    /// Which one, for the audit.
    pub fn rule(&self) -> &'static str {
        match (self.is_of_caller, self.limited.key) {
            (true, "concurrent") => "callers.limits.concurrent",
            (true, "tunnels") => "callers.limits.tunnels",
            (true, _) => "callers.limits.requests_per_second",
            (false, "concurrent") => "routes.limits.concurrent",
            (false, "tunnels") => "routes.limits.tunnels",
            (false, _) => "routes.limits.requests_per_second",
        }
    }

    /// What the client is told, who learns no name by it.
    #[cold]
    pub fn to_error(&self) -> ProxyError {
        let RateLimited {
            key,
            limit,
            retry_after,
        } = self.limited;
        let whose = if self.is_of_caller { "caller" } else { "route" };
        let detail = match key {
            "concurrent" => format!(
                "requests in progress: the limit of the {whose} (concurrent) is {limit}; send fewer at once"
            ),
            "tunnels" => format!(
                "open tunnels: the limit of the {whose} (tunnels) is {limit}; close some first"
            ),
            _ => format!(
                "requests a second: the limit of the {whose} (requests_per_second) is {limit}; send fewer"
            ),
        };
        ProxyError::new(ErrorKind::RateLimited, detail).retry_after(retry_after)
    }
}
