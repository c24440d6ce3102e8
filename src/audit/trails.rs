//! The trails of a process. That of an older configuration is written to until what began with it has ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::Serialize;

use super::queue::AuditState;
use super::trail::{AuditTrail, MAX_WAITING};
use super::writer::{FindNewer, TakesOver};
use crate::config::AuditFile;
use crate::metrics::AuditMetrics;
use crate::supervisor::Supervisor;

/// All trails that are written, and which of them is that of the newest configuration.
#[derive(Debug, Default)]
pub struct AuditTrails {
    newest: ArcSwapOption<AuditTrail>,
    living: Mutex<VecDeque<LivingTrail>>,
}

/// A trail whose thread has not ended.
#[derive(Debug)]
struct LivingTrail {
    /// Until nobody leaves records any more.
    trail: Weak<AuditTrail>,
    shared: Arc<AuditState>,
    /// Ends with the thread.
    thread: Receiver<Infallible>,
}

/// What operators are told.
#[derive(Debug, Serialize)]
pub struct AuditStatus {
    /// Where the lines go.
    pub file: String,
    /// Whether they can be written; also those of an older configuration.
    pub writing: bool,
    /// What went wrong last, since it was last written.
    pub last_error: Option<String>,
    /// Bytes that wait or are reserved.
    pub waiting_bytes: usize,
}

impl AuditTrails {
    /// Opens the file and starts the thread that writes to it, which ends with the trail; or finds the trail that does
    /// that already. Waits no longer than `patience`.
    ///
    /// # Errors
    /// The file cannot be opened or made, or the file system does not answer; the system has no thread.
    pub fn open(
        self: &Arc<Self>,
        file: &AuditFile,
        metrics: AuditMetrics,
        supervisor: Option<&Supervisor>,
        patience: Duration,
    ) -> io::Result<Arc<AuditTrail>> {
        let known = self.living().iter().find_map(|living| {
            let trail = living.trail.upgrade()?;
            (trail.file == *file).then_some(trail)
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let trails = Arc::downgrade(self);
        let newer: FindNewer = Box::new(move |own| {
            let newest = trails.upgrade()?.newest()?;
            let is_newer = !std::ptr::eq(&*newest.shared, own);
            is_newer.then_some(newest as Arc<dyn TakesOver>)
        });
        let (trail, thread) =
            AuditTrail::start(file, metrics, supervisor, patience, MAX_WAITING, newer)?;
        self.living().push_back(LivingTrail {
            trail: Arc::downgrade(&trail),
            shared: Arc::clone(&trail.shared),
            thread,
        });
        Ok(trail)
    }

    /// This is the trail of the newest configuration. What an older one cannot write goes there.
    pub fn set_newest(&self, trail: Option<Arc<AuditTrail>>) {
        self.newest.store(trail);
    }

    /// That of the newest configuration.
    pub fn newest(&self) -> Option<Arc<AuditTrail>> {
        self.newest.load_full()
    }

    /// Looks at once whether the files are still those of their names, and opens the new ones if they are not.
    pub fn reopen(&self) {
        let trails: Vec<_> = self.living().iter().map(|it| it.trail.clone()).collect();
        trails
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|trail| trail.reopen());
    }

    /// Waits until everything so far has been written, but no longer than `patience`. What has not is lost with the
    /// process: that is counted, and logged for each file.
    pub fn flush(&self, patience: Duration) {
        let begun = Instant::now();
        let newest = self.newest();
        let newest = newest.as_ref().map(|newest| Arc::as_ptr(&newest.shared));
        let mut living = std::mem::take(&mut *self.living());
        // Older ones first: what they cannot write goes to the newest one.
        living
            .make_contiguous()
            .sort_by_key(|it| newest == Some(Arc::as_ptr(&it.shared)));
        let asked: Vec<_> = living.iter().map(LivingTrail::ask_to_flush).collect();
        for (at, (living, asked)) in living.iter().zip(asked).enumerate() {
            let is_newest = newest == Some(Arc::as_ptr(&living.shared));
            let until = if is_newest { patience } else { patience / 2 };
            let left = until.saturating_sub(begun.elapsed());
            // What older ones have left to it meanwhile came behind what it was asked for.
            let asked = if is_newest && at > 0 {
                living.ask_to_flush()
            } else {
                asked
            };
            let is_done = match asked {
                Some(asked) => asked.recv_timeout(left).is_ok(),
                None => {
                    let ended = living.thread.recv_timeout(left);
                    ended == Err(RecvTimeoutError::Disconnected)
                }
            };
            let lost = living.shared.unwritten.load(Relaxed);
            if !is_done && lost > 0 {
                living.shared.metrics.dropped.inc_by(lost);
                tracing::error!(
                    file = living.shared.name,
                    records = lost,
                    "the last audit records could not be written in time"
                );
            }
        }
    }

    /// What operators are told, as long as there is a trail.
    pub fn status(&self) -> Option<AuditStatus> {
        let newest = self.newest();
        let living = self.living();
        let newest = newest.as_ref().map(|newest| &newest.shared);
        let shown = newest.or_else(|| Some(&living.back()?.shared))?;
        let mut status = AuditStatus {
            file: shown.name.clone(),
            writing: true,
            last_error: shown.last_error(),
            waiting_bytes: 0,
        };
        for LivingTrail { shared, .. } in &*living {
            status.writing &= !shared.failing.load(Relaxed);
            status.waiting_bytes += shared.waiting.load(Relaxed);
            if status.last_error.is_none()
                && let Some(error) = shared.last_error()
            {
                status.last_error = Some(format!("{}: {error}", shared.name));
            }
        }
        Some(status)
    }

    fn living(&self) -> MutexGuard<'_, VecDeque<LivingTrail>> {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.retain(|it| it.thread.try_recv() == Err(TryRecvError::Empty));
        living
    }
}

impl LivingTrail {
    /// Tells when everything so far has been written; nothing if nobody leaves records any more, so that its thread ends
    /// when they are.
    fn ask_to_flush(&self) -> Option<Receiver<()>> {
        self.trail.upgrade().map(|trail| trail.ask_to_flush())
    }
}
