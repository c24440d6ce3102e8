//! `sidebearer run`: serves until it is told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::output::{CommandError, block_on};
use crate::admin::ReloadRequest;
use crate::app::{self, Ended, StartError};
use crate::config::{self, Argument, ConfigOrigin, ConfigSource, Loaded};
use crate::handed_sockets::HandedSockets;
use crate::process;
use crate::service_manager::ServiceManager;
use crate::telemetry::{self, LogHandle};

/// The whole command.
pub(super) fn run(origin: ConfigOrigin) -> Result<(), CommandError> {
    // Before there is any other thread.
    let handed = HandedSockets::take();
    let handed = handed.map_err(|error| CommandError::Usage(error.to_string()))?;
    block_on(serve_on(handed, origin.into()))?
}

/// Reads the configuration, starts the log and raises the limits: everything before sockets.
///
/// # Errors
/// Every problem of the configuration at once.
pub fn prepare(source: &ConfigSource) -> Result<(Loaded, LogHandle), CommandError> {
    let loaded = source.load()?;
    let log = telemetry::init(&loaded.config.log)
        .map_err(|error| CommandError::Failed(format!("cannot start the log: {error}")))?;
    // From here on stderr may be read by a machine: warnings are log lines too.
    if !loaded.warnings.0.is_empty() {
        tracing::warn!("{}", loaded.warnings.to_string().trim_end());
    }
    if let Some(line) = config::unused_proxy(&loaded.config) {
        tracing::info!("{line}");
    }
    if let ConfigOrigin::Arguments(arguments) = &source.origin {
        let names: Vec<_> = arguments.iter().map(Argument::name).collect();
        tracing::info!(arguments = names.join(" "), "configured without a file");
    }
    let max_connections = loaded.config.server.max_connections;
    if let Some(warning) = process::raise_open_files(max_connections) {
        tracing::warn!("{warning}");
    }
    Ok((loaded, log))
}

/// Serves until SIGTERM or SIGINT, then ends gracefully; a second one ends at once. SIGHUP reloads.
///
/// # Errors
/// What kept it from starting; a second signal; a thread that died.
pub async fn serve(source: ConfigSource) -> Result<(), CommandError> {
    serve_on(HandedSockets::default(), source).await
}

async fn serve_on(handed: HandedSockets, source: ConfigSource) -> Result<(), CommandError> {
    let failed =
        |error: std::io::Error| CommandError::Failed(format!("cannot watch for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (loaded, log) = prepare(&source)?;
    let bound = app::bind_with(source, loaded, Some(log), handed).await;
    let bound = bound.map_err(|error| match error {
        StartError::Bind(error) => CommandError::Bind(error.to_string()),
        StartError::Handed(error) => CommandError::Usage(error.to_string()),
        error => CommandError::Failed(error.to_string()),
    })?;
    let manager = ServiceManager::from_environment(bound.supervisor()).map_err(|error| {
        CommandError::Failed(format!("cannot tell the service manager: {error}"))
    })?;
    let bound = bound.with_service_manager(manager);
    let guard = bound.supervisor().guard("the task of SIGHUP");
    let reloads = bound.reloads();
    tokio::spawn(async move {
        let _guard = guard;
        reload_on_hangup(hangup, reloads).await;
    });
    let (first, told) = oneshot::channel();
    let signals = async {
        either(&mut terminate, &mut interrupt).await;
        // Received unless the process is ending anyway.
        let _ = first.send(());
        either(&mut terminate, &mut interrupt).await;
    };
    tokio::select! {
        ended = bound.run(async { drop(told.await) }) => outcome(ended),
        () = signals => Err(CommandError::Failed("ended at once by a second signal".to_owned())),
    }
}

/// What the command says of how it ended.
///
/// # Errors
/// A thread or task has panicked.
pub fn outcome(ended: Ended) -> Result<(), CommandError> {
    match ended.panicked {
        Some(panicked) => {
            let reason = format!("{panicked} panicked, a defect of sidebearer");
            Err(CommandError::Failed(reason))
        }
        None => Ok(()),
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn reload_on_hangup(mut hangup: Signal, reloads: mpsc::Sender<ReloadRequest>) {
    while hangup.recv().await.is_some() {
        // How it went is in the log.
        let (answer, _) = oneshot::channel();
        if reloads.send(answer).await.is_err() {
            return;
        }
    }
}
