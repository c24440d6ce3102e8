//! Tells when the content of files changes, however they are written or swapped.
//!
//! What a path names is decided by directories: Kubernetes renames a `..data` symlink, editors
//! rename over, others delete and create. So inotify watches `directories`, never files, and
//! its events only say *when* to look; *what* changed is found by comparing content. Where
//! inotify is not to be had, or says nothing (network file systems), a timer looks instead.

mod content;
mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use self::content::{Content, Hasher};
use self::directories::directories;
use crate::files;
use crate::vital::Vitals;

/// Content counts as settled when two looks this far apart see the same.
const SETTLE: Duration = Duration::from_millis(50);

/// Looks at content that never settles before it is reported all the same: about 2 s.
const RESTLESS: u32 = 40;

/// How often to look without inotify.
const POLL: Duration = Duration::from_secs(2);

/// How often to look even with inotify: network file systems raise no events.
const SAFETY_POLL: Duration = Duration::from_secs(30);

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watcher(mpsc::Sender<Message>);

/// What a [`Watcher`] saw.
#[derive(Debug)]
pub struct Changes(UnboundedReceiver<BTreeSet<PathBuf>>);

impl Watcher {
    /// Watches these paths; a directory stands for its `*.toml`, a missing path for its creation.
    /// Every change of content after this returns is reported. The log says whether inotify or a
    /// timer is used, and why.
    ///
    /// # Errors
    /// When no thread can be had.
    pub async fn start(paths: Vec<PathBuf>, vitals: &Vitals) -> io::Result<(Self, Changes)> {
        Self::start_by(Means::inotify, paths, vitals).await
    }

    /// Watches these paths instead. Changes of paths that stay in the set are not lost; those of
    /// new paths are reported when they happen after this returns. Where a file system does not
    /// answer this returns all the same: all paths are then reported once it does.
    pub async fn watch(&self, paths: Vec<PathBuf>) {
        self.ask(|done| Message::Watch(paths, done)).await;
    }

