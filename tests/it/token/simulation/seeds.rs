//! Many seeds at once, and what they have in common.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::log_uniform;

/// Runs each seed, on every processor: `few` of them if nothing else is asked for.
pub(crate) fn each_seed(few: u64, simulate: impl Fn(u64) + Sync) -> Range<u64> {
    let seeds = seeds(few);
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        break;
                    }
                    simulate(seed);
                }
            });
        }
    });
    seeds
}

/// A runtime on paused time; what sources draw on this thread descends from `seed`.
pub(crate) fn paused(seed: u64) -> Runtime {
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

fn seeds(few: u64) -> Range<u64> {
    let Ok(given) = std::env::var("SIDEBEARER_SIMULATION_SEEDS") else {
        return 0..few;
    };
    let number = |text: &str| {
        text.parse()
            .expect("SIDEBEARER_SIMULATION_SEEDS: N or A..B")
    };
    match given.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => 0..number(&given),
    }
}

/// Good days and bad hours.
pub(super) async fn moods<M: Copy>(good: M, bad: &[M], mut rng: Rng, turn: impl Fn(M)) {
    loop {
        sleep(log_uniform(&mut rng, 10.0, 86_400.0)).await;
        loop {
            turn(bad[rng.usize(..bad.len())]);
            sleep(log_uniform(&mut rng, 1.0, 7200.0)).await;
            // Sometimes from bad to worse.
            if rng.u8(..4) > 0 {
                break;
            }
        }
        turn(good);
    }
}
