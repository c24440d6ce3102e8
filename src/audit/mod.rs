//! The record of every decision: one JSON line for each request, tunnel, token request and reload, and counts of refused
//! connections.
//!
//! - `record`: what is recorded; `line`: how it is written.
//! - `output`: the file, or standard output.
//! - `queue`: what waits to be written.
//! - `writer`: the thread that writes.
//!
//! Whoever leaves a record never waits. A thread of its own formats and writes them.

mod line;
mod output;
mod queue;
mod record;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;

use crate::blocking::start_thread;
use crate::config::{AuditFile, AuditOverflow};
use crate::metrics::AuditMetrics;
use crate::supervisor::Supervisor;
use output::AuditOutput;
use queue::{AuditMessage, AuditState};
use record::RECORD_BYTES;
use writer::AuditWriter;

pub use line::who_and_what;
pub use queue::RecordPlace;
pub use record::{
    AuditDecision, AuditOutcome, NameBook, Record, ReloadEvent, RequestEvent, RequestText, Subject,
    SubjectNames, TokenEvent, TunnelEvent,
};

/// How many bytes of records may wait to be written, and be reserved for requests in progress.
pub const MAX_WAITING: usize = 32 << 20;

/// Where records are left to be written.
#[derive(Debug)]
pub struct AuditTrail {
    file: AuditFile,
    shared: Arc<AuditState>,
    messages: Sender<AuditMessage>,
}

/// There is no room for a record, or nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditUnavailable {
    /// As many wait as may.
    #[error("as many audit records wait as there is room for")]
    Full,
    /// The file cannot be written.
    #[error("the audit file cannot be written")]
    Failing,
}

/// What operators are told.
#[derive(Debug, Serialize)]
pub struct AuditStatus {
    /// Where the lines go.
    pub file: String,
    /// Whether they can be written.
    pub writing: bool,
    /// What went wrong last, since it was last written.
    pub last_error: Option<String>,
    /// Bytes that wait or are reserved.
    pub waiting_bytes: usize,
}

/// Where the records go of what belongs to no configuration: that of the newest one.
pub type AuditSlot = Arc<ArcSwapOption<AuditTrail>>;

/// Where the records of one configuration go, and what is done when they cannot.
#[derive(Debug, Clone)]
pub struct Auditing {
    /// Where they are left.
    pub trail: Arc<AuditTrail>,
    /// What becomes of what cannot be recorded.
    pub overflow: AuditOverflow,
}

impl AuditTrail {
    /// Opens the file and starts the thread that writes to it, which ends with the trail. Waits no longer than `patience`.
    ///
    /// # Errors
    /// The file cannot be opened or made, or the file system does not answer; the system has no thread.
    pub fn open(
        file: &AuditFile,
        metrics: AuditMetrics,
        supervisor: Option<&Supervisor>,
        patience: Duration,
    ) -> io::Result<Arc<Self>> {
        Self::open_with(file, metrics, supervisor, patience, MAX_WAITING)
    }

    fn open_with(
        file: &AuditFile,
        metrics: AuditMetrics,
        supervisor: Option<&Supervisor>,
        patience: Duration,
        max_waiting: usize,
    ) -> io::Result<Arc<Self>> {
        let (messages, inbox) = mpsc::channel();
        let shared = Arc::new(AuditState {
            waiting: AtomicUsize::new(0),
            max_waiting,
            failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            untold: AtomicU64::new(0),
            last_error: Mutex::default(),
            refused: Mutex::default(),
            metrics,
        });
        shared.metrics.failing.set(0);
        let (opened, result) = mpsc::sync_channel(1);
        let (target, known) = (file.clone(), Arc::clone(&shared));
        let work = move || {
            let output = match AuditOutput::open(target) {
                Ok(output) => output,
                Err(error) => return drop(opened.try_send(Err(error))),
            };
            if opened.try_send(Ok(())).is_ok() {
                AuditWriter::new(inbox, known, output).run();
            }
        };
        match supervisor {
            Some(supervisor) => supervisor.spawn("audit".to_owned(), work)?,
            None => start_thread("audit", work)?,
        }
        let result = result.recv_timeout(patience);
        result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Arc::new(Self {
            file: file.clone(),
            shared,
            messages,
        }))
    }

    /// Where the lines go.
    pub fn file(&self) -> &AuditFile {
        &self.file
    }

    /// Reserves the room of a record whose texts have so many bytes.
    ///
    /// # Errors
    /// There is none, or nothing can be written.
    pub fn reserve(&self, text_bytes: usize) -> Result<RecordPlace, AuditUnavailable> {
        if self.shared.failing.load(Relaxed) {
            return Err(AuditUnavailable::Failing);
        }
        let bytes = RECORD_BYTES + text_bytes;
        if !self.shared.take(bytes) {
            return Err(AuditUnavailable::Full);
        }
        Ok(RecordPlace {
            shared: Arc::clone(&self.shared),
            bytes,
        })
    }

    /// Leaves a record. Without a reserved place it is dropped and counted where there is no room.
    pub fn record(&self, record: Record, place: Option<RecordPlace>) {
        let bytes = record.waiting_bytes();
        match place {
            // It has its room, whatever waits: what it turned out to take counts in the place of what was reserved.
            Some(mut place) => self.shared.adjust(std::mem::take(&mut place.bytes), bytes),
            None if !self.shared.take(bytes) => return self.shared.count_dropped(1),
            None => {}
        }
        let message = AuditMessage::Record(record, bytes);
        if self.messages.send(message).is_err() {
            self.shared.give_back(bytes);
            self.shared.count_dropped(1);
        }
    }

    /// Counts a connection that was refused before there was a request; the counts are recorded from time to time.
    pub fn count_refused(&self, listener: &str, reason: &'static str) {
        let refused = &self.shared.refused;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry((listener.to_owned(), reason)).or_default() += 1;
    }

    /// Looks at once whether the file is still the one of that name, and opens the new one if it is not.
    pub fn reopen(&self) {
        let _ = self.messages.send(AuditMessage::Look);
    }

    /// Waits until everything so far has been written, but no longer than `patience`; whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, flushed) = mpsc::sync_channel(1);
        self.messages.send(AuditMessage::Flush(done)).is_ok()
            && flushed.recv_timeout(patience).is_ok()
    }

    /// What operators are told.
    pub fn status(&self) -> AuditStatus {
        let last_error = &self.shared.last_error;
        let last_error = last_error.lock().unwrap_or_else(PoisonError::into_inner);
        AuditStatus {
            file: match &self.file {
                AuditFile::Stdout => "stdout".to_owned(),
                AuditFile::Path(path) => path.display().to_string(),
            },
            writing: !self.shared.failing.load(Relaxed),
            last_error: last_error.clone(),
            waiting_bytes: self.shared.waiting.load(Relaxed),
        }
    }
}

impl Drop for AuditTrail {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests;