    /// Looks now, and does not report what differs: whoever reads the files after this returns
    /// reads it. What changes later is reported.
    pub async fn forget(&self) {
        self.ask(Message::Forget).await;
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<()>) -> Message) {
        let (done, seen) = oneshot::channel();
        // It fails only when the thread ended because nobody reads the changes any more.
        let _ = self.0.send(message(done));
        let _ = tokio::time::timeout(2 * files::patience(), seen).await;
    }

    async fn start_by(
        means: impl FnOnce(mpsc::Sender<Message>) -> Means,
        paths: Vec<PathBuf>,
        vitals: &Vitals,
    ) -> io::Result<(Self, Changes)> {
        let (messages, inbox) = mpsc::channel();
        let (reports, changes) = unbounded_channel();
        let looker = Looker {
            inbox,
            reports,
            means: means(messages.clone()),
            hasher: Hasher::default(),
            known: BTreeMap::new(),
        };
        // A thread of its own: a file system that hangs must not stop the runtime.
        vitals.spawn("watch".to_owned(), move || looker.run())?;
        let watcher = Self(messages);
        watcher.watch(paths).await;
        Ok((watcher, Changes(changes)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.send(Message::Stop);
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

enum Message {
    /// Something happened in a watched directory.
    Touched,
    Watch(Vec<PathBuf>, oneshot::Sender<()>),
    Forget(oneshot::Sender<()>),
    Stop,
}

type Contents = BTreeMap<PathBuf, Content>;

struct Looker {
    inbox: mpsc::Receiver<Message>,
    reports: UnboundedSender<BTreeSet<PathBuf>>,
    means: Means,
    hasher: Hasher,
    /// What was last reported, by watched path.
    known: Contents,
}

impl Looker {
    fn run(mut self) {
        let mut unsettled = Unsettled::default();
        let mut due = Instant::now();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(Message::Touched) => due = due.min(Instant::now() + SETTLE),
                Ok(Message::Watch(paths, done)) => {
                    self.replace(paths);
                    due = Instant::now() + SETTLE;
                    if done.send(()).is_err() {
                        self.doubt();
                    }
                }
                Ok(Message::Forget(done)) => {
                    self.known = self.look(self.known.keys().cloned().collect());
                    unsettled = Unsettled::default();
                    if done.send(()).is_err() {
                        self.doubt();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let seen = self.look(self.known.keys().cloned().collect());
                    due = Instant::now()
                        + match unsettled.judge(&self.known, &seen) {
                            Verdict::Same => self.means.interval(),
                            Verdict::LookAgain => SETTLE,
                            Verdict::Changed => {
                                let changes = content::changes(&self.known, &seen);
                                self.known = seen;
                                if self.reports.send(changes).is_err() {
                                    return;
                                }
                                self.means.interval()
                            }
                        };
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whoever asked has read the files without waiting for this look: before it or after it.
    fn doubt(&mut self) {
        for content in self.known.values_mut() {
            *content = Content::Unknown;
        }
    }

    fn replace(&mut self, paths: Vec<PathBuf>) {
        let mut known = self.look(paths);
        for (path, content) in &mut known {
            if let Some(reported) = self.known.remove(path) {
                *content = reported;
            }
        }
        self.known = known;
    }

    /// Directories first, content second: what changes in between raises an event.
    fn look(&mut self, paths: Vec<PathBuf>) -> Contents {
        self.means.follow(&paths);
        let look = |path: PathBuf| {
            let content = self.hasher.look(&path);
            (path, content)
        };
        paths.into_iter().map(look).collect()
    }
}

/// Differing content that has been seen once, waiting to be seen again.
#[derive(Default)]
struct Unsettled {
    seen: Contents,
    looks: u32,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    LookAgain,
    Changed,
}

impl Unsettled {
    fn judge(&mut self, known: &Contents, seen: &Contents) -> Verdict {
        if seen == known {
            *self = Self::default();
            Verdict::Same
        } else if *seen == self.seen || self.looks == RESTLESS {
            *self = Self::default();
            Verdict::Changed
        } else {
            self.seen.clone_from(seen);
            self.looks += 1;
            Verdict::LookAgain
        }
    }
}

enum Means {
    Inotify {
        watcher: RecommendedWatcher,
        watched: BTreeSet<PathBuf>,
    },
    Timer(Duration),
}

impl Means {
    fn inotify(messages: mpsc::Sender<Message>) -> Self {
        let handler = move |event: notify::Result<notify::Event>| {
            // Reads, our own among them, change nothing.
            let read = event.is_ok_and(|event| match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                EventKind::Access(_) => true,
                _ => false,
            });
            if !read {
                let _ = messages.send(Message::Touched);
            }
        };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => {
                tracing::info!("watching files by inotify");
                Self::Inotify {
                    watcher,
                    watched: BTreeSet::new(),
                }
            }
            Err(error) => Self::without_inotify(&error),
        }
    }

    fn without_inotify(error: &notify::Error) -> Self {
        tracing::warn!(
            "watching files by looking every {} s: inotify is not to be had: {error}",
            POLL.as_secs()
        );
        Self::Timer(POLL)
    }

    fn interval(&self) -> Duration {
        match self {
            Self::Inotify { .. } => SAFETY_POLL,
            Self::Timer(every) => *every,
        }
    }

    /// Watches the directories that these paths lead through now.
    fn follow(&mut self, paths: &[PathBuf]) {
        let Self::Inotify { watcher, watched } = self else {
            return;
        };
        let current = || paths.iter().flat_map(|path| directories(path)).collect();
        // A symlink that moves between reading and watching it is followed again.
        for _ in 0..8 {
            // A directory may be another one under the same name: watches on it cannot be kept.
            for directory in std::mem::take(watched) {
                let _ = watcher.unwatch(&directory);
            }
            *watched = current();
            for directory in &*watched {
                match watcher.watch(directory, RecursiveMode::NonRecursive) {
                    Err(error) if !vanished(&error) => {
                        *self = Self::without_inotify(&error);
                        return;
                    }
                    _ => {}
                }
            }
            if *watched == current() {
                return;
            }
        }
    }
}

fn vanished(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
