//! The program: how it is started, and what becomes of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, wait, waitid,
};
use tokio::sync::oneshot;

use super::environment::Variables;
use super::signals::{self, Signals};
use crate::process::InheritedLimits;

/// What a shell runs that the system cannot: a script without `#!`.
const SHELL: &str = "/bin/sh";

/// As much of it is looked at as bash does.
const FIRST_LINE: u64 = 80;

/// The exit codes of `env`, `nohup` and shells.
const CANNOT_START: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;
const BY_SIGNAL: i32 = 128;

/// A program that runs, or is stopped.
pub(super) struct Program {
    id: Pid,
    /// Tells once that it has ended. Whoever started this process may have blocked the signal that does.
    end: Option<oneshot::Receiver<()>>,
    is_stopped: bool,
    /// What it has ended with.
    code: Option<u8>,
}

/// Why it was not started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartFailure {
    pub(super) code: u8,
    pub(super) reason: String,
}

impl Program {
    /// Starts it in this process group, with the input, output and directory of this process. `command` is not empty.
    ///
    /// # Errors
    /// Why it does not run.
    pub(super) fn start(
        command: &[OsString],
        variables: &Variables,
        limits: &InheritedLimits,
    ) -> Result<Self, StartFailure> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(StartFailure::new(CANNOT_START, "no program is named"));
        };
        let mut program = match variables.of_this_process() {
            None => Command::new(name),
            Some(renamed) => {
                let mut shell = Command::new(SHELL);
                shell.arg("-c").arg(format!("{renamed}exec \"$0\" \"$@\""));
                shell.arg(name);
                shell
            }
        };
        program.args(arguments);
        variables.give_to(&mut program);
        let mut started = spawn(&mut program, limits)?;
        if let Err(error) = &started
            && Errno::from_io_error(error) == Some(Errno::NOEXEC)
            && let Some(script) = found(name)
            && is_script(&script)
        {
            let mut shell = Command::new(SHELL);
            shell.arg(script).args(arguments);
            variables.give_to(&mut shell);
            started = spawn(&mut shell, limits)?;
        }
        match started {
            Ok(id) => Ok(Self {
                id,
                end: tells_of_end(id),
                is_stopped: false,
                code: None,
            }),
            Err(error) => Err(StartFailure::of(&error, command, variables)),
        }
    }

    /// Sends it a signal. Nothing if it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.code.is_none() {
            // It has not been waited for, so that the number is still its own.
            let _ = kill_process(self.id, signal);
        }
    }

    /// Waits for its end, and passes on what comes until then. What it ended with.
    pub(super) async fn ended(&mut self, signals: &mut Signals) -> u8 {
        loop {
            self.take_statuses();
            if self.is_stopped && signals::stop_with_the_job() {
                // The shell lets the whole job go on, so that the program most likely runs already.
                self.take_statuses();
                self.go_on();
            }
            if let Some(code) = self.code {
                return code;
            }
            let arrival = tokio::select! {
                arrival = signals.next() => arrival,
                () = told(&mut self.end) => {
                    self.end = None;
                    continue;
                }
            };
            if arrival.is_for(self.id) {
                self.signal(arrival.signal);
            }
            if arrival.signal == Signal::CONT {
                self.take_statuses();
                self.go_on();
            }
        }
    }

    /// Takes in what has become of it, and of what others have left to this process as the first of a namespace.
    fn take_statuses(&mut self) {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        while let Ok(Some((id, status))) = wait(options) {
            if id == self.id {
                self.code = code(status).or(self.code);
                self.is_stopped = status.stopped();
            }
        }
    }

    /// Lets it go on if it is stopped.
    fn go_on(&mut self) {
        if std::mem::take(&mut self.is_stopped) {
            self.signal(Signal::CONT);
        }
    }
}

/// What tells of the end of a process, by a thread of its own; `None` if the system gives none.
fn tells_of_end(id: Pid) -> Option<oneshot::Receiver<()>> {
    let (sender, end) = oneshot::channel();
    let wait = move || {
        // It is only looked at here, and waited for elsewhere.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(id), options), Err(Errno::INTR)) {}
        let _ = sender.send(());
    };
    let thread = thread::Builder::new().name("program".to_owned());
    thread.spawn(wait).ok().map(|_| end)
}

/// Waits for what tells of an end; for ever without one. Cancel safe.
async fn told(end: &mut Option<oneshot::Receiver<()>>) {
    match end {
        Some(end) => drop(end.await),
        None => std::future::pending().await,
    }
}

/// Starts it; the error of the system, or that the limits cannot be set.
fn spawn(command: &mut Command, limits: &InheritedLimits) -> Result<io::Result<Pid>, StartFailure> {
    let started = limits.during(|| command.spawn()).map_err(|error| {
        let reason = format!("its limits cannot be set as they were: {error}");
        StartFailure::new(CANNOT_START, reason)
    })?;
    Ok(started.map(|child| Pid::from_child(&child)))
}

/// What it ended with, if it has ended.
fn code(status: WaitStatus) -> Option<u8> {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => BY_SIGNAL + signal,
        (None, None) => return None,
    };
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

impl StartFailure {
    fn new(code: u8, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// What the error of the system means for `command`.
    fn of(error: &io::Error, command: &[OsString], variables: &Variables) -> Self {
        let name = command.first().map(OsString::as_os_str).unwrap_or_default();
        let shown = name.to_string_lossy();
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) if found(name).is_some() => Self::new(
                CANNOT_EXECUTE,
                format!("{shown:?} cannot be executed: what its first line names was not found"),
            ),
            Some(Errno::NOENT) => Self::new(NOT_FOUND, format!("{shown:?} was not found: {error}")),
            Some(Errno::TOOBIG) => Self::new(
                CANNOT_EXECUTE,
                format!(
                    "{shown:?} cannot be executed: its arguments and its environment are too large for the system \
                     ({}): {error}",
                    Volume::of(command, variables),
                ),
            ),
            // The system has no process to give.
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Self::new(
                CANNOT_START,
                format!("{shown:?} cannot be started: {error}"),
            ),
            _ => Self::new(
                CANNOT_EXECUTE,
                format!("{shown:?} cannot be executed: {error}"),
            ),
        }
    }
}

/// The file that a program's name leads to, as a shell would find it.
fn found(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    let directories = std::env::split_paths(&path);
    let mut files = directories.map(|directory| directory.join(Path::new(name)));
    files.find(|file| file.is_file())
}

/// Whether a file that the system cannot execute is meant for a shell. As shells do, it is known by the first line, which
/// has no zero byte: programs for other machines have.
fn is_script(file: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut beginning));
    let mut lines = beginning.split(|byte| *byte == b'\n');
    read.is_ok() && lines.next().is_some_and(|line| !line.contains(&0))
}

/// How many bytes the system has to copy for a new program.
struct Volume {
    arguments: usize,
    variables: usize,
    longest: usize,
}

impl Volume {
    fn of(command: &[OsString], variables: &Variables) -> Self {
        // Each ends in a zero.
        let arguments: Vec<_> = command.iter().map(|text| text.len() + 1).collect();
        let variables = variables.sizes();
        let longest = arguments.iter().chain(&variables).max().copied();
        Self {
            arguments: arguments.iter().sum(),
            variables: variables.iter().sum(),
            longest: longest.unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "arguments {} bytes, environment {} bytes, the longest of them {} bytes",
            self.arguments, self.variables, self.longest
        )
    }
}
