//! Mutexes whose content is replaced whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it. A panic elsewhere leaves what is locked in this module sound: it is replaced whole, part by
/// part.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
