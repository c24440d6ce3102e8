//! The certificates that have been signed, by host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;

/// How many hosts have a certificate that is kept. A client may name any number of them where a route takes a wildcard.
pub(super) const MOST_LEAVES: usize = 1024;

/// What is presented for one host.
#[derive(Clone)]
pub(super) struct KnownLeaf {
    /// With HTTP/1.1 alone.
    pub(super) http1: Arc<ServerConfig>,
    /// With HTTP/2 and HTTP/1.1.
    pub(super) http2: Arc<ServerConfig>,
    /// The first moment at which it is valid, since the Unix epoch.
    pub(super) not_before: Duration,
    /// When another one is made, since the Unix epoch.
    pub(super) renewal: Duration,
}

/// The most recently used ones.
#[derive(Default)]
pub(super) struct Leaves(Mutex<LeavesByHost>);

#[derive(Default)]
struct LeavesByHost {
    by_host: HashMap<Box<str>, (KnownLeaf, u64)>,
    /// Counts the uses.
    uses: u64,
}

impl KnownLeaf {
    /// Whether it is to be presented now. A clock that was set back makes it one of the future.
    fn is_current(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        (self.not_before..self.renewal).contains(&now)
    }
}

impl Leaves {
    /// The one for a host, if it has one that is current.
    pub(super) fn get(&self, host: &str, now: SystemTime) -> Option<KnownLeaf> {
        // What is locked is changed in one step, so a panic elsewhere leaves it sound.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.uses += 1;
        let uses = known.uses;
        let (leaf, used) = known.by_host.get_mut(host)?;
        *used = uses;
        Some(leaf.clone()).filter(|leaf| leaf.is_current(now))
    }

    /// Keeps one. Where another thread was faster, that one's.
    pub(super) fn insert(&self, host: &str, leaf: KnownLeaf, now: SystemTime) -> KnownLeaf {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.uses += 1;
        let uses = known.uses;
        if let Some((faster, _)) = known.by_host.get(host)
            && faster.is_current(now)
        {
            return faster.clone();
        }
        if known.by_host.len() >= MOST_LEAVES && !known.by_host.contains_key(host) {
            let by_host = known.by_host.iter();
            let oldest = by_host.min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                known.by_host.remove(&oldest);
            }
        }
        known.by_host.insert(host.into(), (leaf.clone(), uses));
        leaf
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_host
            .len()
    }
}
