//! Log lines on their way to a descriptor whose reader may be slow. A thread of its own writes them, so that
//! no other thread ever waits for the reader.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::blocking::start_thread;
use crate::supervisor::Supervisor;

/// How many bytes are written at once: this many stay in one piece when others write to the same pipe
/// (`PIPE_BUF`).
const AT_ONCE: usize = 4096;
/// How many bytes of memory a line takes in addition to its text.
const OVERHEAD: usize = 64;
/// How often a line reports dropped lines, while lines are dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before a write to a descriptor that does not block is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Where lines are left to be written. When too many wait, more are dropped and counted.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<LineQueue>);

#[derive(Debug)]
struct LineQueue {
    messages: Sender<LogMessage>,
    /// How many bytes wait to be written.
    waiting: AtomicUsize,
    /// How many bytes may wait.
    max_waiting: AtomicUsize,
    /// Lines dropped since that was last reported.
    dropped: AtomicU64,
    /// Lines dropped since the start.
    all_dropped: AtomicU64,
    /// The thread that writes. Its own lines are never dropped.
    writer: OnceLock<ThreadId>,
    /// Told when a panic takes the thread that writes.
    guard: OnceLock<Supervisor>,
}

#[derive(Debug)]
enum LogMessage {
    Line(Vec<u8>),
    /// Everything before it has been written.
    Flush(SyncSender<()>),
    /// A line of the writing thread itself has been written.
    OwnLineWritten,
}

impl Lines {
    /// Starts the thread that writes to `out`. With `write_report` it tells how many lines were dropped, by
    /// a line of its own, as soon as lines are read again.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        max_waiting: usize,
        write_report: fn(&Self, u64),
    ) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let lines = Self(Arc::new(LineQueue {
            messages,
            waiting: AtomicUsize::new(0),
            max_waiting: AtomicUsize::new(max_waiting),
            dropped: AtomicU64::new(0),
            all_dropped: AtomicU64::new(0),
            writer: OnceLock::new(),
            guard: OnceLock::new(),
        }));
        let writer = Writer {
            inbox,
            lines: lines.clone(),
            out,
            write_report,
            last_report: None,
            unwritten_reports: 0,
        };
        start_thread("log", move || writer.run())?;
        Ok(lines)
    }

    /// From now on a panic of the thread that writes is reported there.
    pub(super) fn report_to(&self, supervisor: &Supervisor) {
        let _ = self.0.guard.set(supervisor.clone());
    }

    /// How many bytes may wait from now on.
    pub(super) fn set_max_waiting(&self, max_waiting: usize) {
        self.0.max_waiting.store(max_waiting, Relaxed);
    }

    /// Leaves a line, its line break included. Never waits. `false` if nobody will ever write it.
    pub(super) fn enqueue(&self, line: Vec<u8>) -> bool {
        let LineQueue {
            messages, waiting, ..
        } = &*self.0;
        let size = line.len() + OVERHEAD;
        let fits = waiting.fetch_add(size, Relaxed) + size <= self.0.max_waiting.load(Relaxed);
        let dropped = !(fits || self.is_writer());
        let dead = !dropped && messages.send(LogMessage::Line(line)).is_err();
        if dropped || dead {
            waiting.fetch_sub(size, Relaxed);
            self.0.dropped.fetch_add(1, Relaxed);
            self.0.all_dropped.fetch_add(1, Relaxed);
        }
        !dead
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.all_dropped.load(Relaxed)
    }

    /// Waits until all lines so far have been written, but no longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, flushed) = mpsc::sync_channel(1);
        if self.0.messages.send(LogMessage::Flush(done)).is_ok() {
            // What nobody has read by then is lost with the process.
            let _ = flushed.recv_timeout(patience);
        }
    }

    /// Whether this thread is the one that writes.
    pub(super) fn is_writer(&self) -> bool {
        self.0.writer.get() == Some(&thread::current().id())
    }
}

/// One call is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.enqueue(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<W> {
    inbox: Receiver<LogMessage>,
    lines: Lines,
    out: W,
    write_report: fn(&Lines, u64),
    /// When dropped lines were last reported.
    last_report: Option<Instant>,
    /// Reports that have been queued and are not written yet.
    unwritten_reports: usize,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let _ = self.lines.0.writer.set(thread::current().id());
        let _reporter = PanicReporter(self.lines.clone());
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut next = None;
        loop {
            // It holds a sender itself, so that this does not fail.
            let Some(message) = next.take().or_else(|| self.inbox.recv().ok()) else {
                return;
            };
            match message {
                LogMessage::Line(line) => {
                    let mut taken = 0;
                    add(&mut batch, &mut taken, line);
                    while let Ok(more) = self.inbox.try_recv() {
                        match more {
                            LogMessage::Line(line) if batch.len() + line.len() <= AT_ONCE => {
                                add(&mut batch, &mut taken, line);
                            }
                            more => {
                                next = Some(more);
                                break;
                            }
                        }
                    }
                    write(&mut self.out, &batch);
                    batch.clear();
                    batch.shrink_to(AT_ONCE);
                    self.lines.0.waiting.fetch_sub(taken, Relaxed);
                    self.report(false);
                }
                // A report of dropped lines is written before the flush is answered.
                LogMessage::Flush(done) if self.report(true) || self.unwritten_reports > 0 => {
                    let _ = self.lines.0.messages.send(LogMessage::Flush(done));
                }
                LogMessage::Flush(done) => drop(done.try_send(())),
                LogMessage::OwnLineWritten => self.unwritten_reports -= 1,
            }
        }
    }

    /// Reports how many lines were dropped, if any were and the last report is not recent. Returns whether it did.
    fn report(&mut self, at_once: bool) -> bool {
        let recent = self
            .last_report
            .is_some_and(|last| last.elapsed() < REPORT_INTERVAL);
        if self.lines.0.dropped.load(Relaxed) == 0 || (recent && !at_once) {
            return false;
        }
        self.last_report = Some(Instant::now());
        (self.write_report)(&self.lines, self.lines.0.dropped.swap(0, Relaxed));
        self.unwritten_reports += 1;
        let _ = self.lines.0.messages.send(LogMessage::OwnLineWritten);
        true
    }
}

