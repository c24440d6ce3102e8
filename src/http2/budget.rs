//! The memory for unread bytes beyond the windows of streams, shared by all connections of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The largest share of one connection.
const LARGEST: usize = 16 << 20;

/// A connection gets at most this part of what is left (one eighth), so that something is left for
/// connections that begin later.
const PART: usize = 8;

/// How many bytes the windows of all connections may have together, beyond those of their streams.
#[derive(Debug)]
pub struct Budget {
    total: AtomicUsize,
    taken: AtomicUsize,
}

/// The part of the budget that one connection holds. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(total),
            taken: AtomicUsize::new(0),
        })
    }

    /// Changes the number of bytes. Shares that have been taken keep their size.
    pub fn resize(&self, total: usize) {
        self.total.store(total, Relaxed);
    }
}

impl Share {
    /// The share of a new connection.
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        let mut share = Self {
            budget: Arc::clone(budget),
            bytes: 0,
        };
        share.grow();
        share
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share larger if a new connection would get a larger one now.
    pub(super) fn grow(&mut self) {
        if self.bytes == LARGEST {
            return;
        }
        let Budget { total, taken } = &*self.budget;
        let mut seen = taken.load(Relaxed);
        loop {
            let left = total.load(Relaxed).saturating_sub(seen);
            let due = (left / PART).min(LARGEST);
            let more = due.saturating_sub(self.bytes);
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
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_add_up_to_more_than_there_is_and_come_back() {
        let budget = Budget::new(32 << 20);
        let shares: Vec<_> = (0..200).map(|_| Share::of(&budget)).collect();
        let first: Vec<_> = shares
            .iter()
            .map(|share| share.bytes >> 10)
            .take(3)
            .collect();
        assert_eq!(first, [4096, 3584, 3136]);
        let all: usize = shares.iter().map(|share| share.bytes).sum();
        assert!(all <= 32 << 20 && all > 31 << 20, "{all}");
        drop(shares);
        assert_eq!(budget.taken.load(Relaxed), 0);
        // One that got little gets more when there is more.
        let held = Share {
            budget: Arc::clone(&budget),
            bytes: 0,
        };
        budget.taken.store(32 << 20, Relaxed);
        let mut late = Share::of(&budget);
        assert_eq!(late.bytes, 0);
        budget.taken.store(0, Relaxed);
        late.grow();
        assert_eq!(late.bytes, 4 << 20);
        drop((held, late));
    }
}
