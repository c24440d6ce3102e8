//! The program: how it is started, and what becomes of it.

use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::thread;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, wait, waitid,
};
use tokio::sync::oneshot;

use super::environment::Variables;
use super::executable::{SHELL, candidates, is_script};
use super::signals::{self, Signals};
use super::stand_in;
use super::start_failure::{CANNOT_START, StartFailure};
use crate::process::{Inherited, was_ignored};

/// What a shell adds to the number of a signal that ended a program.
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

impl Program {
    /// Starts it in this process group, with the input, output and directory of this process. `command` is not empty.
    ///
    /// # Errors
    /// Why it does not run.
    pub(super) fn start(
        command: &[OsString],
        variables: &Variables,
        inherited: &Inherited,
    ) -> Result<Self, StartFailure> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(StartFailure::new(CANNOT_START, "no program is named"));
        };
        let ignores_broken_pipes = was_ignored(Signal::PIPE);
        let mut program = if ignores_broken_pipes || variables.hold_number() {
            stand_in::command(name, ignores_broken_pipes)
        } else {
            // The standard library gives it the usual way of `SIGPIPE` back.
            Command::new(name)
        };
        program.args(arguments);
        variables.give_to(&mut program);
        let mut started = spawn(&mut program, inherited)?;
        if let Err(error) = &started
            && Errno::from_io_error(error) == Some(Errno::NOEXEC)
            && let Some(script) = candidates(name).into_iter().find(|file| file.is_file())
            && is_script(&script)
        {
            let mut shell = Command::new(SHELL);
            shell.arg(script).args(arguments);
            variables.give_to(&mut shell);
            started = spawn(&mut shell, inherited)?;
        }
        match started {
            Ok(id) => Ok(Self {
                id,
                end: tells_of_end(id),
                is_stopped: false,
                code: None,
            }),
            Err(error) => Err(StartFailure::of(&error, command, &variables.sizes())),
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

/// Starts it; the error of the system, or that what was inherited cannot be set.
fn spawn(command: &mut Command, inherited: &Inherited) -> Result<io::Result<Pid>, StartFailure> {
    let started = inherited.during(|| command.spawn()).map_err(|error| {
        let reason = format!("its limits and signals cannot be set as they were: {error}");
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