/// Held by the thread that writes.
struct PanicReporter(Lines);

impl Drop for PanicReporter {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(supervisor) = self.0.0.guard.get()
        {
            supervisor.report("the thread of the log".to_owned());
        }
    }
}

fn add(batch: &mut Vec<u8>, taken: &mut usize, line: Vec<u8>) {
    *taken += line.len() + OVERHEAD;
    batch.extend_from_slice(&line);
}

/// What cannot be written is lost: there is nowhere left to report it.
fn write(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the descriptor has set it to non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::supervisor::supervisor;

    /// A pipe that holds one write until someone reads.
    #[derive(Clone, Default)]
    struct GatedPipe(Arc<(Mutex<PipeState>, Condvar)>);

    #[derive(Default)]
    struct PipeState {
        open: bool,
        bytes: Vec<u8>,
    }

    impl GatedPipe {
        fn open(&self) {
            self.0.0.lock().unwrap().open = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
        }
    }

    impl Write for GatedPipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let shut = self.0.0.lock().unwrap();
            let mut open = self.0.1.wait_while(shut, |pipe| !pipe.open).unwrap();
            open.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    fn report_dropped(lines: &Lines, dropped: u64) {
        assert!(lines.enqueue(format!("{dropped} dropped\n").into_bytes()));
    }

    #[test]
    fn nobody_waits_and_what_is_dropped_is_counted_and_said() {
        let pipe = GatedPipe::default();
        let lines = Lines::start(pipe.clone(), 10 * (6 + OVERHEAD), report_dropped).unwrap();
        for number in 10..40 {
            lines.enqueue(format!("li {number}\n").into_bytes());
        }
        lines.flush(Duration::ZERO);
        assert_eq!(pipe.text(), "");
        pipe.open();
        lines.flush(LONG);
        let kept: String = (10..20).map(|number| format!("li {number}\n")).collect();
        assert_eq!(pipe.text(), format!("{kept}20 dropped\n"));

        lines.enqueue(b"later\n".to_vec());
        lines.flush(LONG);
        assert!(
            pipe.text().ends_with("20 dropped\nlater\n"),
            "{}",
            pipe.text()
        );
    }

    #[test]
    fn lines_stay_whole_and_in_order_whatever_their_length() {
        let pipe = GatedPipe::default();
        pipe.open();
        let lines = Lines::start(pipe.clone(), 1 << 20, report_dropped).unwrap();
        let all: Vec<_> = [1, 5000, 3, 4095, 2, 1000, 4096, 7, 20_000]
            .map(|length| format!("{}\n", "x".repeat(length)))
            .to_vec();
        for line in &all {
            lines.enqueue(line.clone().into_bytes());
        }
        lines.flush(LONG);
        assert_eq!(pipe.text(), all.concat());
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_that_writes_is_reported_and_nobody_waits_for_it() {
        struct PanickingWriter;

        impl Write for PanickingWriter {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                panic!("a defect")
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (supervisor, mut panics) = supervisor();
        let lines = Lines::start(PanickingWriter, 1 << 20, report_dropped).unwrap();
        lines.report_to(&supervisor);
        lines.enqueue(b"lost\n".to_vec());
        assert_eq!(panics.next().await, "the thread of the log");
        let begun = Instant::now();
        // The thread drops its end of the queue a moment later.
        while lines.enqueue(b"lost\n".to_vec()) {
            assert!(begun.elapsed() < LONG);
            thread::yield_now();
        }
        lines.flush(LONG);
        assert!(begun.elapsed() < LONG, "there is nobody to wait for");
        assert!(lines.dropped_lines() > 0);
    }

    #[test]
    fn a_descriptor_that_does_not_block_gets_every_byte() {
        /// Takes one byte of each two tries.
        struct Slow(GatedPipe, bool);

        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    Err(ErrorKind::WouldBlock.into())
                } else {
                    self.0.write(&bytes[..1])
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let pipe = GatedPipe::default();
        pipe.open();
        let lines = Lines::start(Slow(pipe.clone(), false), 1 << 20, report_dropped).unwrap();
        lines.enqueue(b"whole\n".to_vec());
        lines.flush(LONG);
        assert_eq!(pipe.text(), "whole\n");
    }
}
