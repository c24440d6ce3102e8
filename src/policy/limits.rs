//! How much one caller or one route may ask for: requests over time, requests at once, and tunnels at once.
//!
//! One state is shared by all shards. It is asked without a lock and without an allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::config::Limits;

/// Requests and tunnels end all the time; some place is free again soon.
const PLACES_RETURN: Duration = Duration::from_secs(1);

/// The limits of one caller or one route, and what of them is used.
#[derive(Debug)]
pub struct LimitState {
    limits: Limits,
    bucket: Option<TokenBucket>,
    in_use: Arc<InUse>,
}

/// What is held at once. A reload that changes the limits keeps it.
#[derive(Debug, Default)]
struct InUse {
    requests: AtomicU32,
    tunnels: AtomicU32,
}

/// What becomes of a request that is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A request and its response.
    Response,
    /// A request that may become a tunnel.
    Tunnel,
}

/// What a request holds of one limit: its place, and that of the tunnel that it may become.
#[derive(Debug)]
pub struct LimitPermit {
    in_use: Arc<InUse>,
    is_request: bool,
    is_tunnel: bool,
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimited {
    /// Which one: its key.
    pub key: &'static str,
    /// How much it allows.
    pub limit: u32,
    /// When it makes sense to try again.
    pub retry_after: Duration,
}

/// How much of the limits is used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LimitUse {
    /// Requests in progress.
    pub requests: u32,
    /// Open tunnels, and those that are asked for.
    pub tunnels: u32,
}

impl LimitState {
    /// The state of these limits. Of `old`, the state before a reload, all is kept: the very same state where the limits are
    /// the same. `None` where nothing is limited, and nothing is held of limits that were: they may come back.
    pub fn build(limits: Limits, old: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if limits == Limits::default() && !old.is_some_and(|old| old.is_in_use()) {
            return None;
        }
        if let Some(same) = old.filter(|old| old.limits == limits) {
            return Some(Arc::clone(same));
        }
        let old_bucket = old.and_then(|old| old.bucket.as_ref());
        let bucket = limits.requests_per_second.map(|rate| {
            let burst = limits.burst.unwrap_or(rate);
            TokenBucket::new(rate, burst, old_bucket)
        });
        Some(Arc::new(Self {
            limits,
            bucket,
            in_use: old.map_or_else(Arc::default, |old| Arc::clone(&old.in_use)),
        }))
    }

