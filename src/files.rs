//! Looks at files within a bound, whatever their file system does.
//!
//! A mount whose server is gone answers neither `open` nor `stat`, and a thread in there cannot be
//! called back. So each access to a file has a thread of its own, and the caller waits for the answer
//! no longer than `server.file_timeout`. Another thread is sent after one that was lost when twice as much time has
//! passed as before the last one, an hour at most: a dead mount costs a few threads, and one that
//! was replaced by a good one is found. It is found at once by who asks for a reload ([`look_again`]).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use crate::blocking::Threads;

/// `server.file_timeout` unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Milliseconds.
static TIMEOUT_MILLIS: AtomicU64 = AtomicU64::new(DEFAULT_TIMEOUT.as_millis() as u64);

/// The longest time until another thread is sent after one that was given up.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// While so many looks have not come back, none is made before its time: each keeps a thread for as long as its file
/// system is silent, which may be for ever.
const MOST_LOST: usize = 32;

static KNOWN: Mutex<KnownFiles> = Mutex::new(KnownFiles {
    silent: BTreeMap::new(),
    lost: 0,
});

static THREADS: Threads = Threads::new("files");

struct KnownFiles {
    /// The paths whose file system has not answered.
    silent: BTreeMap<PathBuf, Unresponsive>,
    /// Looks that were given up and have not come back.
    lost: usize,
}

struct Unresponsive {
    directory: Option<PathBuf>,
    /// When the last thread was given up.
    since: Instant,
    /// How long no other thread is sent.
    retry_after: Duration,
    /// The next look is not postponed.
    asked: bool,
    /// What is said until then.
    reason: String,
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

thread_local! {
    /// Filled by [`noting_shortage`].
    static SHORTAGE: RefCell<Option<Shortage>> = const { RefCell::new(None) };
    /// Within [`within_one_timeout`]: whether one has not answered.
    static MET_SILENCE: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Why a file could not be read that says nothing about the file: the system lacks something for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The error of the system.
    pub reason: String,
    /// What can be done about it.
    pub advice: &'static str,
}

impl Shortage {
    /// `None` for an error that is about the file.
    pub fn of(error: &io::Error) -> Option<Self> {
        let advice = match (
            error.kind(),
            error.raw_os_error().map(Errno::from_raw_os_error),
        ) {
            (_, Some(Errno::MFILE)) => {
                "raise the limit of open files (ulimit -n, LimitNOFILE= of a unit)"
            }
            (_, Some(Errno::NFILE)) => "raise the limit of open files of the machine (fs.file-max)",
            (ErrorKind::WouldBlock, _) => {
                "try again when other processes have ended, or raise the limit"
            }
            (ErrorKind::OutOfMemory, _) => {
                "try again when there is memory, or raise the limit of it"
            }
            (ErrorKind::TimedOut, _) => {
                "see whether the server of this file system is there, or raise server.file_timeout"
            }
            _ => return None,
        };
        let reason = error.to_string();
        Some(Self { reason, advice })
    }
}

/// Does `work`, and tells too whether a look at a file failed for want of something meanwhile, on this thread.
pub fn noting_shortage<T>(work: impl FnOnce() -> T) -> (T, Option<Shortage>) {
    SHORTAGE.take();
    let done = work();
    (done, SHORTAGE.take())
}

/// Does `work`, which looks at several files on this thread. Once one of them does not answer within [`timeout`], the wait
/// for each of the others is a twentieth of that, so that many dead file systems do not add up.
pub fn within_one_timeout<T>(work: impl FnOnce() -> T) -> T {
    let outer = MET_SILENCE.get();
    MET_SILENCE.set(outer.or(Some(false)));
    let done = work();
    MET_SILENCE.set(outer);
    done
}

/// Somebody asks for a look at all files: it is not postponed for those that have not answered before, once. But it is
/// while too many looks have not come back.
pub fn look_again() {
    look_again_at(MOST_LOST, |_| true);
}

fn look_again_at(most_lost: usize, which: impl Fn(&Path) -> bool) {
    let known = &mut *lock(&KNOWN);
    if known.lost < most_lost {
        let asked = known.silent.iter_mut().filter(|(path, _)| which(path));
        asked.for_each(|(_, silence)| silence.asked = true);
    }
}

/// Has each idle thread of this module give back what is free of its memory.
pub fn give_back_memory() {
    THREADS.give_back_memory();
}

/// Runs `work`, which reads or changes `path`, on another thread, and waits for it for [`timeout`]. If another path in
/// the same directory has not answered, the wait is a twentieth of that, so that many paths in one dead directory do not
/// add up. Blocks, so that it must be called on a thread that serves no requests.
///
/// # Errors
/// That of `work`; that the system gives no thread; [`ErrorKind::TimedOut`] when there is no answer, and at once for some time after
/// an earlier look at the same path had none.
pub fn run_within_timeout<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run_within(path, timeout(), work).inspect_err(|error| {
        if let Some(shortage) = Shortage::of(error) {
            SHORTAGE.set(Some(shortage));
        }
    })
}

