//! A bounded memory of what was found out about tokens, found by their digests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::{ArcSwapOption, Guard};

use super::digest::TokenDigest;

/// In how many places an entry may be.
const WAYS: usize = 4;

/// Read without a lock and without an allocation, by any number of threads. An entry may be lost at any time:
/// what it knew is found out again.
pub(super) struct TokenTable<T>(Box<[Slot<T>]>);

type Slot<T> = ArcSwapOption<Entry<T>>;

/// What is known of one token.
pub(super) struct Entry<T> {
    digest: TokenDigest,
    /// It was read since it had to make room last.
    used: AtomicBool,
    value: T,
}

impl<T> TokenTable<T> {
    /// With this many places at least.
    pub(super) fn new(places: usize) -> Self {
        let places = places.next_power_of_two().max(WAYS);
        Self(std::iter::repeat_with(Slot::empty).take(places).collect())
    }

    /// What `read` makes of what is known of a token.
    pub(super) fn get<R>(&self, digest: &TokenDigest, read: impl FnOnce(&T) -> R) -> Option<R> {
        let held = self.places(digest).iter().map(ArcSwapOption::load);
        let held = held.filter_map(|held: Guard<Option<Arc<Entry<T>>>>| {
            let is_it = held.as_ref().is_some_and(|entry| entry.digest == *digest);
            is_it.then_some(held)
        });
        let held = { held }.next()?;
        let entry = held.as_ref()?;
        // Written once only, so that readers do not take the line of the cache from each other.
        if !entry.used.load(Relaxed) {
            entry.used.store(true, Relaxed);
        }
        Some(read(&entry.value))
    }

    /// Takes in what is known of a token, in place of what was known before; else in a place whose entry is of no use
    /// any more, or has not been read for longest.
    pub(super) fn insert(&self, digest: TokenDigest, value: T, is_useless: impl Fn(&T) -> bool) {
        let places = self.places(&digest);
        let find = |fits: &dyn Fn(&Entry<T>) -> bool| {
            places
                .iter()
                .position(|place| place.load().as_ref().is_none_or(|entry| fits(entry)))
        };
        let is_same = |place: &Slot<T>| {
            let held = place.load();
            held.as_ref().is_some_and(|entry| entry.digest == digest)
        };
        let place = places
            .iter()
            .position(is_same)
            .or_else(|| find(&|entry| is_useless(&entry.value)))
            .or_else(|| find(&|entry| !entry.used.load(Relaxed)))
            .unwrap_or_else(|| {
                for place in places {
                    if let Some(entry) = place.load().as_ref() {
                        entry.used.store(false, Relaxed);
                    }
                }
                digest.way() as usize % WAYS
            });
        places[place].store(Some(Arc::new(Entry {
            digest,
            used: AtomicBool::new(true),
            value,
        })));
    }

    /// Everything that is known, for a table that takes its place.
    pub(super) fn for_each(&self, mut visit: impl FnMut(TokenDigest, &T)) {
        for place in &self.0 {
            if let Some(entry) = place.load().as_ref() {
                visit(entry.digest, &entry.value);
            }
        }
    }

    fn places(&self, digest: &TokenDigest) -> &[Slot<T>] {
        let sets = self.0.len() / WAYS;
        let set = digest.set() as usize & (sets - 1);
        &self.0[set * WAYS..][..WAYS]
    }
}
