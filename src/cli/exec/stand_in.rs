//! This binary in the place of the program, for what only the program's own process can do before the program begins:
//! to write its number where variables want it, and to ignore `SIGPIPE`.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::PathBuf;
use std::process::{Command, id};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::execve;
use signal_hook::consts::SIGPIPE;

use super::environment::PROCESS_NUMBERS;
use super::executable::{SHELL, candidates, is_script};
use super::start_failure::StartFailure;
use crate::cli::output::CommandError;

/// The name (`argv[0]`) by which it is started for that.
const NAME: &str = "sidebearer-stand-in";

/// What the program does when nobody reads from its pipe: it ends, or gets an error.
const ENDS: &str = "ends";
const GOES_ON: &str = "goes-on";

/// This very binary, even if another one has taken its place.
const OWN_BINARY: &str = "/proc/self/exe";

/// A program that is to be executed in the place of this process.
pub struct StandIn {
    ignores_broken_pipes: bool,
    /// The program and its arguments.
    command: Vec<OsString>,
}

/// What starts the stand-in for the program `name`, whose arguments are to follow.
pub(super) fn command(name: &OsStr, ignores_broken_pipes: bool) -> Command {
    let mut command = Command::new(OWN_BINARY);
    let pipes = if ignores_broken_pipes { GOES_ON } else { ENDS };
    command.arg0(NAME).arg(pipes).arg(name);
    command
}

impl StandIn {
    /// What this process stands in for; `None` if it was not started for that.
    pub fn of_this_process() -> Option<Self> {
        let mut arguments = env::args_os();
        if arguments.next()? != NAME {
            return None;
        }
        Some(Self {
            ignores_broken_pipes: arguments.next()? == GOES_ON,
            command: arguments.collect(),
        })
    }

    /// Executes the program. It returns only if that cannot be.
    pub fn become_program(self) -> CommandError {
        let error = self.execute();
        let sizes = env::vars_os().map(|(name, value)| name.len() + value.len() + 2);
        let StartFailure { code, reason } =
            StartFailure::of(&error, &self.command, &sizes.collect::<Vec<_>>());
        CommandError::Exec { code, reason }
    }

    fn execute(&self) -> io::Error {
        // The standard library ignores the signal. A signal with a handler has its usual way again in the program.
        if !self.ignores_broken_pipes
            && let Err(error) = signal_hook::flag::register(SIGPIPE, Arc::default())
        {
            return error;
        }
        let Some((name, _)) = self.command.split_first() else {
            return Errno::ENOENT.into();
        };
        let (arguments, variables) = (words(self.command.iter().cloned()), variables());
        let mut failure = Errno::ENOENT;
        // As the C library looks for a program.
        for path in candidates(name) {
            let Err(error) = execve(&word(path.clone().into()), &arguments, &variables);
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => failure = error,
                Errno::ENOEXEC if is_script(&path) => return self.execute_script(path, &variables),
                error => return error.into(),
            }
        }
        failure.into()
    }

    fn execute_script(&self, path: PathBuf, variables: &[CString]) -> io::Error {
        let rest = self.command.iter().skip(1).cloned();
        let arguments = [SHELL.into(), path.into()].into_iter().chain(rest);
        let shell = word(SHELL.into());
        let Err(error) = execve(&shell, &words(arguments), variables);
        error.into()
    }
}

/// The environment of the program: that of this process, with its own number where that of its parent was.
fn variables() -> Vec<CString> {
    let (parent, own) = (parent_id().to_string(), id().to_string());
    let variables = env::vars_os().map(|(name, value)| {
        let is_number = PROCESS_NUMBERS.iter().any(|number| name == *number);
        let mut whole = name;
        whole.push("=");
        if is_number && value == *parent {
            whole.push(&own);
        } else {
            whole.push(value);
        }
        whole
    });
    words(variables)
}

fn words(texts: impl Iterator<Item = OsString>) -> Vec<CString> {
    texts.map(word).collect()
}

/// As the system takes it. What the system gave has no zero byte.
fn word(text: OsString) -> CString {
    CString::new(text.into_vec()).unwrap_or_default()
}
