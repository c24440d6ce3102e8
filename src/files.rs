//! What a file system may hold up, done by threads that nobody waits for beyond a bound.
//!
//! A mount whose server is gone answers neither `open` nor `stat`, and a thread in there cannot be
//! called back. So each look at a file is a thread's own, and whoever wants to know waits for an
//! answer only so long. Another thread is sent after one that was lost when twice as much time has
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

/// How long a file system may take unless the configuration says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A thread that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// Milliseconds.
static PATIENCE_NOW: AtomicU64 = AtomicU64::new(PATIENCE.as_millis() as u64);

/// The longest time until another thread is sent after a lost one.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// The paths that have not answered.
static SILENT: Mutex<BTreeMap<PathBuf, Silence>> = Mutex::new(BTreeMap::new());

/// The threads that have nothing to do.
static WAITING: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

type Job = Box<dyn FnOnce() + Send>;

struct Silence {
    /// When the last thread was given up.
    since: Instant,
    /// How long no other is sent.
    keeps: Duration,
}

struct Waiting {
    number: u64,
    jobs: Sender<Job>,
}

/// How long a file system may take from now on.
pub fn set_patience(patience: Duration) {
    let millis = patience.as_millis().try_into().unwrap_or(u64::MAX);
    PATIENCE_NOW.store(millis, Relaxed);
}

/// How long a file system may take.
pub fn patience() -> Duration {
    Duration::from_millis(PATIENCE_NOW.load(Relaxed))
}

/// Does what reads or changes `path`, and waits for it for [`patience`]; for a twentieth of that
/// beside a path that does not answer, so that many in one dead directory do not add up. Blocks: on
/// a thread that serves nobody.
///
/// # Errors
/// That of `work`; [`ErrorKind::TimedOut`] when there is no answer, and at once for some time after
/// an earlier look at the same path had none.
pub fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    answer(path, patience(), work)
}

fn answer<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let silent = || {
        let reason = format!("the file system has not answered within {patience:?}");
        Err(io::Error::new(ErrorKind::TimedOut, reason))
    };
    let patience = {
        let known = lock(&SILENT);
        let silence = known.get(path);
        if silence.is_some_and(|silence| silence.since.elapsed() < silence.keeps) {
            return silent();
        }
        let beside = |known: &PathBuf| known != path && known.parent() == path.parent();
        if known.keys().any(beside) {
            patience / 20
        } else {
            patience
        }
    };
    let (answer, answered) = mpsc::sync_channel(1);
    let named = path.to_owned();
    apart(Box::new(move || {
        let done = work();
        // Together: whoever gives up in between must not call a path silent that has spoken.
        let mut silent = lock(&SILENT);
        silent.remove(&named);
        let unheard = answer.try_send(done);
        drop(silent);
        // It may be a socket, whose end looks at files as well.
        drop(unheard);
    }))?;
    match answered.recv_timeout(patience) {
        Ok(done) => done,
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the thread that read panicked"))
        }
        Err(RecvTimeoutError::Timeout) => {
            let mut known = lock(&SILENT);
            answered.try_recv().unwrap_or_else(|_| {
                let before = known.get(path).map_or(patience, |silence| silence.keeps);
                let keeps = (2 * before).min(LONGEST_SILENCE);
                let since = Instant::now();
                known.insert(path.to_owned(), Silence { since, keeps });
                silent()
            })
        }
    }
}

/// Does it on a thread that waits, or on a new one.
fn apart(mut job: Job) -> io::Result<()> {
    loop {
        // Let go of before the thread is told: it takes the same lock.
        let Some(waiting) = lock(&WAITING).pop() else {
            break;
        };
        match waiting.jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(SendError(back)) => job = back,
        }
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let (jobs, inbox) = mpsc::channel();
    let thread = thread::Builder::new().name("files".to_owned());
    thread.spawn(move || {
        job();
        serve(number, &jobs, &inbox);
    })?;
    Ok(())
}

fn serve(number: u64, jobs: &Sender<Job>, inbox: &Receiver<Job>) {
    loop {
        let jobs = jobs.clone();
        lock(&WAITING).push(Waiting { number, jobs });
        let job = inbox.recv_timeout(IDLE).or_else(|_| {
            let mut waiting = lock(&WAITING);
            let known = waiting.iter().position(|waiting| waiting.number == number);
            match known {
                // Nobody can send any more.
                Some(at) => {
                    waiting.swap_remove(at);
                    Err(())
                }
                // Somebody is about to.
                None => {
                    drop(waiting);
                    inbox.recv().map_err(drop)
                }
            }
        });
        match job {
            Ok(job) => job(),
            Err(()) => return,
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
        let (path, patience) = (Path::new("/nowhere/silent"), Duration::from_millis(50));
        let mut releases = Vec::new();
        let mut hang = || {
            let (release, held) = mpsc::channel::<()>();
            releases.push(release);
            let silent = answer(path, patience, move || Ok(held.recv().is_ok())).unwrap_err();
            assert_eq!(silent.kind(), ErrorKind::TimedOut);
            let reason = "the file system has not answered within 50ms";
            assert_eq!(silent.to_string(), reason);
        };
        for longer in [2, 4] {
            hang();
            let left_alone = Instant::now();
            // At once, and without doing it.
            while answer(path, patience, || Ok(())).is_err() {
                assert!(left_alone.elapsed() < SOON);
                thread::sleep(Duration::from_millis(1));
            }
            assert!(left_alone.elapsed() >= longer * patience, "{longer}");
            lock(&SILENT).insert(
                path.to_owned(),
                Silence {
                    since: Instant::now() - SOON,
                    keeps: longer * patience,
                },
            );
        }
        assert_eq!(within(Path::new("/elsewhere/file"), || Ok(7)).unwrap(), 7);
        hang();
        assert!(within(path, || Ok(())).is_err());
        // The first that speaks again ends the silence, also one that was given up.
        releases.clear();
        let begun = Instant::now();
        while lock(&SILENT).contains_key(path) {
            assert!(begun.elapsed() < SOON);
        }
        within(path, || Ok(())).unwrap();
    }

    #[test]
    fn many_looks_at_once_each_get_their_own_answer() {
        let looks = (0..200).map(|number| {
            thread::spawn(move || {
                let path = PathBuf::from(format!("/nowhere/{number}"));
                assert_eq!(within(&path, move || Ok(number)).unwrap(), number);
            })
        });
        for look in looks.collect::<Vec<_>>() {
            look.join().unwrap();
        }
    }
}
