//! What the thread that writes shares with those who leave records.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use super::record::{RECORD_BYTES, Record, RequestEvent};
use crate::metrics::AuditMetrics;

/// The state of one trail.
#[derive(Debug)]
pub(super) struct AuditState {
    /// Of its file.
    pub(super) name: String,
    /// How many bytes wait or are reserved.
    pub(super) waiting: AtomicUsize,
    /// How many records wait.
    pub(super) unwritten: AtomicU64,
    pub(super) max_waiting: usize,
    /// Nothing can be written now.
    pub(super) failing: AtomicBool,
    /// Nobody leaves records any more.
    pub(super) closed: AtomicBool,
    /// Records dropped since that was last told.
    pub(super) untold: AtomicU64,
    pub(super) last_error: Mutex<Option<String>>,
    /// Refused connections since they were last written, by listener and reason.
    pub(super) refused: Mutex<BTreeMap<(String, &'static str), u64>>,
    pub(super) metrics: AuditMetrics,
}

#[derive(Debug)]
pub(super) enum AuditMessage {
    /// A record, and how many bytes it counts for.
    Record(Record, usize),
    /// Lines that another trail could not write: how many, and how many bytes they count for.
    Lines(Vec<u8>, u64, usize),
    /// Looks whether the file is still the one of that name.
    Look,
    /// Everything before it has been written.
    Flush(SyncSender<()>),
}

const _: () = assert!(size_of::<RequestEvent>() + size_of::<AuditMessage>() <= RECORD_BYTES);

/// Room for one record, reserved before there is one.
#[derive(Debug)]
pub struct RecordPlace {
    pub(super) shared: Arc<AuditState>,
    pub(super) bytes: usize,
}

impl AuditState {
    pub(super) fn take(&self, bytes: usize) -> bool {
        let fits = self.waiting.fetch_add(bytes, Relaxed) + bytes <= self.max_waiting;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// As many bytes as `taken` are known to be these.
    pub(super) fn adjust(&self, taken: usize, bytes: usize) {
        if bytes > taken {
            self.waiting.fetch_add(bytes - taken, Relaxed);
        } else {
            self.give_back(taken - bytes);
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Relaxed);
    }

    /// Whether that is news.
    pub(super) fn set_failing(&self, failing: bool) -> bool {
        let is_news = self.failing.swap(failing, Relaxed) != failing;
        match (is_news, failing) {
            (true, true) => self.metrics.failing.inc(),
            (true, false) => {
                self.metrics.failing.dec();
                self.set_last_error(None);
            }
            (false, _) => {}
        }
        is_news
    }

    pub(super) fn set_last_error(&self, error: Option<String>) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn last_error(&self) -> Option<String> {
        let last_error = &self.last_error;
        let last_error = last_error.lock().unwrap_or_else(PoisonError::into_inner);
        last_error.clone()
    }

    #[cold]
    pub(super) fn count_dropped(&self, records: u64) {
        self.untold.fetch_add(records, Relaxed);
        self.metrics.dropped.inc_by(records);
    }
}

impl Drop for RecordPlace {
    fn drop(&mut self) {
        self.shared.give_back(self.bytes);
    }
}
