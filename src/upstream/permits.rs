//! How many connections to one endpoint may be open, in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits for connections. One is taken before a connection is dialled and held until it is closed, so
/// that a request on a connection that is already open costs nothing here.
#[derive(Debug)]
pub struct ConnectionPermits {
    free: Arc<Semaphore>,
    max: usize,
    /// How often none was free.
    refused: AtomicUsize,
}

/// Held by an open connection.
pub type ConnectionPermit = OwnedSemaphorePermit;

impl ConnectionPermits {
    /// This many permits.
    pub fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            refused: AtomicUsize::new(0),
        }
    }

    /// How many there are, including those that are taken.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// One, if one is free.
    pub fn take(&self) -> Option<ConnectionPermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok();
        if permit.is_none() {
            self.refused.fetch_add(1, Relaxed);
        }
        permit
    }

    /// How often a permit was refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Relaxed)
    }

    /// Whether none is free.
    pub fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }
}
