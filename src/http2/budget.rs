//! The memory for unread bytes beyond what connections always have, shared by all of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A connection gets at most this part of what is left (one quarter) at a time, so that something is left for
/// the others.
const PART: usize = 4;

/// How many bytes the windows of all connections may have together, beyond what each always has.
#[derive(Debug)]
pub struct Budget {
    total: AtomicUsize,
    taken: AtomicUsize,
    shortages: AtomicUsize,
}

/// The part of the budget that one connection holds. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of this many bytes. Zero: no connection has wider windows than it always has.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(total),
            taken: AtomicUsize::new(0),
            shortages: AtomicUsize::new(0),
        })
    }

    /// Changes the number of bytes. Shares that have been taken keep their size.
    pub fn resize(&self, total: usize) {
        self.total.store(total, Relaxed);
    }

    /// How often a connection could have used more than it got.
    pub fn shortages(&self) -> usize {
        self.shortages.load(Relaxed)
    }

    /// Whether windows may grow at all.
    pub(super) fn is_empty(&self) -> bool {
        self.total.load(Relaxed) == 0
    }

    /// A connection could use more than it got.
    pub(super) fn record_shortage(&self) {
        self.shortages.fetch_add(1, Relaxed);
    }
}

impl Share {
    /// The share of a new connection: nothing yet.
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it as large as this, or as the budget allows.
    pub(super) fn grow_to(&mut self, bytes: usize) {
        let Budget { total, taken, .. } = &*self.budget;
        let mut seen = taken.load(Relaxed);
        loop {
            let left = total.load(Relaxed).saturating_sub(seen);
            let more = bytes.saturating_sub(self.bytes).min(left / PART);
            if more == 0 {
                return;
            }
            match taken.compare_exchange_weak(seen, seen + more, Relaxed, Relaxed) {
                Ok(_) => {
                    self.bytes += more;
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Gives back what is beyond this many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.taken.fetch_sub(surplus, Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_add_up_to_more_than_there_is_and_come_back() {
        const MIB: usize = 1 << 20;
        let budget = Budget::new(64 * MIB);
        let mut shares: Vec<_> = (0..200).map(|_| Share::of(&budget)).collect();
        for share in &mut shares {
            share.grow_to(20 * MIB);
        }
        let first: Vec<_> = shares.iter().map(|share| share.bytes / MIB).collect();
        assert_eq!(first[..4], [16, 12, 9, 6]);
        // Whoever needs little gets it, and what it has already counts.
        let mut modest = Share::of(&Budget::new(64 * MIB));
        modest.grow_to(MIB);
        modest.grow_to(2 * MIB);
        assert_eq!(modest.bytes, 2 * MIB);
        let all: usize = shares.iter().map(|share| share.bytes).sum();
        assert!(all <= 64 * MIB && all > 63 * MIB, "{all}");
        shares[0].shrink_to(0);
        assert_eq!(budget.taken.load(Relaxed), all - 16 * MIB);
        drop(shares);
        assert_eq!(budget.taken.load(Relaxed), 0);
    }
}
