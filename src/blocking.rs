//! Work that blocks, on threads of its own.
//!
//! A thread is started when there is work and no thread is idle, and ends when it has been idle for long. The system may
//! have none to give. So the last one of a group stays: work goes on then, one piece after the other, and what
//! cannot begin soon fails with an error that names the limit. Tokio's `spawn_blocking` panics instead.

mod background;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(crate) use self::background::Background;
use crate::process;

/// A thread that has had nothing to do for this time ends, if another one is idle too.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long work waits for a thread to become idle when the system gives none.
const PATIENCE: Duration = Duration::from_secs(1);

/// What may keep the system from giving a thread or a process.
pub(crate) const THREAD_LIMITS: &str = "the limit of processes and threads may be reached (RLIMIT_NPROC, TasksMax= of a unit, or pids.max of a container or pod)";

/// What [`run`] runs on.
static BLOCKING: Threads = Threads::new("blocking");

/// Runs `work` on a thread that may block, and waits for it; in the context of the current runtime, so that it may
/// start tasks there. If the future is dropped, what has begun goes on.
///
/// # Errors
/// The system gives no thread, now and for a moment; or `work` panicked, which is a defect.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    #[cfg(any(test, debug_assertions))]
    let _held = hold_paused_time();
    BLOCKING.run(work).await
}

/// Where tests have paused the time, it does not run ahead while this is held: tokio sees to that for its own threads
/// alone. `None` where time passes.
#[cfg(any(test, debug_assertions))]
#[expect(clippy::disallowed_methods, reason = "tests have threads enough")]
fn hold_paused_time() -> Option<Sender<()>> {
    let (paused, began) = (tokio::time::Instant::now(), std::time::Instant::now());
    while began.elapsed().is_zero() {}
    if !paused.elapsed().is_zero() {
        return None;
    }
    let (held, released) = mpsc::channel();
    tokio::task::spawn_blocking(move || released.recv());
    Some(held)
}

/// Has each idle thread of [`run`] give back what is free of its memory.
pub(crate) fn give_back_memory() {
    BLOCKING.give_back_memory();
}

/// A group of threads.
pub(crate) struct Threads {
    name: &'static str,
    state: Mutex<State>,
    /// Notified when work that waited has been given to a thread.
    given: Condvar,
    /// How many more threads the system has for it.
    #[cfg(test)]
    left: std::sync::atomic::AtomicUsize,
}

struct State {
    /// All that have not ended.
    threads: usize,
    idle: Vec<Thread>,
    /// Work for which there was no thread.
    waiting: VecDeque<(u64, Job)>,
    next_number: u64,
}

/// Drops what it is given when the thread may have other work.
pub(crate) type Job = Box<dyn FnOnce(BusyThread) + Send>;

#[derive(Clone)]
struct Thread {
    number: u64,
    jobs: Sender<Job>,
}

/// A thread that works. When this is dropped it takes the next work or is idle.
pub(crate) struct BusyThread {
    group: &'static Threads,
    thread: Thread,
}

/// Work that waits for a thread. It is called off when this is dropped.
struct WaitingJob {
    group: &'static Threads,
    number: u64,
    /// Why there is no thread.
    error: io::Error,
}

