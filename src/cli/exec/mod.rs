//! `sidebearer exec`: runs a program whose requests get tokens, and ends as it does.
//!
//! The program is told of a proxy, which is one listener of this process on loopback. It is started once every
//! credential has its first token, with the limits, the signals and the open files that this process was started with.

mod environment;
mod executable;
mod private;
mod program;
mod signals;
mod stand_in;
mod start_failure;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use tokio::sync::oneshot;

use self::environment::Environment;
use self::private::ExecDirectory;
use self::program::Program;
use self::signals::Signals;
pub use self::stand_in::StandIn;
use super::output::{CommandError, block_on};
use super::run::outcome;
use crate::app::{self, Readiness};
use crate::blocking;
use crate::config::{ConfigSource, PROGRAM_LISTENER, ProgramSettings};
use crate::process::{self, Inherited};
use crate::telemetry;
use crate::user_namespace::UserNamespace;

/// The exit code when the program is not to blame.
pub(super) const FAILED: u8 = 125;
/// What a shell adds to the number of a signal that ended a program.
const BY_SIGNAL: u8 = 128;

/// What is to be run, and how.
pub(super) struct Request {
    /// The configuration file or directory.
    pub(super) path: PathBuf,
    /// How long the first tokens may take.
    pub(super) ready_timeout: Duration,
    /// Whether the log is as the configuration says.
    pub(super) verbose: bool,
    /// The program and its arguments; never empty.
    pub(super) command: Vec<OsString>,
}

/// The whole command. What the process ends with.
///
/// # Errors
/// Why the program was not started, or has lost its proxy.
pub(super) fn run(request: Request, inherited: Inherited) -> Result<u8, CommandError> {
    process::forbid_own_core_dumps().map_err(failed("cannot protect its memory"))?;
    block_on(serve(request, inherited)).map_err(|error| failure(error.to_string()))?
}

async fn serve(request: Request, inherited: Inherited) -> Result<u8, CommandError> {
    let mut signals = Signals::watch().map_err(failed("cannot watch for signals"))?;
    // Without it every connection would be closed.
    let who_connects = File::open("/proc/net/tcp");
    who_connects.map_err(failed(
        "/proc/net/tcp, which tells who connects, cannot be read",
    ))?;
    let uid = geteuid().as_raw();
    if UserNamespace::current().stands_for_others(uid) {
        return Err(failure(format!(
            "it runs as user {uid}, as which the system also shows everybody who has no number in this user namespace: \
             who connects could not be told; run it as another user"
        )));
    }
    // Removed when this function is left, however that is.
    let private = ExecDirectory::make();
    let directory = private
        .as_ref()
        .map(|directory| directory.path().to_owned());
    let source = ConfigSource {
        origin: request.path.into(),
        program: Some(ProgramSettings {
            uid,
            verbose: request.verbose,
            directory,
        }),
    };
    let loaded = source.load().map_err(|refused| {
        let reason = refused.to_string();
        failure(format!(
            "the configuration is refused\n{}",
            reason.trim_end()
        ))
    })?;
    let log = telemetry::init(&loaded.config.log).map_err(failed("cannot start the log"))?;
    if request.verbose && !loaded.warnings.is_empty() {
        tracing::warn!("{}", loaded.warnings.to_string().trim_end());
    }
    // Too few are no matter for one program: its connections wait.
    let _ = process::raise_open_files(loaded.config.server.max_connections);
    let environment = Environment::new(&loaded.config);
    let bound = app::bind(source, loaded, Some(log)).await;
    let bound = bound.map_err(|error| failure(error.to_string()))?;
    let Some(proxy) = bound.addresses().get(PROGRAM_LISTENER).copied() else {
        return Err(failure("it has no listener".to_owned()));
    };
    let readiness = bound.readiness();

    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = pin!(bound.run(async { drop(stopped.await) }));
    let mut program = None;
    let running = async {
        if let Some(code) =
            wait_until_ready(&readiness, request.ready_timeout, &mut signals).await?
        {
            return Ok(code);
        }
        let variables = environment.with_proxy(proxy);
        let variables = variables.map_err(failed("what it trusts cannot be read"))?;
        let started = Program::start(&request.command, &variables, &inherited);
        let started = program.insert(started.map_err(|it| failure_with(it.code, it.reason))?);
        if let Some(private) = &private {
            let path = private.path().to_owned();
            let remove = move || ExecDirectory::remove_abandoned_beside(&path);
            tokio::spawn(blocking::run(remove));
        }
        Ok(started.ended(&mut signals).await)
    };
    let ended = tokio::select! {
        ended = running => ended,
        ended = &mut serving => {
            let Err(error) = outcome(ended) else {
                return Err(failure("it has stopped serving".to_owned()));
            };
            // A program without its proxy would fail in ways that nobody understands.
            if let Some(program) = &mut program {
                program.signal(Signal::TERM);
                program.ended(&mut signals).await;
            }
            return Err(failure(error.to_string()));
        }
    };
    drop(stop);
    // What the program has left behind may finish what it has begun, unless somebody cannot wait.
    tokio::select! {
        _ = serving => {}
        _ = signals.next_to_end() => {}
    }
    ended
}

/// Waits for the first tokens. What to end with in place of starting the program, if a signal came first.
async fn wait_until_ready(
    readiness: &Readiness,
    patience: Duration,
    signals: &mut Signals,
) -> Result<Option<u8>, CommandError> {
    tokio::select! {
        reached = tokio::time::timeout(patience, readiness.reached()) => {
            reached.map(|()| None).map_err(|_| {
                let obstacles = readiness.obstacles().join("; ");
                failure(format!("not ready within {patience:?}, so that nothing was started: {obstacles}"))
            })
        }
        signal = signals.next_to_end() => Ok(Some(by_signal(signal.as_raw()))),
    }
}

/// The exit code that tells of a signal.
fn by_signal(signal: i32) -> u8 {
    BY_SIGNAL.saturating_add(u8::try_from(signal).unwrap_or_default())
}

fn failure(reason: String) -> CommandError {
    failure_with(FAILED, reason)
}

fn failure_with(code: u8, reason: String) -> CommandError {
    CommandError::Exec { code, reason }
}

pub(super) fn failed(what: &str) -> impl FnOnce(std::io::Error) -> CommandError {
    move |error| failure(format!("{what}: {error}"))
}
