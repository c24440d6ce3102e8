//! Connections to the protected APIs and to authorization servers.

mod answers;
mod connect;
mod dns;
mod handshake;
mod io;
mod multiplexed;
mod pool;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;

use crate::metrics::UpstreamMetrics;

pub use answers::{Answers, Wire};
pub use connect::{ConnectError, Connected, Connector, Protocols, Stage};
pub use io::Io;
pub use pool::{Checkout, Lease, Pool, RequestBody};
pub use tls::{Identity, TlsError, fingerprint};

/// What one connection may buffer a side.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// A connection for hyper.
type HyperIo = hyper_util::rt::TokioIo<Answers>;

/// Everything that the pools of all shards need to reach one upstream. It survives a reload that
/// does not change it, and the pools with it.
#[derive(Debug)]
pub struct Endpoint {
    /// How connections are made.
    pub connector: Connector,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Idle connections that each shard keeps.
    pub pool_idle_per_shard: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// What is counted.
    pub metrics: UpstreamMetrics,
}

impl Endpoint {
    /// Opens one connection, and counts how that went.
    pub async fn connect(&self, protocols: Protocols) -> Result<Connected, ConnectError> {
        let connected = self
            .connector
            .connect(protocols, self.connect_timeout)
            .await;
        let outcome = connected
            .as_ref()
            .map_or_else(ConnectError::label, |_| "success");
        self.metrics.connected(outcome);
        connected
    }

    /// Opens one connection that speaks HTTP/1.1 and may be upgraded. It is never kept for another
    /// request.
    pub async fn dedicated<B: RequestBody>(
        &self,
    ) -> Result<(http1::SendRequest<B>, Arc<Wire>), ConnectError> {
        let connected = self.connect(Protocols::Http1).await?;
        let io = Answers::new(connected.io);
        let wire = io.wire();
        let (sender, connection) = pool::http1_builder()
            .handshake(HyperIo::new(io))
            .await
            .map_err(|error| self.connector.handshake_failed(&error))?;
        tokio::task::spawn_local(async move {
            // Whoever holds the request, the body or the upgraded stream hears of the error there.
            let _ = connection.with_upgrades().await;
        });
        Ok((sender, wire))
    }
}

/// Runs hyper's tasks on the thread they are started from.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