impl Threads {
    /// A group whose threads have this name.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                threads: 0,
                idle: Vec::new(),
                waiting: VecDeque::new(),
                next_number: 0,
            }),
            given: Condvar::new(),
            #[cfg(test)]
            left: std::sync::atomic::AtomicUsize::new(usize::MAX),
        }
    }

    async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let runtime = Handle::current();
        let (answer, mut answered) = oneshot::channel();
        let job = move |thread: BusyThread| {
            let _entered = runtime.enter();
            // Whoever lets go of the result, it goes before the thread is idle: dropping it may take its time.
            drop(answer.send((work(), thread)));
        };
        let mut done = None;
        if let Some(waiting) = self.give(Box::new(job))? {
            done = tokio::time::timeout(PATIENCE, &mut answered).await.ok();
            if done.is_none()
                && let Some(error) = waiting.call_off()
            {
                return Err(error);
            }
        }
        let done = match done {
            Some(done) => done,
            None => answered.await,
        };
        match done {
            // The thread is idle from here on: who goes on with other work finds it.
            Ok((done, _thread)) => Ok(done),
            Err(_) => Err(io::Error::other("it panicked: a defect of sidebearer")),
        }
    }

    /// Has `job` done by an idle thread, or by a new one, and blocks for a moment if the system gives none.
    ///
    /// # Errors
    /// There was none in this moment either.
    pub(crate) fn begin(&'static self, job: Job) -> io::Result<()> {
        let Some(waiting) = self.give(job)? else {
            return Ok(());
        };
        let waits = |state: &mut State| state.is_waiting(waiting.number);
        // Whether that was for long enough does not matter: what counts is whether the job waits still.
        drop(
            self.given
                .wait_timeout_while(self.lock(), PATIENCE, waits)
                .map_err(PoisonError::into_inner),
        );
        waiting.call_off().map_or(Ok(()), Err)
    }

    /// Has each idle thread give back what is free of its memory, one after the other, and blocks for that time: what
    /// another thread has freed of it is free only when its own thread looks, which an idle one does not.
    pub(crate) fn give_back_memory(&'static self) {
        let idle = std::mem::take(&mut self.lock().idle);
        for thread in idle {
            let (done, ended) = mpsc::channel::<()>();
            thread.take(Box::new(move |thread| {
                process::give_back_memory();
                drop((thread, done));
            }));
            // By an error: nothing is sent.
            let _ = ended.recv();
        }
    }

    /// `Some` if there is neither an idle thread nor a new one, and `job` waits for one that works.
    ///
    /// # Errors
    /// There is no thread at all that it could wait for.
    fn give(&'static self, job: Job) -> io::Result<Option<WaitingJob>> {
        let mut state = self.lock();
        if let Some(idle) = state.idle.pop() {
            idle.take(job);
            return Ok(None);
        }
        let number = state.next_number;
        state.next_number += 1;
        let (jobs, inbox) = mpsc::channel();
        let thread = Thread { number, jobs };
        let own = thread.clone();
        match start_by(self.builder(), move || self.serve(&own, &inbox)) {
            Ok(()) => {
                state.threads += 1;
                thread.take(job);
                Ok(None)
            }
            Err(error) if state.threads == 0 => Err(error),
            Err(error) => {
                state.waiting.push_back((number, job));
                let group = self;
                Ok(Some(WaitingJob {
                    group,
                    number,
                    error,
                }))
            }
        }
    }

    fn serve(&'static self, thread: &Thread, inbox: &Receiver<Job>) {
        // One that stays until there is work wakes up for nothing else.
        let mut stays = false;
        loop {
            let job = if stays {
                inbox.recv().ok()
            } else {
                inbox.recv_timeout(IDLE_TIMEOUT).ok()
            };
            if let Some(job) = job {
                let busy = BusyThread {
                    group: self,
                    thread: thread.clone(),
                };
                // The one who waits for an answer learns of a panic by getting none.
                let _ = catch_unwind(AssertUnwindSafe(|| job(busy)));
                stays = false;
                continue;
            }
            let mut state = self.lock();
            let is_this = |idle: &Thread| idle.number == thread.number;
            // One that is not there is about to get work, or to be put there.
            let Some(at) = state.idle.iter().position(is_this) else {
                continue;
            };
            stays = state.idle.len() == 1;
            if !stays {
                state.idle.remove(at);
                state.threads -= 1;
                return;
            }
        }
    }

    fn builder(&self) -> thread::Builder {
        let builder = thread::Builder::new().name(self.name.to_owned());
        #[cfg(test)]
        let builder = tests::limited(builder, self);
        builder
    }

    /// What is locked is changed in one step, so a panic elsewhere leaves it sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_waiting(&self, number: u64) -> bool {
        self.waiting.iter().any(|(waiting, _)| *waiting == number)
    }
}

impl Thread {
    fn take(&self, job: Job) {
        // It does not end while it is idle or busy, so that this does not fail.
        let _ = self.jobs.send(job);
    }
}

impl Drop for BusyThread {
    fn drop(&mut self) {
        let mut state = self.group.lock();
        match state.waiting.pop_front() {
            Some((_, job)) => self.thread.take(job),
            None => state.idle.push(self.thread.clone()),
        }
        self.group.given.notify_all();
    }
}

impl WaitingJob {
    /// Why there was no thread, if the work has not begun yet; it never will then.
    fn call_off(self) -> Option<io::Error> {
        self.remove()
            .then(|| io::Error::new(self.error.kind(), self.error.to_string()))
    }

    fn remove(&self) -> bool {
        let mut state = self.group.lock();
        let at = state
            .waiting
            .iter()
            .position(|(number, _)| *number == self.number);
        let removed = at.and_then(|at| state.waiting.remove(at));
        // Before what was removed is dropped, which may need a thread of this group.
        drop(state);
        removed.is_some()
    }
}

impl Drop for WaitingJob {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Starts a thread that does `work`, and ends.
///
/// # Errors
/// The system gives no thread. The error names the limits that may be reached.
pub(crate) fn start_thread(
    name: impl Into<String>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    start_by(thread::Builder::new().name(name.into()), work)
}

fn start_by(builder: thread::Builder, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let named = |error: io::Error| {
        let reason = format!("the system gives no thread: {error}; {THREAD_LIMITS}");
        io::Error::new(error.kind(), reason)
    };
    builder.spawn(work).map(drop).map_err(named)
}

#[cfg(test)]
mod tests;
