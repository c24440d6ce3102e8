//! Looks at files within a bound, whatever their file system does.
//!
//! A mount whose server is gone answers neither `open` nor `stat`, and a thread in there cannot be
//! called back. So each access to a file has a thread of its own, and the caller waits for the answer
//! no longer than `server.file_timeout`. Another thread is sent after one that was lost when twice as much time has
//! passed as before the last one, an hour at most: a dead mount costs a few threads, and one that
//! was replaced by a good one is found.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// `server.file_timeout` unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A thread that has had nothing to do for this time ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Milliseconds.
static TIMEOUT_MILLIS: AtomicU64 = AtomicU64::new(DEFAULT_TIMEOUT.as_millis() as u64);

/// The longest time until another thread is sent after one that was given up.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The paths whose file system has not answered.
static UNRESPONSIVE: Mutex<BTreeMap<PathBuf, Unresponsive>> = Mutex::new(BTreeMap::new());

/// The threads that have nothing to do.
static IDLE_THREADS: Mutex<Vec<FilesThread>> = Mutex::new(Vec::new());

/// Returns whether its caller got the answer. One who did marks the thread as idle, else the thread does.
type Job = Box<dyn FnOnce() -> bool + Send>;

struct Unresponsive {
    /// When the last thread was given up.
    since: Instant,
    /// How long no other thread is sent.
    retry_after: Duration,
}

#[derive(Clone)]
struct FilesThread {
    number: u64,
    jobs: Sender<Job>,
}

/// How long a file system may take from now on.
pub fn set_timeout(timeout: Duration) {
    let millis = timeout.as_millis().try_into().unwrap_or(u64::MAX);
    TIMEOUT_MILLIS.store(millis, Relaxed);
}

/// How long a file system may take.
pub fn timeout() -> Duration {
    Duration::from_millis(TIMEOUT_MILLIS.load(Relaxed))
}

/// Runs `work`, which reads or changes `path`, on another thread, and waits for it for [`timeout`]. If another path in
/// the same directory has not answered, the wait is a twentieth of that, so that many paths in one dead directory do not
/// add up. Blocks, so that it must be called on a thread that serves no requests.
///
/// # Errors
/// That of `work`; [`ErrorKind::TimedOut`] when there is no answer, and at once for some time after
/// an earlier look at the same path had none.
pub fn run_within_timeout<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run_within(path, timeout(), work)
}

fn run_within<T: Send + 'static>(
    path: &Path,
    timeout: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let silent = || {
        let reason = format!("the file system has not answered within {timeout:?}");
        Err(io::Error::new(ErrorKind::TimedOut, reason))
    };
    let timeout = {
        let known = lock(&UNRESPONSIVE);
        let silence = known.get(path);
        if silence.is_some_and(|silence| silence.since.elapsed() < silence.retry_after) {
            return silent();
        }
        let beside = |known: &PathBuf| known != path && known.parent() == path.parent();
        if known.keys().any(beside) {
            timeout / 20
        } else {
            timeout
        }
    };
    let (answer, answered) = mpsc::sync_channel(1);
    let named = path.to_owned();
    let thread = run_on_thread(Box::new(move || {
        let done = work();
        // Under one lock: a caller that gives up at this moment must not mark a path as unresponsive that has
        // just answered.
        let mut silent = lock(&UNRESPONSIVE);
        silent.remove(&named);
        let delivered = answer.try_send(done);
        drop(silent);
        // Dropped after the lock: the result may be a socket, and closing it uses this module again.
        delivered.is_ok()
    }))?;
    let done = match answered.recv_timeout(timeout) {
        Ok(done) => done,
        Err(RecvTimeoutError::Disconnected) => {
            return Err(io::Error::other("the thread that read panicked"));
        }
        Err(RecvTimeoutError::Timeout) => {
            let mut known = lock(&UNRESPONSIVE);
            let Ok(done) = answered.try_recv() else {
                // Before the lock is given back: what comes later is not delivered.
                drop(answered);
                let before = known
                    .get(path)
                    .map_or(timeout, |silence| silence.retry_after);
                let retry_after = (2 * before).min(LONGEST_RETRY);
                let since = Instant::now();
                known.insert(path.to_owned(), Unresponsive { since, retry_after });
                return silent();
            };
            done
        }
    };
    // By the caller: one that goes on to the next file finds the thread idle, however late that one runs again.
    lock(&IDLE_THREADS).push(thread);
    done
}

