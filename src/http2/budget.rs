//! Room for what is not read yet, shared by all connections of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The largest share of one connection.
const LARGEST: usize = 16 << 20;

/// A connection gets at most one part in so many of what is left, so that those that come later find
/// something too.
const PART: usize = 8;

/// The windows beyond those that every stream has, of all connections together.
#[derive(Debug)]
pub struct Budget {
    total: AtomicUsize,
    taken: AtomicUsize,
}

/// What one connection has of it.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// So many bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(total),
            taken: AtomicUsize::new(0),
        })
    }

    /// From now on there are so many. What has been taken stays so.
    pub fn resize(&self, total: usize) {
        self.total.store(total, Relaxed);
    }
}

impl Share {
    /// What a connection that begins now gets.
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        let mut share = Self {
            budget: Arc::clone(budget),
            bytes: 0,
        };
        share.grow();
        share
    }

    /// How much it is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more, if there is so much left that one that comes now would get more.
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
