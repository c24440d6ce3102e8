//! What an operator asks of a running process: health, metrics, status, reload.
//!
//! - `connections`: the sockets, and each connection served to its end.
//! - `explain`: what `POST /explain` answers.
//! - `paths`: which path answers what, and to whom.
//! - `status`: what `/readyz` and `/status` say.
//! - `page`: the page that shows it.
//! - `live`: the status as it changes; `events` sends that to those who watch.

mod connections;
mod events;
mod explain;
mod io;
mod live;
mod page;
mod paths;
mod status;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::connections::{ServedSocket, serve};
use self::live::LiveStatus;
pub use self::status::Reload;

use crate::config::{self, Config, Diagnostics};
use crate::metrics::Metrics;
use crate::server::{Acceptor, Shards};
use crate::snapshot::Snapshot;

/// A thread that does not answer within this is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the admin pages are made from.
#[derive(Debug)]
pub struct Admin {
    /// What is being served.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// Who serves it.
    pub shards: Arc<Shards>,
    /// Who hands connections to them.
    pub acceptor: Acceptor,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Asks for a reload.
    pub reloads: mpsc::Sender<ReloadRequest>,
    draining: watch::Sender<bool>,
    /// `/startupz` stays good once it was.
    was_ready: AtomicBool,
    last_reload: Mutex<Reload>,
    started_at: SystemTime,
    watched: Mutex<Weak<LiveStatus>>,
}

/// Someone wants the configuration read again, and to know how that went.
pub type ReloadRequest = oneshot::Sender<Result<(), Diagnostics>>;

/// Which pages a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything, for programs on this machine.
    All,
    /// Health and metrics, for everyone who can connect.
    Health,
}

impl Admin {
    /// For a process that has loaded its first configuration.
    pub fn new(
        snapshots: Arc<ArcSwap<Snapshot>>,
        shards: Arc<Shards>,
        acceptor: Acceptor,
        metrics: Arc<Metrics>,
        reloads: mpsc::Sender<ReloadRequest>,
        warnings: Diagnostics,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshots,
            shards,
            acceptor,
            metrics,
            reloads,
            draining: watch::Sender::new(false),
            was_ready: AtomicBool::new(false),
            last_reload: Mutex::new(Reload::first(warnings)),
            started_at: SystemTime::now(),
            watched: Mutex::default(),
        })
    }

    /// Whether every thread that serves answers; that this returns says the same of the one that
    /// asks.
    pub async fn is_alive(&self) -> bool {
        let (shards, acceptor) = tokio::join!(
            self.shards.are_responding(PATIENCE),
            self.acceptor.is_responding(PATIENCE)
        );
        shards && acceptor
    }

    /// From now on not ready: the process is about to end.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// How the last reload ended.
    pub fn last_reload(&self) -> MutexGuard<'_, Reload> {
        self.last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests can be served: listeners bound, and every required credential has a token.
    pub fn is_ready(&self) -> bool {
        let ready = !self.is_draining() && status::credentials_ready(&self.snapshots.load());
        if ready {
            self.was_ready.store(true, Relaxed);
        }
        ready
    }

    /// Waits for the end of the first attempt of every credential that readiness waits for.
    pub async fn wait_for_first_attempts(&self) {
        let snapshot = self.snapshots.load_full();
        for credential in status::required_credentials(&snapshot) {
            credential.source.wait_for_first_attempt().await;
        }
    }

    /// Why requests cannot be served: a sentence for each credential that readiness waits for.
    pub fn obstacles(&self) -> Vec<String> {
        status::obstacles(&self.snapshots.load())
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// What `/status` says.
    pub fn status(&self) -> Value {
        status::full(&status::Process {
            snapshot: &self.snapshots.load(),
            reload: self.last_reload().clone(),
            ready: self.is_ready(),
            draining: self.is_draining(),
            connections: self.shards.connection_count(),
            tunnels: self.metrics.open_tunnels(),
            requests: self.metrics.request_counts(),
            started_at: self.started_at,
        })
    }
}

impl Scope {
    /// Its section; `None` for a socket that is just being taken away.
    fn page(self, config: &Config) -> Option<&config::OperatorListener> {
        match self {
            Self::All => config.admin.as_ref(),
            Self::Health => config.health.as_ref(),
        }
    }
}
