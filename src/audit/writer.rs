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
/// By how much the memory of a batch grows that has to wait.
const GROWTH: usize = 1 << 20;
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

/// Takes lines that the file of an older configuration does not take.
pub(super) trait TakesOver {
    /// Of its file.
    fn name(&self) -> &str;

    /// Takes lines: so many records, which count for so many bytes. Whether there is room for them.
    fn take_over(&self, lines: &[u8], records: u64, bytes: usize) -> bool;
}

/// Finds the trail of a newer configuration than the one that has this state.
pub(super) type FindNewer = Box<dyn Fn(&AuditState) -> Option<Arc<dyn TakesOver>> + Send>;

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
    /// The file ends inside of a line that was written elsewhere.
    is_torn: bool,
    newer: FindNewer,
    /// What it did not take went to a newer one: it is not tried any more.
    is_left: bool,
    refused_at: Instant,
    reported_at: Option<Instant>,
}

impl AuditWriter {
    pub(super) fn new(
        inbox: Receiver<AuditMessage>,
        shared: Arc<AuditState>,
        output: AuditOutput,
        newer: FindNewer,
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
            is_torn: false,
            newer,
            is_left: false,
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
                return self.report_dropped();
            }
            if all_taken {
                thread::sleep(GATHER);
            }
        }
    }

    fn add(&mut self, message: AuditMessage) {
        match message {
            AuditMessage::Record(record, bytes) => {
                let begin = self.batch.len();
                record.write(&mut self.batch);
                self.records += 1;
                // Names stand in the line in the place of numbers.
                let held = bytes.max(self.batch.len() - begin);
                self.shared.adjust(bytes, held);
                self.taken += held;
            }
            AuditMessage::Lines(lines, records, bytes) => {
                self.batch.extend_from_slice(&lines);
                self.records += records;
                self.taken += bytes;
            }
            // That is done before every batch.
            AuditMessage::Look => {}
            AuditMessage::Flush(done) => self.flushes.push(done),
        }
    }

    /// Adds what waits: until a record is a line it holds the configuration that it belongs to.
    fn gather(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            if self.batch.capacity() - self.batch.len() < BATCH {
                self.batch.reserve_exact(GROWTH);
            }
            self.add(message);
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
            self.shared.unwritten.fetch_add(1, Relaxed);
        }
    }

    /// Writes the batch, however long that takes. What the file does not take goes to that of a newer configuration; where
    /// there is none it is given up once nobody leaves records any more.
    fn settle(&mut self) {
        loop {
            let newer = (self.newer)(&self.shared);
            if self.is_left && newer.as_ref().is_some_and(|newer| self.leave_to(&**newer)) {
                break;
            }
            match self.write() {
                Ok(()) => {
                    self.shared.metrics.written.inc_by(self.records);
                    self.clear();
                    self.report_success();
                    break;
                }
                Err(error) => self.report_failure(&error),
            }
            self.gather();
            if newer.is_some_and(|newer| self.leave_to(&*newer)) {
                break;
            }
            if self.shared.closed.load(Relaxed) {
                return self.give_up();
            }
            thread::sleep(RETRY);
        }
        for done in self.flushes.drain(..) {
            let _ = done.try_send(());
        }
    }

    /// Leaves what has not been written to another trail; whether that has room for it.
    fn leave_to(&mut self, newer: &dyn TakesOver) -> bool {
        let whole = self.whole_lines_written();
        let written = self.batch[..whole].iter().filter(|byte| **byte == b'\n');
        let written = written.count() as u64;
        let left = self.records - written;
        if !newer.take_over(&self.batch[whole..], left, self.taken) {
            return false;
        }
        self.shared.metrics.written.inc_by(written);
        self.is_torn |= whole < self.written;
        self.clear();
        self.shared.set_failing(false);
        if !std::mem::replace(&mut self.is_left, true) {
            tracing::warn!(
                file = self.shared.name,
                newer = newer.name(),
                records = left,
                "what cannot be written to the audit file of before is written to that of the configuration now"
            );
        }
        true
    }

    /// Nothing can be written, and nobody will leave records any more.
    fn give_up(&mut self) {
        self.shared.count_dropped(self.records);
        self.clear();
        self.flushes.clear();
        self.report_dropped();
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.batch.shrink_to(BATCH);
        self.written = 0;
        let records = std::mem::take(&mut self.records);
        self.shared.unwritten.fetch_sub(records, Relaxed);
        self.shared.give_back(std::mem::take(&mut self.taken));
    }

    /// How many bytes of the batch have been written in whole lines.
    fn whole_lines_written(&self) -> usize {
        let begun = &self.batch[..self.written];
        let end = begun.iter().rposition(|byte| *byte == b'\n');
        end.map_or(0, |end| end + 1)
    }

    /// Writes what is left of the batch. A line that was begun is completed; in another file it is written anew.
    fn write(&mut self) -> io::Result<()> {
        if self.output.reopen_if_replaced()? == Change::BeginsAnew {
            self.written = self.whole_lines_written();
            self.is_torn = false;
        }
        if self.is_torn {
            if self.output.write(b"\n")? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.is_torn = false;
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
                    self.gather();
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
        self.shared.set_last_error(Some(reason.clone()));
        if self.shared.set_failing(true) {
            tracing::error!(
                file = self.shared.name,
                error = reason,
                "audit records cannot be written: they wait, and it is tried again and again"
            );
        }
    }

    fn report_success(&mut self) {
        self.is_left = false;
        if self.shared.set_failing(false) {
            self.reported_at = Some(Instant::now());
            let dropped = self.shared.untold.swap(0, Relaxed);
            let file = &self.shared.name;
            return tracing::warn!(file, dropped, "audit records are written again");
        }
        let reported = self.reported_at.map(|reported| reported.elapsed());
        if reported.is_none_or(|since| since >= REPORT_INTERVAL) {
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.untold.swap(0, Relaxed);
        if dropped > 0 {
            self.reported_at = Some(Instant::now());
            tracing::error!(
                file = self.shared.name,
                dropped,
                "audit records were dropped: they were not written in time"
            );
        }
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        // Nothing waits for this file any more.
        self.shared.set_failing(false);
    }
}
