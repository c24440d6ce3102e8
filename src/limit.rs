//! How many of something there may be at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places, of which whoever does something holds one. Their number may change at any time.
#[derive(Debug)]
pub struct Limit {
    places: Arc<Semaphore>,
    max: Mutex<usize>,
    /// Places that a lower number took away while connections held them.
    excess: AtomicUsize,
}

/// What one holds until the end.
pub type Place = OwnedSemaphorePermit;

/// No places yet.
impl Default for Limit {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(0)),
            max: Mutex::new(0),
            excess: AtomicUsize::new(0),
        }
    }
}

impl Limit {
    /// So many places.
    pub fn new(max: usize) -> Self {
        let limit = Self::default();
        limit.set(max);
        limit
    }

    /// From now on there are so many places. Nobody is thrown out: where more are taken, those
    /// that become free are not given away again.
    pub fn set(&self, max: usize) {
        let mut known = self.max.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, max);
        if max < before {
            let fewer = before - max;
            let held = fewer - self.places.forget_permits(fewer);
            self.excess.fetch_add(held, Relaxed);
        } else {
            let more = max - before;
            let held = more.min(self.excess.load(Relaxed));
            let held = (0..held).take_while(|_| self.take_excess()).count();
            self.places.add_permits(more - held);
        }
    }

    /// Waits for a place.
    pub async fn place(&self) -> Place {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("nothing closes the semaphore");
            if !self.take_excess() {
                return place;
            }
            place.forget();
        }
    }

    /// A place, if one is free.
    pub fn free_place(&self) -> Option<Place> {
        loop {
            let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
            if !self.take_excess() {
                return Some(place);
            }
            place.forget();
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
    fn places_taken_away_while_held_are_not_given_again() {
        let limit = Limit::default();
        assert!(limit.free_place().is_none());
        limit.set(3);
        let mut held: Vec<_> = (0..3).filter_map(|_| limit.free_place()).collect();
        limit.set(1);
        held.pop();
        assert!(limit.free_place().is_none(), "two are held");
        held.pop();
        assert!(limit.free_place().is_none(), "one is held");
        limit.set(2);
        held.extend(limit.free_place());
        assert_eq!(held.len(), 2);
        assert!(limit.free_place().is_none());
        held.clear();
        held.extend(std::iter::from_fn(|| limit.free_place()));
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn raising_gives_back_what_lowering_took() {
        let limit = Limit::default();
        limit.set(4);
        let mut held: Vec<_> = (0..4).filter_map(|_| limit.free_place()).collect();
        limit.set(1);
        limit.set(5);
        held.extend(std::iter::from_fn(|| limit.free_place()));
        assert_eq!(held.len(), 5);
    }
}
