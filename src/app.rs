//! The whole process: the only place that wires its parts.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::admin::{Admin, ReloadRequest};
use crate::blocking;
use crate::config::{ConfigSource, Loaded};
use crate::files;
use crate::handed_sockets::{HandedSocketError, HandedSockets};
use crate::interception::Interceptor;
use crate::metrics::Metrics;
use crate::process;
use crate::reload::Reloader;
use crate::server::{Acceptor, Shards};
use crate::service_manager::ServiceManager;
use crate::snapshot::{BuildError, Builder, BuiltCredential};
use crate::sockets::{BindError, Sockets};
use crate::supervisor::{Panics, Supervisor, supervisor};
use crate::telemetry::LogHandle;
use crate::token::SystemClock;
use crate::watch::{Changes, Watcher};

/// How often an unready process looks whether it has become ready.
const READINESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often tasks that ended without a report are looked for.
const LIFE_INTERVAL: Duration = Duration::from_secs(5);
/// The last audit records have this long to be written.
const AUDIT_FLUSH: Duration = Duration::from_secs(2);
/// The last spans of traces have this long to be sent.
const TRACE_FLUSH: Duration = Duration::from_secs(2);
/// Connections that were cut have this long to close.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A process with all its sockets bound and its threads started.
pub struct Bound {
    reloader: Reloader,
    requests: mpsc::Receiver<ReloadRequest>,
    changes: Changes,
    panics: Panics,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Connections that had not finished within `drain_timeout`.
    pub cut: usize,
    /// The thread or task whose panic ended the process.
    pub panicked: Option<String>,
}

/// Whether requests can be served.
pub struct Readiness(Arc<Admin>);

impl Readiness {
    /// Returns once they can.
    pub async fn reached(&self) {
        // Nothing changes before that.
        self.0.wait_for_first_attempts().await;
        let mut ticks = tokio::time::interval(READINESS_INTERVAL);
        while !self.0.is_ready() {
            ticks.tick().await;
        }
    }

    /// Why they cannot: a sentence for each credential that has no token.
    pub fn obstacles(&self) -> Vec<String> {
        self.0.obstacles()
    }
}

