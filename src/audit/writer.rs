//! The thread that writes.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::line::write_refused;
use super::output::{AuditOutput, Change};
use super::queue::{AuditMessage, AuditState};

/// How many bytes are written at once.
const BATCH: usize = 64 << 10;
/// After a batch the next one may gather for this long: else every record would wake the thread.
const GATHER: Duration = Duration::from_millis(10);
/// The pause before something is tried again that failed.
const RETRY: Duration = Duration::from_millis(200);
/// The pause before a write to a pipe is tried again whose reader is slow.
const PIPE_RETRY: Duration = Duration::from_millis(10);
/// How often refused connections are recorded, while there are any.
const REFUSED_INTERVAL: Duration = Duration::from_secs(60);
/// How often a line tells of dropped records, while records are dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Formats the records and writes them, whole line by whole line.
pub(super) struct AuditWriter {
    inbox: Receiver<AuditMessage>,
    shared: Arc<AuditState>,
    output: AuditOutput,
    /// Lines that are being written.
    batch: Vec<u8>,
    /// How many bytes of them have been.
    written: usize,
    /// How many records they are.
    records: u64,
    /// For how much room these count.
    taken: usize,
    /// Who waits for all of it.
    flushes: Vec<SyncSender<()>>,
    refused_at: Instant,
    reported_at: Option<Instant>,
}

impl AuditWriter {
    pub(super) fn new(
        inbox: Receiver<AuditMessage>,
        shared: Arc<AuditState>,
        output: AuditOutput,
    ) -> Self {
        Self {
            inbox,
            shared,
            output,
            batch: Vec::with_capacity(BATCH),
            written: 0,
            records: 0,
            taken: 0,
            flushes: Vec::new(),
            refused_at: Instant::now(),
            reported_at: None,
        }
    }

    /// Writes until nobody leaves records any more.
    pub(super) fn run(mut self) {
        loop {
            let patience = REFUSED_INTERVAL.saturating_sub(self.refused_at.elapsed());
            let ended = match self.inbox.recv_timeout(patience) {
                Ok(message) => {
                    self.add(message);
                    while self.batch.len() < BATCH
                        && let Ok(message) = self.inbox.try_recv()
                    {
                        self.add(message);
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let refused_is_due = self.refused_at.elapsed() >= REFUSED_INTERVAL;
            if ended || refused_is_due || !self.flushes.is_empty() {
                self.add_refused();
            }
            // Else more of them wait, and there are enough for another batch.
            let all_taken = self.batch.len() < BATCH;
            self.settle();
            if ended {
                return;
            }
            if all_taken {
                thread::sleep(GATHER);
            }
        }
    }

    fn add(&mut self, message: AuditMessage) {
        match message {
            AuditMessage::Record(record, bytes) => {
                record.write(&mut self.batch);
                self.records += 1;
                self.taken += bytes;
            }
            // That is done before every batch.
            AuditMessage::Look => {}
            AuditMessage::Flush(done) => self.flushes.push(done),
        }
    }

    fn add_refused(&mut self) {
        self.refused_at = Instant::now();
        let refused = &self.shared.refused;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        for ((listener, reason), count) in std::mem::take(&mut *refused) {
            write_refused(&mut self.batch, now, &listener, reason, count);
            self.records += 1;
        }
    }

    /// Writes the batch, however long that takes; gives up once nobody leaves records any more.
    fn settle(&mut self) {
        loop {
            match self.write() {
                Ok(()) => break,
                Err(error) => self.report_failure(&error),
            }
            if self.shared.closed.load(Relaxed) {
                self.shared.count_dropped(self.records);
                self.clear();
                return;
            }
            thread::sleep(RETRY);
        }
        self.shared.metrics.written.inc_by(self.records);
        self.clear();
        self.report_success();
        for done in self.flushes.drain(..) {
            let _ = done.try_send(());
        }
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.batch.shrink_to(BATCH);
        self.written = 0;
        self.records = 0;
        self.shared.give_back(std::mem::take(&mut self.taken));
    }

    /// Writes what is left of the batch. A line that was begun is completed; in another file it is written anew.
    fn write(&mut self) -> io::Result<()> {
        if self.output.reopen_if_replaced()? == Change::BeginsAnew {
            let begun = &self.batch[..self.written];
            self.written = begun
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
        }
        while self.written < self.batch.len() {
            match self.output.write(&self.batch[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.shared.closed.load(Relaxed) {
                        return Err(error);
                    }
                    thread::sleep(PIPE_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cold]
    fn report_failure(&self, error: &io::Error) {
        self.shared.metrics.write_errors.inc();
        let reason = error.to_string();
        let last = &self.shared.last_error;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
        if !self.shared.failing.swap(true, Relaxed) {
            self.shared.metrics.failing.set(1);
            tracing::error!(
                file = self.output.name(),
                error = reason,
                "audit records cannot be written: they wait, and it is tried again and again"
            );
        }
    }

    fn report_success(&mut self) {
        let recovered = self.shared.failing.swap(false, Relaxed);
        let reported = self.reported_at.map(|reported| reported.elapsed());
        let untold = self.shared.untold.load(Relaxed);
        let report = untold > 0 && reported.is_none_or(|since| since >= REPORT_INTERVAL);
        if recovered {
            self.shared.metrics.failing.set(0);
            *self
                .shared
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = None;
        }
        if recovered || report {
            self.reported_at = Some(Instant::now());
            let dropped = self.shared.untold.swap(0, Relaxed);
            let file = self.output.name();
            if recovered {
                tracing::warn!(file, dropped, "audit records are written again");
            } else {
                tracing::error!(
                    file,
                    dropped,
                    "audit records were dropped: they were not written in time"
                );
            }
        }
    }
}