/// Does it on an idle thread, or on a new one, and returns that thread.
fn run_on_thread(mut job: Job) -> io::Result<FilesThread> {
    loop {
        // Let go of before the thread is told: it takes the same lock.
        let Some(thread) = lock(&IDLE_THREADS).pop() else {
            break;
        };
        match thread.jobs.send(job) {
            Ok(()) => return Ok(thread),
            Err(SendError(back)) => job = back,
        }
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let (jobs, inbox) = mpsc::channel();
    let started = FilesThread { number, jobs };
    let thread = started.clone();
    let builder = thread::Builder::new().name("files".to_owned());
    builder.spawn(move || thread.serve(job, &inbox))?;
    Ok(started)
}

impl FilesThread {
    fn serve(&self, mut job: Job, inbox: &Receiver<Job>) {
        loop {
            if !job() {
                lock(&IDLE_THREADS).push(self.clone());
            }
            let Some(next) = self.next_job(inbox) else {
                return;
            };
            job = next;
        }
    }

    /// None when there was nothing to do for long. Nobody knows this thread any more then.
    fn next_job(&self, inbox: &Receiver<Job>) -> Option<Job> {
        loop {
            if let Ok(job) = inbox.recv_timeout(IDLE_TIMEOUT) {
                return Some(job);
            }
            let mut idle = lock(&IDLE_THREADS);
            // One that is not there is about to get a job, or to be put there.
            if let Some(at) = idle.iter().position(|idle| idle.number == self.number) {
                idle.swap_remove(at);
                return None;
            }
        }
    }
}

/// What is locked is changed in one step, so a panic elsewhere leaves it sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn a_path_that_does_not_answer_is_left_alone_for_longer_each_time() {
        let (path, timeout) = (Path::new("/nowhere/silent"), Duration::from_millis(50));
        let mut releases = Vec::new();
        let mut hang = || {
            let (release, held) = mpsc::channel::<()>();
            releases.push(release);
            let silent = run_within(path, timeout, move || Ok(held.recv().is_ok())).unwrap_err();
            assert_eq!(silent.kind(), ErrorKind::TimedOut);
            let reason = "the file system has not answered within 50ms";
            assert_eq!(silent.to_string(), reason);
        };
        for longer in [2, 4] {
            hang();
            let left_alone = Instant::now();
            // At once, and without doing it.
            while run_within(path, timeout, || Ok(())).is_err() {
                assert!(left_alone.elapsed() < SOON);
                thread::sleep(Duration::from_millis(1));
            }
            assert!(left_alone.elapsed() >= longer * timeout, "{longer}");
            lock(&UNRESPONSIVE).insert(
                path.to_owned(),
                Unresponsive {
                    since: Instant::now() - SOON,
                    retry_after: longer * timeout,
                },
            );
        }
        assert_eq!(
            run_within_timeout(Path::new("/elsewhere/file"), || Ok(7)).unwrap(),
            7
        );
        hang();
        assert!(run_within_timeout(path, || Ok(())).is_err());
        // The first that speaks again ends the silence, also one that was given up.
        releases.clear();
        let begun = Instant::now();
        while lock(&UNRESPONSIVE).contains_key(path) {
            assert!(begun.elapsed() < SOON);
        }
        run_within_timeout(path, || Ok(())).unwrap();
    }

    #[test]
    fn many_reads_at_once_each_get_their_own_answer() {
        let readers = (0..200).map(|number| {
            thread::spawn(move || {
                // Not beside the path that another test makes silent.
                let path = PathBuf::from(format!("/many/{number}"));
                assert_eq!(
                    run_within_timeout(&path, move || Ok(number)).unwrap(),
                    number
                );
            })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.join().unwrap();
        }
    }
}
