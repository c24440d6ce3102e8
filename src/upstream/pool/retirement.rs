//! Which connections should be replaced, because they have been open for long or lead to an address where
//! the server is no longer.
//!
//! Such a connection is closed when it is idle, and only after another one has been opened since it became
//! old. Where none can be opened the old one is used on, and a new one is tried now and then. So no
//! request fails because a connection is old.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::endpoint::Endpoint;

/// The largest part of `max_connection_age` by which a connection may become old earlier, so that those
/// that were opened together do not end together.
const SPREAD: f64 = 0.15;

/// How long after one attempt to open a replacement the next one is made.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a connection becomes old.
pub struct Age {
    old_at: Option<Instant>,
    peer: IpAddr,
}

impl Age {
    /// Of a connection that has just been opened.
    pub(super) fn new(endpoint: &Endpoint, peer: IpAddr) -> Self {
        let max = endpoint.max_connection_age;
        let spread = 1.0 - SPREAD * fastrand::f64();
        Self {
            old_at: max.map(|max| Instant::now() + max.mul_f64(spread)),
            peer,
        }
    }

    /// The address that the connection leads to.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }
}

/// Decides which connections of one shard should be replaced.
#[derive(Default)]
pub(super) struct Retirement {
    /// Addresses where the server is no longer, with the time since when; and the version of this.
    gone: RefCell<(u64, HashMap<IpAddr, Instant>)>,
    /// An old connection is in use, because nobody knows whether a new one could be opened.
    wants_replacement: Cell<bool>,
    /// When the next replacement may be tried.
    next_attempt: Cell<Option<Instant>>,
}

impl Retirement {
    /// Whether a connection should be closed as soon as nobody needs it.
    pub(super) fn is_due(&self, endpoint: &Endpoint, age: &Age, now: Instant) -> bool {
        let Some(old_at) = age.old_at else {
            return false;
        };
        let since = if now >= old_at {
            Some(old_at)
        } else {
            self.gone.borrow().1.get(&age.peer).copied()
        };
        let Some(since) = since else {
            return false;
        };
        let is_replaceable =
            endpoint.history.has_connected_since(since) || endpoint.permits.is_full();
        if !is_replaceable {
            self.wants_replacement.set(true);
        }
        is_replaceable
    }

    /// Learns which addresses the server has left since.
    pub(super) fn refresh(&self, endpoint: &Endpoint) {
        let addresses = endpoint.connector.addresses();
        if addresses.version() != self.gone.borrow().0 {
            *self.gone.borrow_mut() = (addresses.version(), addresses.gone_addresses());
        }
    }

    /// Whether a replacement should be opened now. If so, no other one is due for a while.
    pub(super) fn take_attempt(&self, now: Instant) -> bool {
        let is_wanted = self.wants_replacement.take();
        let is_due = is_wanted && self.next_attempt.get().is_none_or(|at| at <= now);
        if is_due {
            self.next_attempt.set(Some(now + RETRY_AFTER));
        }
        is_due
    }
}