/// Why a process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket that was handed over.
    #[error(transparent)]
    Handed(#[from] HandedSocketError),
    /// A file that changed since it was checked.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Binds every socket and starts every thread of a configuration read from `source`. From here on
/// connections are accepted and tokens fetched; [`Bound::run`] keeps it going.
///
/// # Errors
/// See [`StartError`]; nothing is left behind.
pub async fn bind(
    source: impl Into<ConfigSource>,
    loaded: Loaded,
    log: Option<LogHandle>,
) -> Result<Bound, StartError> {
    bind_with(source, loaded, log, HandedSockets::default()).await
}

/// The same with sockets that were handed over, each of which has to be for something in the configuration.
///
/// # Errors
/// As [`bind`].
pub async fn bind_with(
    source: impl Into<ConfigSource>,
    loaded: Loaded,
    log: Option<LogHandle>,
    handed: HandedSockets,
) -> Result<Bound, StartError> {
    let Loaded {
        config,
        warnings,
        files: mut watched,
        fingerprint,
    } = loaded;
    let warnings = warnings.brief();
    // Else what is built next lies between what reading has left, which is then never given back.
    process::give_back_memory();
    files::set_timeout(config.server.file_timeout);
    watched.extend(config.named_files());
    let (supervisor, panics) = supervisor();
    if let Some(log) = &log {
        log.report_to(&supervisor);
    }
    let acceptor = Acceptor::start(supervisor.clone())?;
    handed.check(&config)?;
    let mut sockets = Sockets::new(acceptor.clone(), handed);
    // It stays from here on: without one no token could be fetched.
    blocking::run(|| ()).await?;
    let pending = sockets.bind(&config).await?;
    if let Some(settings) = &config.interception {
        // A CA that is made now is no change that has to be taken notice of.
        Interceptor::make_issuer(settings);
    }
    // Before anything is built from these files: what changes from here on is reported.
    let (watcher, changes) = Watcher::start(watched, &supervisor).await?;
    let shard_count = match config.server.workers {
        0 => process::available_cpus(),
        workers => workers,
    };
    let metrics = Metrics::new();
    let builder = Builder::new(Arc::clone(&metrics), Arc::new(SystemClock), shard_count)
        .with_own_sockets(sockets.own())
        .with_supervisor(&supervisor);
    let snapshot = Arc::new(builder.build(config, None)?);
    // So is what threads begin with.
    process::give_back_memory();
    let snapshots = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
    let shards = Shards::start(shard_count, &snapshots, &supervisor)?;
    let (reloads, requests) = mpsc::channel(1);
    let admin = Admin::new(
        Arc::clone(&snapshots),
        Arc::clone(&shards),
        acceptor,
        Arc::clone(&metrics),
        reloads,
        warnings,
    );
    let opened = sockets.open(&snapshot.config, pending, &shards, &admin);
    opened.await;
    metrics.record_load();
    Ok(Bound {
        reloader: Reloader {
            source: source.into(),
            started_with: fingerprint,
            builder: Arc::new(builder),
            snapshots,
            shards,
            sockets,
            admin,
            watcher,
            log,
            manager: ServiceManager::default(),
        },
        requests,
        changes,
        panics,
    })
}

impl Bound {
    /// The TCP listeners by name, ports filled in.
    pub fn addresses(&self) -> HashMap<String, SocketAddr> {
        self.reloader.sockets.addresses()
    }

    /// The admin address, the port filled in.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.reloader.sockets.admin()
    }

    /// The health address, the port filled in.
    pub fn health(&self) -> Option<SocketAddr> {
        self.reloader.sockets.health()
    }

    /// Tells when requests can be served.
    pub fn readiness(&self) -> Readiness {
        Readiness(Arc::clone(&self.reloader.admin))
    }

    /// Asks for reloads, as SIGHUP does.
    pub fn reloads(&self) -> mpsc::Sender<ReloadRequest> {
        self.reloader.admin.reloads.clone()
    }

    /// Where panics are reported that must end the process.
    pub fn supervisor(&self) -> &Supervisor {
        self.reloader.admin.acceptor.supervisor()
    }

    /// Reports to a service manager from now on.
    pub fn with_service_manager(mut self, manager: ServiceManager) -> Self {
        self.reloader.manager = manager;
        self
    }

    /// Serves until `shutdown`, then ends gracefully: not ready, accepting for `shutdown_delay`,
    /// finishing what is in flight within `drain_timeout`. When a thread or task panics that the process
    /// cannot do without, it stops accepting at once, and ends in the same way.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        let Self {
            mut reloader,
            mut requests,
            mut changes,
            mut panics,
        } = self;
        let admin = Arc::clone(&reloader.admin);
        let manager = reloader.manager.clone();
        manager.notify_ready("serving");
        tokio::spawn(log_when_ready(Arc::clone(&admin)));
        tokio::spawn(supervise_tasks(Arc::clone(&admin), manager.clone()));
        let panicked = tokio::select! {
            () = reloader.run(&mut requests, &mut changes) => None,
            () = shutdown => None,
            panicked = panics.next() => Some(panicked),
        };
        admin.drain();
        drop(requests);
        let _ = blocking::run(move || manager.notify_stopping()).await;
        let mut server = reloader.snapshots.load().config.server.clone();
        if let Some(panicked) = &panicked {
            tracing::error!(panicked, "it panicked, which is a defect: the process ends");
            server.shutdown_delay = Duration::ZERO;
        }
        tracing::info!(delay = ?server.shutdown_delay, drain = ?server.drain_timeout, "shutting down");
        tokio::time::sleep(server.shutdown_delay).await;

        reloader.sockets.stop_accepting().await;
        let shards = &reloader.shards;
        shards.drain(None);
        let drained =
            tokio::time::timeout(server.drain_timeout, shards.wait_until_all_closed()).await;
        let cut = if drained.is_ok() {
            0
        } else {
            shards.connection_count()
        };
        if cut > 0 {
            tracing::warn!(connections = cut, "not finished within drain_timeout, cut");
            shards.cut();
            // A connection that does not close when it is cut ends with the process.
            let _ = tokio::time::timeout(CUT_TIMEOUT, shards.wait_until_all_closed()).await;
        }
        let sampling = &reloader.snapshots.load().sampling;
        sampling.write_all_counts(tokio::time::Instant::now());
        let audit_trails = &reloader.snapshots.load().audit_trails;
        audit_trails.flush(AUDIT_FLUSH);
        let tracer = reloader.snapshots.load().tracer.clone();
        if let Some(tracer) = tracer
            && tokio::time::timeout(TRACE_FLUSH, tracer.flush())
                .await
                .is_err()
        {
            tracing::warn!("the last traces could not be sent in time");
        }
        tracing::info!("ended");
        Ended { cut, panicked }
    }
}

/// Finds tokens that nobody renews any more, and tells the watchdog that all threads answer.
async fn supervise_tasks(admin: Arc<Admin>, manager: ServiceManager) {
    let watchdog = manager.watchdog_interval();
    let interval = watchdog.unwrap_or(LIFE_INTERVAL).min(LIFE_INTERVAL);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = admin.snapshots.load_full();
        let mut sources = snapshot
            .credentials
            .values()
            .flat_map(BuiltCredential::sources);
        if let Some(source) = sources.find(|source| !source.has_refresh_task()) {
            let panicked = format!("the task of credential {}", source.name());
            return admin.acceptor.supervisor().report(panicked);
        }
        if watchdog.is_some() && admin.is_alive().await {
            manager.notify_alive();
        }
    }
}

/// `/startupz` is answered 200 once a probe has found the process ready; this line does not depend on probes.
async fn log_when_ready(admin: Arc<Admin>) {
    let mut ticks = tokio::time::interval(READINESS_INTERVAL);
    loop {
        ticks.tick().await;
        if admin.is_ready() {
            return tracing::info!("ready");
        }
        if admin.is_draining() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
