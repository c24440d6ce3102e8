//! The product in this process, on its own threads, with files in a directory of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use sidebearer::admin::ReloadRequest;
use sidebearer::app::{self, Ended};
use sidebearer::config::{self, Diagnostics, Loaded};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::{any_port, client};

/// A running sidebearer. Dropping it ends it at once.
pub(crate) struct Sidebearer {
    dir: TempDir,
    addresses: HashMap<String, SocketAddr>,
    admin: SocketAddr,
    reloads: mpsc::Sender<ReloadRequest>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Ended>>,
}

impl Sidebearer {
    /// Starts with this configuration. An `[admin]` at a free port is added if it has none, and a
    /// file `secret` holding `s3cret` lies beside it.
    pub(crate) fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        Self::start_in(dir, config)
    }

    /// As [`Sidebearer::start`], beside files that a test has put there.
    pub(crate) fn start_in(dir: TempDir, config: &str) -> Self {
        let path = dir.path().join("sidebearer.toml");
        std::fs::write(&path, with_admin(config)).unwrap();
        Self::start_at(dir, path)
    }

    /// Starts with the file or directory at `path`, which a test has written below `dir`.
    pub(crate) fn start_at(dir: TempDir, path: PathBuf) -> Self {
        let loaded = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
        Self::start_with(dir, path, loaded)
    }

    /// Starts with what was read from `path` some time ago.
    pub(crate) fn start_with(dir: TempDir, path: PathBuf, loaded: Loaded) -> Self {
        let (started, bound) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let bound = app::bind(path, loaded, None).await.unwrap();
                started
                    .send((bound.addresses(), bound.admin().unwrap(), bound.reloads()))
                    .unwrap();
                bound.run(async { drop(stopped.await) }).await
            })
        });
        let (addresses, admin, reloads) = bound.recv().unwrap();
        Self {
            dir,
            addresses,
            admin,
            reloads,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where its files lie.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The address of the only listener that had a port at the start.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut addresses = self.addresses.values();
        match (addresses.next(), addresses.next()) {
            (Some(only), None) => *only,
            _ => panic!("several listeners, or none: {:?}", self.addresses),
        }
    }

    /// The address of the listener with this name.
    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// The address of the admin pages.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Writes a file beside the configuration, in place of what was there, by rename.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.dir.path().join(format!(".{name}.new"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.dir.path().join(name)).unwrap();
    }

    /// Replaces the configuration and reloads it; how that went.
    pub(crate) async fn reconfigure(&self, config: &str) -> Result<(), Diagnostics> {
        self.write("sidebearer.toml", &with_admin(config));
        self.reload().await
    }

    /// Reloads what is there.
    pub(crate) async fn reload(&self) -> Result<(), Diagnostics> {
        let (answer, answered) = oneshot::channel();
        self.reloads.send(answer).await.unwrap();
        answered.await.unwrap()
    }

    /// A page of the admin address, as text.
    pub(crate) async fn page(&self, path: &str) -> String {
        client::get(self.admin, path).await.text()
    }

    /// `/status`.
    pub(crate) async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.page("/status").await).unwrap()
    }

    /// The value of one series of `/metrics`; 0 when there is no such line.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        super::series(&self.page("/metrics").await, series)
    }

    /// How many connections to an upstream were made.
    pub(crate) async fn connects(&self, upstream: &str) -> f64 {
        let labels = format!("outcome=\"success\",upstream=\"{upstream}\"");
        let series = format!("sidebearer_upstream_connects_total{{{labels}}}");
        self.metric(&series).await
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        super::eventually("ready", async || {
            client::get(self.admin, "/readyz").await.status == 200
        })
        .await;
    }

    /// Asks it to end, as SIGTERM does, without waiting.
    pub(crate) fn begin_to_end(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end it was asked for.
    pub(crate) async fn ended(mut self) -> Ended {
        self.begin_to_end();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap()
    }
}

/// Ports are the system's choice in tests.
pub(crate) fn with_admin(config: &str) -> String {
    if config.contains("[admin]") {
        config.to_owned()
    } else {
        format!("[admin]\naddress = \"{}\"\n\n{config}", any_port())
    }
}

/// A directory with a configuration and the file `secret` that goes with it.
pub(crate) fn directory(config: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, with_admin(config)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}
