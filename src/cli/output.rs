//! How commands end, and what they print.

use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use crate::config::Diagnostics;
use crate::files::Shortage;
use crate::telemetry;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was tried and failed.
    #[error("error: {0}")]
    Failed(String),
    /// A socket cannot be bound.
    #[error("error: {0}")]
    Bind(String),
    /// It was asked for in a way that cannot work.
    #[error("error: {0}")]
    Usage(String),
    /// The configuration is refused.
    #[error("{0}")]
    Configuration(Diagnostics),
    /// A program was to be run, and was not, or not to its end.
    #[error("sidebearer exec: {reason}")]
    Exec {
        /// 125, or for what the program is itself to blame for 126 or 127.
        code: u8,
        /// Why.
        reason: String,
    },
}

impl From<Diagnostics> for CommandError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Configuration(diagnostics)
    }
}

impl CommandError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Bind(_) => 1,
            // A service manager may start it again, as it does not after a mistake.
            Self::Configuration(found) if found.are_passing() => 1,
            Self::Usage(_) | Self::Configuration(_) => 2,
            Self::Exec { code, .. } => *code,
        }
    }
}

/// Says why a command failed, if it did, and waits until all that it said is written. What the process ends with.
pub fn conclude(ended: Result<u8, CommandError>) -> u8 {
    let code = ended.unwrap_or_else(|failure| {
        print_note(&failure);
        failure.exit_code()
    });
    telemetry::flush();
    code
}

/// Writes a line for people to stderr. Once there is a log, this does not wait for a reader.
pub fn print_note(text: impl std::fmt::Display) {
    let text = text.to_string();
    let text = text.trim_end();
    if !telemetry::print_line(text) {
        // If stderr cannot be written, there is nowhere left to report it.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Asks a person something, on a line that the answer ends.
pub(super) fn print_prompt(text: impl std::fmt::Display) {
    // If stderr cannot be written, there is nowhere left to report it.
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// Writes a result to stdout. A reader that has had enough (`| head`) is not a failure.
pub(super) fn print(text: impl std::fmt::Display) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.to_string().trim_end()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Failed(
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Runs a short-lived command, waiting for nothing that it left behind.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CommandError> {
    let failed = |error: io::Error| {
        let advice = Shortage::of(&error).map(|it| format!("; {}", it.advice));
        let advice = advice.unwrap_or_default();
        CommandError::Failed(format!("cannot start the runtime: {error}{advice}"))
    };
    // With the first runtime tokio makes a pair of sockets for signals, and panics when it cannot. All that it opens
    // then are six files.
    let room: io::Result<Vec<_>> = (0..3).map(|_| UnixStream::pair()).collect();
    drop(room.map_err(failed)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}
