//! How many connections to one upstream there may be, in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for connections. Taken when one is dialed and held until it is closed, so that a request
/// on a connection that is open already costs nothing here.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    max: usize,
    /// How often there was none.
    refused: AtomicUsize,
}

/// What an open connection holds.
pub type Place = OwnedSemaphorePermit;

impl Places {
    /// So many.
    pub fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            refused: AtomicUsize::new(0),
        }
    }

    /// How many there are, taken ones included.
    pub fn max(&self) -> usize {
        self.max
    }

    /// One, if it is free.
    pub fn take(&self) -> Option<Place> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        if place.is_none() {
            self.refused.fetch_add(1, Relaxed);
        }
        place
    }

    /// A number that is another one when somebody was refused since.
    pub fn refused(&self) -> usize {
        self.refused.load(Relaxed)
    }

    /// Whether every one is taken.
    pub fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }
}
