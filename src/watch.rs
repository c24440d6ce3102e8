//! Tells when the content of files changes, however they are written or swapped.
//!
//! What a path names is decided by directories: Kubernetes renames a `..data` symlink, editors
//! rename over, others delete and create. So inotify watches `directories`, never files, and
//! its events only say *when* to look; *what* changed is found by comparing content. Where
//! inotify cannot be used, or tells nothing (network file systems), a timer makes the thread read the files instead.

mod content;
mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use notify::RecursiveMode;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use self::content::{Hasher, PathContent};
use self::directories::{EntryHash, PathDependencies};
use crate::files;
use crate::supervisor::{PanicGuard, Supervisor};

/// Content counts as settled when it is the same in two reads this far apart.
const SETTLE: Duration = Duration::from_millis(50);

/// Content that never settles is reported all the same after this many reads, about 2 s.
const MAX_UNSETTLED_READS: u32 = 40;

/// How often files are read without inotify.
const POLL: Duration = Duration::from_secs(2);

/// How often files are read even with inotify: network file systems raise no events.
const SAFETY_POLL: Duration = Duration::from_secs(30);

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watcher(mpsc::Sender<WatchMessage>);

/// What a [`Watcher`] saw.
#[derive(Debug)]
pub struct Changes(UnboundedReceiver<BTreeSet<PathBuf>>);

impl Watcher {
    /// Watches these paths; a directory stands for its `*.toml`, a missing path for its creation.
    /// Every change of content after this returns is reported. The log says whether inotify or a
    /// timer is used, and why.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub async fn start(
        paths: Vec<PathBuf>,
        supervisor: &Supervisor,
    ) -> io::Result<(Self, Changes)> {
        let guard = supervisor.guard("the thread of inotify");
        Self::start_by(
            |messages| WatchMethod::inotify(messages, guard),
            paths,
            supervisor,
        )
        .await
    }

    /// Watches these paths instead. Changes of paths that stay in the set are not lost; those of
    /// new paths are reported when they happen after this returns. Where a file system does not
    /// answer this returns all the same: all paths are then reported once it does.
    pub async fn watch(&self, paths: Vec<PathBuf>) {
        self.ask(|done| WatchMessage::Watch(paths, done)).await;
    }

    /// Takes the content that is there now as known, and does not report it. A caller that reads the files after this
    /// returns reads that content or newer. Later changes are reported.
    pub async fn skip_to_now(&self) {
        self.ask(WatchMessage::SkipToNow).await;
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<()>) -> WatchMessage) {
        let (done, seen) = oneshot::channel();
        // It fails only when the thread ended because nobody reads the changes any more.
        let _ = self.0.send(message(done));
        let _ = tokio::time::timeout(2 * files::timeout(), seen).await;
    }

    async fn start_by(
        method: impl FnOnce(mpsc::Sender<WatchMessage>) -> WatchMethod,
        paths: Vec<PathBuf>,
        supervisor: &Supervisor,
    ) -> io::Result<(Self, Changes)> {
        let (messages, inbox) = mpsc::channel();
        let (reports, changes) = unbounded_channel();
        let thread = WatchThread {
            inbox,
            reports,
            method: method(messages.clone()),
            hasher: Hasher::default(),
            reported: BTreeMap::new(),
        };
        // A thread of its own: a file system that hangs must not stop the runtime.
        supervisor.spawn("watch".to_owned(), move || thread.run())?;
        let watcher = Self(messages);
        watcher.watch(paths).await;
        Ok((watcher, Changes(changes)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.send(WatchMessage::Stop);
    }
}

impl Changes {
    /// The paths whose content, or existence, changed since the last call: watched files, or
    /// `*.toml` of watched directories. `None` when the watcher is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<BTreeSet<PathBuf>> {
        let mut paths = self.0.recv().await?;
        while let Ok(more) = self.0.try_recv() {
            paths.extend(more);
        }
        Some(paths)
    }
}

enum WatchMessage {
    /// Something happened in a watched directory.
    Touched,
    Watch(Vec<PathBuf>, oneshot::Sender<()>),
    SkipToNow(oneshot::Sender<()>),
    Stop,
}

type Contents = BTreeMap<PathBuf, PathContent>;

