//! How much the checks of callers ask, for the tests of what they cost.

#[cfg(test)]
thread_local! {
    static ASKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts that it is asked whether a caller is let in or can be known.
pub(super) fn count() {
    #[cfg(test)]
    ASKED.set(ASKED.get() + 1);
}

/// How often this thread has asked.
#[cfg(test)]
pub(in crate::config) fn asked() -> usize {
    ASKED.get()
}