fn run_within<T: Send + 'static>(
    path: &Path,
    timeout: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (asked, wait) = {
        let mut known = lock(&KNOWN);
        let mut asked = false;
        if let Some(silence) = known.silent.get_mut(path) {
            asked = mem::take(&mut silence.asked);
            if !asked && silence.since.elapsed() < silence.retry_after {
                return Err(silence.error());
            }
        }
        let beside = |known: &PathBuf| known != path && known.parent() == path.parent();
        let is_brief = MET_SILENCE.get() == Some(true) || known.silent.keys().any(beside);
        (asked, if is_brief { timeout / 20 } else { timeout })
    };
    let (answer, answered) = mpsc::sync_channel(1);
    let named = path.to_owned();
    THREADS.begin(Box::new(move |thread| {
        let done = work();
        // Under one lock: a caller that gives up at this moment must not mark a path as unresponsive that has
        // just answered.
        let mut known = lock(&KNOWN);
        known.silent.remove(&named);
        let undelivered = answer.try_send((done, thread)).err();
        known.lost -= usize::from(undelivered.is_some());
        drop(known);
        // Dropped after the lock, and before its thread is idle: the result may be a socket, and closing it uses this
        // module again.
        drop(undelivered);
    }))?;
    // The thread is idle from here on: a caller that goes on to the next file finds it, however late it runs again.
    let (done, _thread) = match answered.recv_timeout(wait) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Disconnected) => {
            return Err(io::Error::other("the thread that read panicked"));
        }
        Err(RecvTimeoutError::Timeout) => {
            let mut known = lock(&KNOWN);
            let Ok(answer) = answered.try_recv() else {
                // Before the lock is given back: what comes later is not delivered.
                drop(answered);
                return Err(known.give_up(path, timeout, asked));
            };
            answer
        }
    };
    done
}

impl KnownFiles {
    /// A look at `path` has taken too long. `asked`: it would not have been its time yet.
    fn give_up(&mut self, path: &Path, timeout: Duration, asked: bool) -> io::Error {
        self.lost += 1;
        MET_SILENCE.set(MET_SILENCE.get().map(|_| true));
        let before = self.silent.get(path);
        let before = before.map_or(timeout, |silence| silence.retry_after);
        let retry_after = if asked {
            before
        } else {
            (2 * before).min(LONGEST_RETRY)
        };
        // Those beside it would be lost in the same way.
        let beside = |known: &&mut Unresponsive| known.directory.as_deref() == path.parent();
        let others = self.silent.values_mut().filter(beside);
        others.for_each(|silence| silence.asked = false);
        let reason = format!("the file system has not answered within {timeout:?}");
        let silence = Unresponsive {
            directory: path.parent().map(Path::to_owned),
            since: Instant::now(),
            retry_after,
            asked: false,
            reason: format!(
                "{reason}, and is not looked at again before {}, except by a reload on request",
                httpdate::fmt_http_date(SystemTime::now() + retry_after)
            ),
        };
        self.silent.insert(path.to_owned(), silence);
        io::Error::new(ErrorKind::TimedOut, reason)
    }
}