struct WatchThread {
    inbox: mpsc::Receiver<WatchMessage>,
    reports: UnboundedSender<BTreeSet<PathBuf>>,
    method: WatchMethod,
    hasher: Hasher,
    /// The content that was last reported, by watched path.
    reported: Contents,
}

impl WatchThread {
    fn run(mut self) {
        let mut unsettled = Unsettled::default();
        let mut due = Instant::now();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(WatchMessage::Touched) => due = due.min(Instant::now() + SETTLE),
                Ok(WatchMessage::Watch(paths, done)) => {
                    self.replace(paths);
                    due = Instant::now() + SETTLE;
                    if done.send(()).is_err() {
                        self.forget_contents();
                    }
                }
                Ok(WatchMessage::SkipToNow(done)) => {
                    self.reported = self.read_contents(self.reported.keys().cloned().collect());
                    unsettled = Unsettled::default();
                    if done.send(()).is_err() {
                        self.forget_contents();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let seen = self.read_contents(self.reported.keys().cloned().collect());
                    due = Instant::now()
                        + match unsettled.compare(&self.reported, &seen) {
                            Comparison::Same => self.method.interval(),
                            Comparison::ReadAgain => SETTLE,
                            Comparison::Changed => {
                                let changes = content::changes(&self.reported, &seen);
                                self.reported = seen;
                                if self.reports.send(changes).is_err() {
                                    return;
                                }
                                self.method.interval()
                            }
                        };
                }
                Ok(WatchMessage::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The caller has stopped waiting for this read, and may have read the files before it or after it. So everything
    /// counts as changed.
    fn forget_contents(&mut self) {
        for content in self.reported.values_mut() {
            *content = PathContent::Unknown;
        }
    }

    fn replace(&mut self, paths: Vec<PathBuf>) {
        let mut contents = self.read_contents(paths);
        for (path, content) in &mut contents {
            if let Some(reported) = self.reported.remove(path) {
                *content = reported;
            }
        }
        self.reported = contents;
    }

    /// Directories first, content second: what changes in between raises an event.
    fn read_contents(&mut self, paths: Vec<PathBuf>) -> Contents {
        self.method.watch_directories(&paths);
        let read = |path: PathBuf| {
            let content = self.hasher.content(&path);
            (path, content)
        };
        paths.into_iter().map(read).collect()
    }
}

/// Differing content that has been seen once, waiting to be seen again.
#[derive(Default)]
struct Unsettled {
    seen: Contents,
    reads: u32,
}

#[derive(Debug, PartialEq)]
enum Comparison {
    Same,
    ReadAgain,
    Changed,
}

impl Unsettled {
    fn compare(&mut self, reported: &Contents, seen: &Contents) -> Comparison {
        if seen == reported {
            *self = Self::default();
            Comparison::Same
        } else if *seen == self.seen || self.reads == MAX_UNSETTLED_READS {
            *self = Self::default();
            Comparison::Changed
        } else {
            self.seen.clone_from(seen);
            self.reads += 1;
            Comparison::ReadAgain
        }
    }
}

/// How the thread learns when to read the files.
enum WatchMethod {
    Inotify {
        /// Held while inotify is told of a directory, for ever if its file system never answers.
        inotify: Arc<Mutex<Inotify>>,
        watched: BTreeSet<PathBuf>,
        /// For the thread that reads the events.
        entries: SharedEntries,
    },
    /// At this interval.
    Polling(Duration),
}

type Inotify = dyn notify::Watcher + Send;

/// The entries of watched directories that decide what the watched paths name and hold.
type SharedEntries = Arc<Mutex<BTreeSet<EntryHash>>>;

impl WatchMethod {
    /// A panic of the thread that reads inotify is reported by `guard`.
    fn inotify(messages: mpsc::Sender<WatchMessage>, guard: PanicGuard) -> Self {
        let thread = Arc::new(());
        let entries = SharedEntries::default();
        let handler = event_handler(messages, Arc::clone(&entries), guard, Arc::clone(&thread));
        match notify::recommended_watcher(handler) {
            // The library does not tell that there was no thread, and panics when it is next used or dropped.
            Ok(inotify) if Arc::strong_count(&thread) == 1 => {
                std::mem::forget(inotify);
                Self::without_inotify("the system gives no thread that reads its events")
            }
            Ok(inotify) => {
                tracing::info!("watching files by inotify");
                Self::with_inotify(inotify, entries)
            }
            Err(error) => Self::without_inotify(&error.to_string()),
        }
    }

    fn with_inotify(
        inotify: impl notify::Watcher + Send + 'static,
        entries: SharedEntries,
    ) -> Self {
        Self::Inotify {
            inotify: Arc::new(Mutex::new(inotify)),
            watched: BTreeSet::new(),
            entries,
        }
    }

    fn without_inotify(reason: &str) -> Self {
        let every = POLL.as_secs();
        tracing::warn!(
            "inotify cannot be used, so that files are looked at every {every} s: {reason}"
        );
        Self::Polling(POLL)
    }

    fn interval(&self) -> Duration {
        match self {
            Self::Inotify { .. } => SAFETY_POLL,
            Self::Polling(every) => *every,
        }
    }

    /// Watches the directories that these paths lead through now.
    fn watch_directories(&mut self, paths: &[PathBuf]) {
        let Self::Inotify {
            inotify,
            watched,
            entries,
        } = self
        else {
            return;
        };
        let current = || {
            let found = PathDependencies::of(paths);
            *entries.lock().unwrap_or_else(PoisonError::into_inner) = found.entries;
            found.directories
        };
        // A symlink that moves between reading and watching it is followed again.
        for _ in 0..8 {
            // A directory may be another one under the same name: watches on it cannot be kept.
            let before = std::mem::take(watched);
            *watched = current();
            if let Err(reason) = watch_instead(inotify, before, watched) {
                *self = Self::without_inotify(&reason);
                return;
            }
            if *watched == current() {
                return;
            }
        }
    }
}

/// Tells of events, but for what is written to files that none of the watched paths leads to: a log or an audit that lies
/// beside a configuration is written to all the time. It belongs to the thread that reads them, and with it `guard`, and a part of `thread`.
fn event_handler(
    messages: mpsc::Sender<WatchMessage>,
    entries: SharedEntries,
    guard: PanicGuard,
    thread: Arc<()>,
) -> impl notify::EventHandler {
    move |event: notify::Result<notify::Event>| {
        let _held = (&guard, &thread);
        let counts = |event: notify::Event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Data(_)) => {
                let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                let mut paths = event.paths.iter().map(|path| EntryHash::of(path));
                event.paths.is_empty() || paths.any(|path| entries.contains(&path))
            }
            // Reads, our own among them, change nothing.
            EventKind::Access(_) => false,
            _ => true,
        };
        if event.map_or(true, counts) {
            let _ = messages.send(WatchMessage::Touched);
        }
    }
}

/// Watches `after` and no longer `before`. Adding a watch waits for the file system of the directory, so
/// that it is done on another thread, each within the bound of every look at a file.
///
/// # Errors
/// Why inotify cannot be used any more.
fn watch_instead(
    inotify: &Arc<Mutex<Inotify>>,
    before: BTreeSet<PathBuf>,
    after: &BTreeSet<PathBuf>,
) -> Result<(), String> {
    if let Ok(mut inotify) = inotify.try_lock() {
        for directory in before {
            // It fails for a directory that is gone, with which the watch went too.
            let _ = inotify.unwatch(&directory);
        }
    }
    for directory in after {
        let (shared, named) = (Arc::clone(inotify), directory.clone());
        let watched = files::run_within_timeout(directory, move || Ok(add_watch(&shared, &named)));
        match watched {
            Ok(Err(error)) if !is_not_found(&error) => return Err(error.to_string()),
            Ok(_) => {}
            // No other directory can be watched while inotify waits for this one.
            Err(error) if matches!(inotify.try_lock(), Err(TryLockError::WouldBlock)) => {
                return Err(format!("{}: {error}", directory.display()));
            }
            // Its file system did not answer before, and inotify was not asked: the timer has its files read.
            Err(_) => {}
        }
    }
    Ok(())
}

fn add_watch(inotify: &Mutex<Inotify>, directory: &Path) -> notify::Result<()> {
    let mut inotify = inotify.lock().unwrap_or_else(PoisonError::into_inner);
    inotify.watch(directory, RecursiveMode::NonRecursive)
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
