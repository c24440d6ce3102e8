//! Why a program is not started, and the exit code that tells it.

use std::ffi::OsString;
use std::io;

use rustix::io::Errno;

use super::executable::candidates;

use crate::blocking::THREAD_LIMITS;

/// The exit codes of `env`, `nohup` and shells.
pub(super) const CANNOT_START: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Why it was not started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartFailure {
    pub(super) code: u8,
    pub(super) reason: String,
}

impl StartFailure {
    pub(super) fn new(code: u8, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// What the error of the system means for `command`, whose variables take so many bytes each.
    pub(super) fn of(error: &io::Error, command: &[OsString], variables: &[usize]) -> Self {
        let name = command.first().map(OsString::as_os_str).unwrap_or_default();
        let shown = name.to_string_lossy();
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) if candidates(name).iter().any(|file| file.is_file()) => Self::new(
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
            Some(Errno::AGAIN) => Self::new(
                CANNOT_START,
                format!("{shown:?} cannot be started: {error}; {THREAD_LIMITS}"),
            ),
            Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Self::new(
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

/// How many bytes the system has to copy for a new program.
struct Volume {
    arguments: usize,
    variables: usize,
    longest: usize,
}

impl Volume {
    fn of(command: &[OsString], variables: &[usize]) -> Self {
        // Each ends in a zero.
        let arguments: Vec<_> = command.iter().map(|text| text.len() + 1).collect();
        let longest = arguments.iter().chain(variables).max().copied();
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
