//! What this process was started with, and has otherwise itself.

use std::io;
use std::sync::Arc;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use super::ignored_signals::was_ignored;

/// What a command acts upon: the end, a reload, a job of a shell, the end of a program.
const HEEDED: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGCHLD,
];

/// What a program has to be started with, as if nothing stood between it and whoever started this process.
#[derive(Debug, Clone)]
pub struct Inherited {
    core: Rlimit,
    files: Rlimit,
    blocked: SigSet,
    umask: Mode,
}

impl Inherited {
    /// Keeps it. From here on no signal is blocked that a command acts upon, what this process makes is never kept from
    /// the user that it runs as, and a write beyond the limit of file sizes (`RLIMIT_FSIZE`) is an error and not the end.
    /// It is called while there is no other thread: each begins with the mask of the one that starts it.
    ///
    /// # Errors
    /// The system has refused one of these.
    pub fn keep() -> io::Result<Self> {
        let blocked = SigSet::thread_get_mask()?;
        HEEDED.into_iter().collect::<SigSet>().thread_unblock()?;
        // One that is ignored has that effect already, and so it is in a program. With a handler it has its usual way
        // again in a program.
        if !was_ignored(rustix::process::Signal::XFSZ) {
            signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        }
        let inherited = umask(Mode::RWXG | Mode::RWXO);
        umask(inherited - Mode::RWXU);
        Ok(Self {
            core: getrlimit(Resource::Core),
            files: getrlimit(Resource::Nofile),
            blocked,
            umask: inherited,
        })
    }

    /// Does what starts a program with what was inherited. Ours holds again afterwards. A file that is opened or made
    /// meanwhile on another thread may meet the lower limit and the umask; signals that are blocked on this thread come
    /// to others, or later.
    ///
    /// # Errors
    /// The system has refused a limit or a mask.
    pub fn during<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let files = getrlimit(Resource::Nofile).current;
        set_soft(Resource::Core, self.core.current)?;
        set_soft(Resource::Nofile, self.files.current)?;
        let blocked = self.blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let own_umask = umask(self.umask);
        let started = start();
        umask(own_umask);
        blocked.thread_set_mask()?;
        set_soft(Resource::Nofile, files)?;
        set_soft(Resource::Core, Some(0))?;
        Ok(started)
    }
}

pub(super) fn set_soft(resource: Resource, current: Option<u64>) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current, maximum })?;
    Ok(())
}
