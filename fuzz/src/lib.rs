//! What the fuzz targets share: bounds on time and memory.
//!
//! Each target in `targets/` reads arbitrary bytes and checks one part of sidebearer against what
//! must hold for every input. `run` builds and runs them, in CI for a minute.

pub mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Stands for a secret in inputs: wherever it may not be shown, it is looked for.
pub const SECRET: &str = "hunter2";

/// The system's allocator, and how much is taken from it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counters own no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let pointer = unsafe { System.alloc(layout) };
        // What could not be had takes nothing, and nobody gives it back.
        if !pointer.is_null() {
            TAKEN.fetch_add(layout.size(), Relaxed);
            let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
            PEAK.fetch_max(held, Relaxed);
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The most bytes held at once, beyond those held before.
    pub peak: usize,
    /// All bytes taken, those given back included.
    pub taken: usize,
    /// Milliseconds of this thread's processor time: a busy machine does not count.
    pub millis: i64,
}

/// The result of a call, and what it cost. Only one thread may be at work.
pub fn measure<T>(call: impl FnOnce() -> T) -> (T, Cost) {
    let (held, taken, start) = (HELD.load(Relaxed), TAKEN.load(Relaxed), cpu_time());
    PEAK.store(held, Relaxed);
    let result = call();
    let cost = Cost {
        peak: PEAK.load(Relaxed).saturating_sub(held),
        taken: TAKEN.load(Relaxed) - taken,
        millis: cpu_time() - start,
    };
    (result, cost)
}

fn cpu_time() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec * 1000 + tv_nsec / 1_000_000
}