    /// A place for a request. What is refused has used nothing.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn admit(&self, kind: RequestKind) -> Result<LimitPermit, RateLimited> {
        let Limits {
            concurrent,
            tunnels,
            ..
        } = self.limits;
        // Dropped, it gives back what it has got so far.
        let mut permit = LimitPermit {
            in_use: Arc::clone(&self.in_use),
            is_request: false,
            is_tunnel: false,
        };
        take(&self.in_use.requests, concurrent).map_err(|limit| no_place("concurrent", limit))?;
        permit.is_request = true;
        if kind == RequestKind::Tunnel {
            take(&self.in_use.tunnels, tunnels).map_err(|limit| no_place("tunnels", limit))?;
            permit.is_tunnel = true;
        }
        // Last: the others can be given back.
        if let Some(bucket) = &self.bucket {
            bucket.take().map_err(|after| self.too_fast(after))?;
        }
        Ok(permit)
    }

    /// Gives back what an admitted request has taken of the rate, since another limit has refused it.
    pub fn return_rate(&self) {
        if let Some(bucket) = &self.bucket {
            bucket.put_back();
        }
    }

    /// Whether [`admit`](Self::admit) would find a place now, for the last one of so many requests one behind the other. Nothing
    /// is taken.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn judge(&self, kind: RequestKind, requests: u32) -> Result<(), RateLimited> {
        let (limits, used) = (&self.limits, self.in_use());
        let reached = |used: u32, limit: Option<u32>| limit.filter(|limit| used >= *limit);
        if let Some(limit) = reached(used.requests, limits.concurrent) {
            return Err(no_place("concurrent", limit));
        }
        if kind == RequestKind::Tunnel
            && let Some(limit) = reached(used.tunnels, limits.tunnels)
        {
            return Err(no_place("tunnels", limit));
        }
        let wait = (self.bucket.as_ref()).and_then(|bucket| bucket.wait(requests));
        wait.map_or(Ok(()), |after| Err(self.too_fast(after)))
    }

    /// How many requests the rate lets pass at once now; `None` where it is not limited.
    pub fn left(&self) -> Option<u32> {
        self.bucket.as_ref().map(TokenBucket::left)
    }

    #[cold]
    fn too_fast(&self, retry_after: Duration) -> RateLimited {
        RateLimited {
            key: "requests_per_second",
            limit: self.limits.requests_per_second.unwrap_or_default(),
            retry_after,
        }
    }

    /// How much is used now.
    pub fn in_use(&self) -> LimitUse {
        LimitUse {
            requests: self.in_use.requests.load(Relaxed),
            tunnels: self.in_use.tunnels.load(Relaxed),
        }
    }

    /// Whether anything is held of it.
    pub fn is_in_use(&self) -> bool {
        let LimitUse { requests, tunnels } = self.in_use();
        requests > 0 || tunnels > 0
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl LimitPermit {
    /// The place of the tunnel that the request has become; it is held apart from that of the request.
    pub fn take_tunnel(&mut self) -> Option<Self> {
        std::mem::take(&mut self.is_tunnel).then(|| Self {
            in_use: Arc::clone(&self.in_use),
            is_request: false,
            is_tunnel: true,
        })
    }
}

impl Drop for LimitPermit {
    fn drop(&mut self) {
        if self.is_request {
            self.in_use.requests.fetch_sub(1, Relaxed);
        }
        if self.is_tunnel {
            self.in_use.tunnels.fetch_sub(1, Relaxed);
        }
    }
}

/// Counts one more, unless that exceeds the limit, which is the error. Without a limit it is counted too: a reload may
/// bring one.
fn take(counter: &AtomicU32, limit: Option<u32>) -> Result<(), u32> {
    let Some(limit) = limit else {
        counter.fetch_add(1, Relaxed);
        return Ok(());
    };
    let one_more = |held: u32| (held < limit).then_some(held + 1);
    let taken = counter.fetch_update(Relaxed, Relaxed, one_more);
    taken.map(drop).map_err(|_| limit)
}

#[cold]
fn no_place(key: &'static str, limit: u32) -> RateLimited {
    RateLimited {
        key,
        limit,
        retry_after: PLACES_RETURN,
    }
}

/// A token bucket, kept as one number: the time at which it is full again (the generic cell rate algorithm of ITU-T
/// I.371). It gives a burst at once and refills evenly.
#[derive(Debug)]
struct TokenBucket {
    start: Instant,
    /// From `start`, in nanoseconds.
    full_at: AtomicU64,
    /// In which one token comes, in nanoseconds.
    interval: u64,
    burst: u32,
}

impl TokenBucket {
    /// A bucket of `burst` tokens into which `rate` a second come. It lacks as many as `old` lacks.
    fn new(rate: u32, burst: u32, old: Option<&Self>) -> Self {
        let start = old.map_or_else(Instant::now, |old| old.start);
        let interval = 1_000_000_000 / u64::from(rate.max(1));
        let lacks = |old: &Self| {
            let now = old.now();
            let missing = old.full_at.load(Relaxed).saturating_sub(now);
            now + missing.div_ceil(old.interval).min(burst.into()) * interval
        };
        Self {
            full_at: AtomicU64::new(old.map_or(0, lacks)),
            start,
            interval,
            burst,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// Takes one token.
    ///
    /// # Errors
    /// There is none: the time until there is one.
    fn take(&self) -> Result<(), Duration> {
        let now = self.now();
        let latest = self.latest(now);
        let next = |full_at: u64| (full_at <= latest).then_some(full_at.max(now) + self.interval);
        match self.full_at.fetch_update(Relaxed, Relaxed, next) {
            Ok(_) => Ok(()),
            Err(full_at) => Err(Duration::from_nanos(full_at - latest)),
        }
    }

    /// Puts back one that was taken.
    fn put_back(&self) {
        self.full_at.fetch_sub(self.interval, Relaxed);
    }

    /// With one token in it, at least, it is full by then.
    fn latest(&self, now: u64) -> u64 {
        now + u64::from(self.burst.max(1) - 1) * self.interval
    }

    /// The time until there are so many tokens, one behind the other; `None` if there are.
    fn wait(&self, tokens: u32) -> Option<Duration> {
        let now = self.now();
        let others = u64::from(tokens.max(1) - 1) * self.interval;
        let full_at = self.full_at.load(Relaxed).max(now) + others;
        let missing = full_at.checked_sub(self.latest(now));
        let missing = missing.filter(|missing| *missing > 0);
        missing.map(Duration::from_nanos)
    }

    /// The tokens in it.
    fn left(&self) -> u32 {
        let missing = self.full_at.load(Relaxed).saturating_sub(self.now());
        let missing = missing.div_ceil(self.interval);
        let left = u64::from(self.burst.max(1)).saturating_sub(missing);
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
