//! The whole process: the only place that wires its parts.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::admin::{Admin, ReloadRequest};
use crate::config::Loaded;
use crate::metrics::Metrics;
use crate::process;
use crate::reload::Reloader;
use crate::server::Shards;
use crate::snapshot::{BuildError, Builder};
use crate::sockets::{BindError, Sockets};
use crate::telemetry::LogHandle;
use crate::token::SystemClock;
use crate::watch::{Changes, Watcher};

/// How often an unready process looks whether it has become ready.
const READINESS_INTERVAL: Duration = Duration::from_millis(100);
/// What was cut has this long to be gone.
const CUT_PATIENCE: Duration = Duration::from_secs(1);

/// A process with all its sockets bound and its threads started.
pub struct Bound {
    reloader: Reloader,
    requests: mpsc::Receiver<ReloadRequest>,
    changes: Changes,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Connections that had not finished within `drain_timeout`.
    pub cut: usize,
}

/// Why a process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A file that changed since it was checked.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Binds every socket and starts every thread of a configuration read from `path`. From here on
/// connections are accepted and tokens fetched; [`Bound::run`] keeps it going.
///
/// # Errors
/// See [`StartError`]; nothing is left behind.
pub async fn bind(
    path: PathBuf,
    loaded: Loaded,
    log: Option<LogHandle>,
) -> Result<Bound, StartError> {
    let Loaded {
        config,
        warnings,
        mut files,
    } = loaded;
    files.extend(config.named_files());
    let mut sockets = Sockets::default();
    let pending = sockets.bind(&config)?;
    // Before anything is built from these files: what changes from here on is reported.
    let (watcher, changes) = Watcher::start(files).await?;
    let shard_count = match config.server.workers {
        0 => process::available_cpus(),
        workers => workers,
    };
    let metrics = Metrics::new();
    let mut builder = Builder::new(Arc::clone(&metrics), Arc::new(SystemClock), shard_count);
    builder.own_sockets = sockets.own();
    let snapshot = Arc::new(builder.build(config, None)?);
    let snapshots = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
    let shards = Shards::start(shard_count, &snapshots)?;
    let (reloads, requests) = mpsc::channel(1);
    let admin = Admin::new(
        Arc::clone(&snapshots),
        Arc::clone(&shards),
        Arc::clone(&metrics),
        reloads,
        warnings,
    );
    sockets.open(&snapshot.config, pending, &shards, &admin);
    metrics.loaded();
    Ok(Bound {
        reloader: Reloader {
            path,
            builder,
            snapshots,
            shards,
            sockets,
            admin,
            watcher,
            log,
        },
        requests,
        changes,
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

    /// Asks for reloads, as SIGHUP does.
    pub fn reloads(&self) -> mpsc::Sender<ReloadRequest> {
        self.reloader.admin.reloads.clone()
    }

    /// Serves until `shutdown`, then ends gracefully: not ready, accepting for `shutdown_delay`,
    /// finishing what is in flight within `drain_timeout`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        let Self {
            mut reloader,
            mut requests,
            mut changes,
        } = self;
        tokio::spawn(tell_when_ready(Arc::clone(&reloader.admin)));
        tokio::select! {
            () = reloader.run(&mut requests, &mut changes) => {}
            () = shutdown => {}
        }
        reloader.admin.drain();
        drop(requests);
        let server = reloader.snapshots.load().config.server.clone();
        tracing::info!(delay = ?server.shutdown_delay, drain = ?server.drain_timeout, "shutting down");
        tokio::time::sleep(server.shutdown_delay).await;

        reloader.sockets.stop_accepting().await;
        let shards = &reloader.shards;
        shards.close(None);
        let drained = tokio::time::timeout(server.drain_timeout, shards.all_closed()).await;
        let cut = if drained.is_ok() {
            0
        } else {
            shards.connections()
        };
        if cut > 0 {
            tracing::warn!(connections = cut, "not finished within drain_timeout, cut");
            shards.cut();
            // What does not react to being cut ends with the process.
            let _ = tokio::time::timeout(CUT_PATIENCE, shards.all_closed()).await;
        }
        let sampling = &reloader.snapshots.load().sampling;
        sampling.tell_all(tokio::time::Instant::now());
        tracing::info!("ended");
        Ended { cut }
    }
}

/// `/startupz` latches with the first look at a ready process; this one does not depend on probes.
async fn tell_when_ready(admin: Arc<Admin>) {
    let mut look = tokio::time::interval(READINESS_INTERVAL);
    loop {
        look.tick().await;
        if admin.is_ready() {
            return tracing::info!("ready");
        }
        if admin.is_draining() {
            return;
        }
    }
}
