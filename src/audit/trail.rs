//! Where records are left to be written.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::output::AuditOutput;
use super::queue::{AuditMessage, AuditState, RecordPlace};
use super::record::{RECORD_BYTES, Record};
use super::writer::{AuditWriter, FindNewer, TakesOver};
use crate::blocking::start_thread;
use crate::config::{AuditFile, AuditOverflow};
use crate::metrics::AuditMetrics;
use crate::supervisor::Supervisor;

/// How many bytes of records may wait to be written, and be reserved for requests in progress.
pub const MAX_WAITING: usize = 32 << 20;

/// Where records are left to be written.
#[derive(Debug)]
pub struct AuditTrail {
    pub(super) file: AuditFile,
    pub(super) shared: Arc<AuditState>,
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

/// Where the records of one configuration go, and what is done when they cannot.
#[derive(Debug, Clone)]
pub struct Auditing {
    /// Where they are left.
    pub trail: Arc<AuditTrail>,
    /// What becomes of what cannot be recorded.
    pub overflow: AuditOverflow,
}

impl AuditTrail {
    /// Opens the file and starts the thread that writes to it, which ends with the trail, and tells that by the end of a
    /// channel. Waits no longer than `patience`.
    ///
    /// # Errors
    /// The file cannot be opened or made, or the file system does not answer; the system has no thread.
    pub(super) fn start(
        file: &AuditFile,
        metrics: AuditMetrics,
        supervisor: Option<&Supervisor>,
        patience: Duration,
        max_waiting: usize,
        newer: FindNewer,
    ) -> io::Result<(Arc<Self>, Receiver<Infallible>)> {
        let (messages, inbox) = mpsc::channel();
        let shared = Arc::new(AuditState {
            name: match file {
                AuditFile::Stdout => "stdout".to_owned(),
                AuditFile::Path(path) => path.display().to_string(),
            },
            waiting: AtomicUsize::new(0),
            unwritten: AtomicU64::new(0),
            max_waiting,
            failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            untold: AtomicU64::new(0),
            last_error: Mutex::default(),
            refused: Mutex::default(),
            metrics,
        });
        let (opened, result) = mpsc::sync_channel(1);
        let (alive, thread) = mpsc::sync_channel(0);
        let (target, known) = (file.clone(), Arc::clone(&shared));
        let work = move || {
            let _alive = alive;
            let output = match AuditOutput::open(target) {
                Ok(output) => output,
                Err(error) => return drop(opened.try_send(Err(error))),
            };
            if opened.try_send(Ok(())).is_ok() {
                AuditWriter::new(inbox, known, output, newer).run();
            }
        };
        match supervisor {
            Some(supervisor) => supervisor.spawn("audit".to_owned(), work)?,
            None => start_thread("audit", work)?,
        }
        let result = result.recv_timeout(patience);
        result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let trail = Self {
            file: file.clone(),
            shared,
            messages,
        };
        Ok((Arc::new(trail), thread))
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
        self.send(AuditMessage::Record(record, bytes), 1, bytes);
    }

    fn send(&self, message: AuditMessage, records: u64, bytes: usize) {
        self.shared.unwritten.fetch_add(records, Relaxed);
        if self.messages.send(message).is_err() {
            self.shared.unwritten.fetch_sub(records, Relaxed);
            self.shared.give_back(bytes);
            self.shared.count_dropped(records);
        }
    }

    /// Counts a connection that was refused before there was a request; the counts are recorded from time to time.
    pub fn count_refused(&self, listener: &str, reason: &'static str) {
        let refused = &self.shared.refused;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry((listener.to_owned(), reason)).or_default() += 1;
    }

    /// Looks at once whether the file is still the one of that name, and opens the new one if it is not.
    pub(super) fn reopen(&self) {
        let _ = self.messages.send(AuditMessage::Look);
    }

    /// Tells when everything so far has been written.
    pub(super) fn ask_to_flush(&self) -> Receiver<()> {
        let (done, flushed) = mpsc::sync_channel(1);
        let _ = self.messages.send(AuditMessage::Flush(done));
        flushed
    }
}

impl TakesOver for AuditTrail {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn take_over(&self, lines: &[u8], records: u64, bytes: usize) -> bool {
        let fits = self.shared.take(bytes);
        if fits {
            let message = AuditMessage::Lines(lines.to_owned(), records, bytes);
            self.send(message, records, bytes);
        }
        fits
    }
}

impl Drop for AuditTrail {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
    }
}
