//! How many of something there may be at once.

mod fair;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use fair::{FairLimit, FairPermit};

/// A number of permits, one of which is held by each that does something. The number may change at any
/// time. A new limit has none.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    semaphore: Arc<Semaphore>,
    max: Mutex<usize>,
    /// Permits that a lower number took away while somebody held them: they are not given away again.
    excess: AtomicUsize,
}

/// What one holds until the end.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
    limit: Arc<ConcurrencyLimit>,
}

impl Permit {
    /// Another one of the same limit, if one is free.
    pub fn another(&self) -> Option<Self> {
        self.limit.try_acquire()
    }
}

impl Default for ConcurrencyLimit {
    fn default() -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(0)),
            max: Mutex::new(0),
            excess: AtomicUsize::new(0),
        }
    }
}

impl ConcurrencyLimit {
    /// This number of permits.
    pub fn new(max: usize) -> Self {
        let limit = Self::default();
        limit.set(max);
        limit
    }

    /// Changes the number of permits. Permits that are held stay valid. If more are held than there may be, the
    /// surplus is not given out again after it was released.
    pub fn set(&self, max: usize) {
        let mut current = self.max.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, max);
        if max < before {
            let fewer = before - max;
            let held = fewer - self.semaphore.forget_permits(fewer);
            self.excess.fetch_add(held, Relaxed);
        } else {
            let more = max - before;
            let held = more.min(self.excess.load(Relaxed));
            let held = (0..held).take_while(|_| self.take_excess()).count();
            self.semaphore.add_permits(more - held);
        }
    }

    /// Waits for a permit.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            let permit = Arc::clone(&self.semaphore).acquire_owned().await;
            let permit = permit.expect("nothing closes the semaphore");
            if !self.take_excess() {
                return self.given(permit);
            }
            permit.forget();
        }
    }

    /// A permit, if one is free.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        loop {
            let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
            if !self.take_excess() {
                return Some(self.given(permit));
            }
            permit.forget();
        }
    }

    fn given(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Permit {
        Permit {
            _permit: permit,
            limit: Arc::clone(self),
        }
    }

    fn take_excess(&self) -> bool {
        let one_less = |excess: usize| excess.checked_sub(1);
        self.excess.fetch_update(Relaxed, Relaxed, one_less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_taken_away_while_held_are_not_given_again() {
        let limit = Arc::new(ConcurrencyLimit::default());
        assert!(limit.try_acquire().is_none());
        limit.set(3);
        let mut held: Vec<_> = (0..3).filter_map(|_| limit.try_acquire()).collect();
        limit.set(1);
        held.pop();
        assert!(limit.try_acquire().is_none(), "two are held");
        held.pop();
        assert!(limit.try_acquire().is_none(), "one is held");
        limit.set(2);
        held.extend(limit.try_acquire());
        assert_eq!(held.len(), 2);
        assert!(limit.try_acquire().is_none());
        held.clear();
        held.extend(std::iter::from_fn(|| limit.try_acquire()));
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn raising_gives_back_what_lowering_took() {
        let limit = Arc::new(ConcurrencyLimit::default());
        limit.set(4);
        let mut held: Vec<_> = (0..4).filter_map(|_| limit.try_acquire()).collect();
        limit.set(1);
        limit.set(5);
        held.extend(std::iter::from_fn(|| limit.try_acquire()));
        assert_eq!(held.len(), 5);
    }
}
