//! The pools of one shard for origins that nobody configured, such as those that clients name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::Scheme;
use tokio::time::Instant;
use url::Host;

use super::Pool;
use crate::upstream::endpoint::Endpoint;

/// Where a server is reached (RFC 6454 section 4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// A name or an address.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

/// The pools of one shard by origin, no more than a number. A pool is made when its origin is first asked for.
/// It disappears when its last connection has been closed because it was idle, or earlier to make room: the
/// one that was asked for longest ago goes first. One that requests use is never removed. Beside each pool
/// something is kept of its origin.
pub struct OriginPools<T> {
    pools: RefCell<HashMap<Origin, OriginEntry<T>>>,
    max: usize,
}

struct OriginEntry<T> {
    pool: Rc<Pool>,
    kept: T,
    asked_at: Instant,
}

/// Why there is no pool for an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginPoolError<E> {
    /// Requests use every pool that there may be.
    #[error("requests to {max} other origins are in progress, and no more are allowed")]
    Full {
        /// How many origins there may be.
        max: usize,
    },
    /// There is no endpoint for this origin.
    #[error(transparent)]
    Endpoint(E),
}

impl<T: Clone> OriginPools<T> {
    /// No pools, and never more than `max`.
    pub fn new(max: usize) -> Self {
        Self {
            pools: RefCell::default(),
            max,
        }
    }

    /// The pool of this origin, and what is kept beside it. If there is none yet, it is made from what `make`
    /// returns.
    ///
    /// # Errors
    /// All pools are in use, or `make` has failed.
    pub fn pool<E>(
        &self,
        origin: &Origin,
        now: Instant,
        make: impl FnOnce() -> Result<(Arc<Endpoint>, T), E>,
    ) -> Result<(Rc<Pool>, T), OriginPoolError<E>> {
        let mut pools = self.pools.borrow_mut();
        if let Some(entry) = pools.get_mut(origin) {
            entry.asked_at = now;
            return Ok((Rc::clone(&entry.pool), entry.kept.clone()));
        }
        let evicted = if pools.len() >= self.max {
            let idle = pools.iter().filter(|(_, entry)| !entry.pool.is_in_use());
            let oldest = idle.min_by_key(|(_, entry)| entry.asked_at);
            let oldest = oldest.map(|(origin, _)| origin.clone());
            Some(oldest.ok_or(OriginPoolError::Full { max: self.max })?)
        } else {
            None
        };
        let (endpoint, kept) = make().map_err(OriginPoolError::Endpoint)?;
        let pool = Pool::new(endpoint);
        if let Some(evicted) = evicted {
            pools.remove(&evicted);
        }
        let entry = OriginEntry {
            pool: Rc::clone(&pool),
            kept: kept.clone(),
            asked_at: now,
        };
        pools.insert(origin.clone(), entry);
        Ok((pool, kept))
    }

    /// Sweeps every pool, and removes those that have become empty.
    pub fn sweep(&self, now: Instant) {
        self.pools.borrow_mut().retain(|_, entry| {
            entry.pool.sweep(now);
            !entry.pool.is_unused()
        });
    }
}

#[cfg(test)]
mod tests;
