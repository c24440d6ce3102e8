//! Whether the limits of its caller and its route leave room for a request.

use super::error::{ErrorKind, ProxyError};
use crate::policy::{AskedFor, LimitPermit, RateLimited};
use crate::snapshot::Snapshot;

/// What a request holds of limits until its end: of those of its caller, and of those of its route.
#[derive(Debug, Default)]
pub struct HeldLimits([Option<LimitPermit>; 2]);

impl HeldLimits {
    /// What a request of this caller may hold that takes this route.
    ///
    /// # Errors
    /// `rate_limited`. The caller comes first: what it is refused has used nothing of the route, which others share.
    pub fn acquire(
        snapshot: &Snapshot,
        caller: Option<usize>,
        route: Option<usize>,
        asked: AskedFor,
    ) -> Result<Self, ProxyError> {
        let limits = &snapshot.limits;
        let caller = caller.and_then(|caller| limits.caller(caller));
        let route = route.and_then(|route| limits.route(route));
        let caller = caller.map(|limits| limits.admit(asked));
        let caller = caller
            .transpose()
            .map_err(|limited| refused(&limited, "caller"))?;
        let route = route.map(|limits| limits.admit(asked));
        let route = route
            .transpose()
            .map_err(|limited| refused(&limited, "route"))?;
        Ok(Self([caller, route]))
    }

    /// What the tunnel holds that the request has become. The rest ends with the request.
    pub fn take_tunnel(&mut self) -> Self {
        Self(self.0.each_mut().map(|held| held.as_mut()?.take_tunnel()))
    }
}

#[cold]
fn refused(limited: &RateLimited, whose: &str) -> ProxyError {
    let RateLimited {
        key,
        limit,
        retry_after,
    } = limited;
    let detail = match *key {
        "concurrent" => format!(
            "the {whose} has {limit} requests in progress, which is its limit ({key}); send fewer at once"
        ),
        "tunnels" => {
            format!("the {whose} has {limit} tunnels open, which is its limit ({key}); close some")
        }
        _ => format!("the {whose} may send {limit} requests a second ({key}); send fewer"),
    };
    ProxyError::new(ErrorKind::RateLimited, detail).retry_after(*retry_after)
}