impl Unresponsive {
    fn error(&self) -> io::Error {
        io::Error::new(ErrorKind::TimedOut, self.reason.clone())
    }
}

/// What is locked is changed in one step, so a panic elsewhere leaves it sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

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
            let begun = Instant::now();
            hang();
            // At once, and without doing it.
            while run_within(path, timeout, || Ok(())).is_err() {
                assert!(begun.elapsed() < SOON);
                thread::sleep(Duration::from_millis(1));
            }
            // The pause begins when the wait has timed out.
            assert!(begun.elapsed() >= (1 + longer) * timeout, "{longer}");
            let mut known = lock(&KNOWN);
            known.give_up(path, longer * timeout / 2, false);
            known.lost -= 1;
            known.silent.get_mut(path).unwrap().since -= SOON;
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
        while lock(&KNOWN).silent.contains_key(path) {
            assert!(begun.elapsed() < SOON);
        }
        run_within_timeout(path, || Ok(())).unwrap();
    }

    #[test]
    fn file_systems_that_do_not_answer_do_not_add_up_for_one_who_reads_several_files() {
        let timeout = Duration::from_secs(1);
        let begun = Instant::now();
        let releases = within_one_timeout(|| {
            [
                "/one/silent",
                "/two/silent",
                "/three/silent",
                "/four/silent",
            ]
            .map(|path| {
                let (release, held) = mpsc::channel::<()>();
                run_within(path.as_ref(), timeout, move || Ok(held.recv().is_ok())).unwrap_err();
                release
            })
        });
        let took = begun.elapsed();
        assert!((timeout..3 * timeout).contains(&took), "{took:?}");
        // The next one who reads has all the time again.
        assert_eq!(MET_SILENCE.get(), None);
        drop(releases);
    }

    /// A look at `path` that does not come back before what is returned is dropped.
    fn lose(path: &Path) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let timeout = Duration::from_millis(20);
        run_within(path, timeout, move || Ok(held.recv().is_ok())).unwrap_err();
        lock(&KNOWN).silent.get_mut(path).unwrap().retry_after = SOON;
        release
    }

    #[test]
    fn who_asks_for_a_look_has_one_at_once_though_the_path_is_left_alone() {
        let path = Path::new("/asked/silent");
        let lost = lose(path);
        let look = || run_within(path, SOON, || Ok(7));
        let skipped = look().unwrap_err().to_string();
        let (said, next) = skipped.split_once(" before ").unwrap();
        let expected = "the file system has not answered within 20ms, and is not looked at again";
        assert_eq!(said, expected);
        let next = next
            .strip_suffix(", except by a reload on request")
            .unwrap();
        assert!(httpdate::parse_http_date(next).unwrap() > SystemTime::now() - SOON);

        look_again_at(0, |asked| asked == path);
        look().expect_err("too many have not come back");
        look_again_at(usize::MAX, |asked| asked == path);
        assert_eq!(look().unwrap(), 7);
        assert!(!lock(&KNOWN).silent.contains_key(path));
        drop(lost);
    }

    #[test]
    fn a_look_that_was_asked_for_in_vain_prolongs_no_pause_and_spares_the_files_beside() {
        let (path, beside) = (Path::new("/dead/one"), Path::new("/dead/two"));
        let lost = [lose(path), lose(beside)];
        look_again_at(usize::MAX, |asked| asked.starts_with("/dead"));
        let (release, held) = mpsc::channel::<()>();
        let timeout = Duration::from_millis(20);
        run_within(path, timeout, move || Ok(held.recv().is_ok())).unwrap_err();
        assert_eq!(lock(&KNOWN).silent[path].retry_after, SOON);
        run_within(beside, SOON, || Ok(())).expect_err("it is not looked at");
        run_within(path, SOON, || Ok(())).expect_err("it was looked at once");
        drop((lost, release));
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
