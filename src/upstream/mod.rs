//! Connections to the protected APIs and to authorization servers.

mod addresses;
mod answers;
mod connect;
mod dial;
mod dns;
mod error;
mod habits;
mod handshake;
mod incoming;
mod io;
mod keep_alive;
mod multiplexed;
mod places;
mod pool;
mod system_roots;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Http2;
use crate::http1::HeadLimits;
use crate::http2::{Budget, Pace};
use crate::metrics::UpstreamMetrics;

pub use answers::Wire;
pub use connect::{Connected, Connector, Judge, Protocols};
pub use error::{ConnectError, Stage};
pub use habits::Habits;
pub use handshake::without_link;
pub use incoming::{Incoming, IncomingError};
pub use io::{Io, Socket};
pub use places::{Place, Places};
pub use pool::{Carried, Checkout, Lease, Pool, RequestBody, Single, Stream};
pub use tls::{Identity, TlsError, fingerprint};

/// Everything that the pools of all shards need to reach one upstream. It survives a reload that
/// does not change it, and the pools with it.
#[derive(Debug)]
pub struct Endpoint {
    /// How connections are made.
    pub connector: Connector,
    /// How many there may be.
    pub places: Places,
    /// What they have taught.
    pub habits: Habits,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Connections of HTTP/1.1 that each shard opens at once.
    pub connecting_per_shard: usize,
    /// Idle connections that each shard keeps. If that is none, no connection of HTTP/1.1 carries a
    /// second request.
    pub pool_idle_per_shard: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long a connection carries new requests.
    pub max_connection_age: Option<Duration>,
    /// Bytes of a response head.
    pub max_header_bytes: usize,
    /// Headers of a response, over HTTP/1.1.
    pub max_headers: usize,
    /// Bytes that are read at once from a connection, or over HTTP/2 buffered of a request body.
    pub body_buffer: usize,
    /// Of HTTP/2 connections.
    pub http2: Http2,
    /// Where their windows come from, beyond those that every stream has.
    pub windows: Arc<Budget>,
    /// How often they are asked whether they are still there.
    pub pace: Arc<Pace>,
    /// How long a new HTTP/2 connection may keep to itself whether it takes extended CONNECT.
    pub connect_protocol_timeout: Duration,
    /// What is counted.
    pub metrics: UpstreamMetrics,
}

impl Endpoint {
    /// Opens one connection, and counts how that went. Its place is held until it is closed.
    async fn connect(&self, protocols: Protocols) -> Result<(Connected, Place), ConnectError> {
        let connected = self.attempt(protocols).await;
        let outcome = connected
            .as_ref()
            .map_or_else(ConnectError::label, |_| "success");
        self.metrics.connected(outcome);
        match &connected {
            Ok(_) => self.habits.dialed(true, Instant::now()),
            // These say nothing of the upstream.
            Err(ConnectError::Full { .. } | ConnectError::Shortage { .. }) => {}
            Err(_) => self.habits.dialed(false, Instant::now()),
        }
        connected
    }

    /// Something came on a connection of HTTP/1.1 that nothing had asked for: what comes next, and for
    /// whom, cannot be known.
    #[cold]
    fn strayed(&self) {
        if self.habits.strayed(Instant::now()) {
            tracing::warn!(
                upstream = self.connector.authority(),
                "the API sends bytes that nothing asked for behind its answers: \
                 for 10 minutes every request gets a connection of its own; mend the API, \
                 or let it always be so with pool_idle = 0"
            );
        }
    }

    /// An idle connection has ended, not by us.
    #[cold]
    fn ended(&self, idle: Duration) {
        if let Some(keep) = self.habits.ended(idle, Instant::now()) {
            tracing::info!(
                upstream = self.connector.authority(),
                keep_ms = keep.as_millis() as u64,
                "the API ends idle connections: they are kept for a shorter time than it does"
            );
        }
    }

    async fn attempt(&self, protocols: Protocols) -> Result<(Connected, Place), ConnectError> {
        let place = self
            .places
            .take()
            .ok_or_else(|| self.connector.too_many(self.places.max()))?;
        let connecting = self.connector.connect(protocols, self.connect_timeout);
        Ok((connecting.await?, place))
    }

    /// How large the head of a response over HTTP/1.1 may be.
    fn limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: self.max_header_bytes,
            fields: self.max_headers,
        }
    }
}
