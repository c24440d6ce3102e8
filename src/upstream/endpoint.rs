//! One origin with everything that is needed to connect to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

use super::client_tls::Protocols;
use super::connect::{Connected, Connector};
use super::error::ConnectError;
use super::history::ConnectionHistory;
use super::io::UpstreamIo;
use super::permits::{ConnectionPermit, ConnectionPermits};
use crate::config::Http2;
use crate::http1::HeadLimits;
use crate::http2::{Budget, PingInterval};
use crate::metrics::UpstreamMetrics;

/// One origin with everything that pools need to connect to it, shared by the pools of all shards. A
/// reload that does not change it keeps it, and with it the pools.
#[derive(Debug)]
pub struct Endpoint {
    /// How connections are made.
    pub connector: Connector,
    /// How many connections may be open.
    pub permits: ConnectionPermits,
    /// What earlier connections have shown.
    pub history: ConnectionHistory,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// HTTP/1.1 connections that each shard opens at once.
    pub connecting_per_shard: usize,
    /// Idle connections that each shard keeps. If it is zero, no HTTP/1.1 connection carries a second
    /// request.
    pub pool_idle_per_shard: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long a connection is given new requests.
    pub max_connection_age: Option<Duration>,
    /// Bytes of a response head.
    pub max_header_bytes: usize,
    /// Headers of a response, over HTTP/1.1.
    pub max_headers: usize,
    /// Bytes that are read from a connection at once; over HTTP/2, bytes of a request body that are
    /// buffered.
    pub body_buffer: usize,
    /// The settings of HTTP/2.
    pub http2: Http2,
    /// The budget of HTTP/2 windows, beyond what every stream has.
    pub windows: Arc<Budget>,
    /// How long an HTTP/2 connection may be silent before it is sent a ping.
    pub ping_interval: Arc<PingInterval>,
    /// How long a server may take to say whether it supports extended CONNECT.
    pub connect_protocol_timeout: Duration,
    /// Counts its connections.
    pub metrics: UpstreamMetrics,
}

/// Counts the connection of a tunnel among those of its endpoint, until it is dropped.
#[derive(Debug)]
pub struct TunnelLease {
    active: IntGauge,
    _permit: ConnectionPermit,
}

impl Drop for TunnelLease {
    fn drop(&mut self) {
        self.active.dec();
    }
}

impl Endpoint {
    /// Opens one connection, and counts the outcome. The permit must be held until the connection is
    /// closed.
    pub(super) async fn connect(
        &self,
        protocols: Protocols,
    ) -> Result<(Connected, ConnectionPermit), ConnectError> {
        let connecting = self.connector.connect(protocols, self.connect_timeout);
        self.permitted(connecting).await
    }

    /// Opens the bare bytes of one connection, for a tunnel; counted as `connect` does, and among the
    /// same permits. Also returns the address that answered.
    ///
    /// # Errors
    /// Which step failed and why.
    pub async fn open_tunnel(&self) -> Result<(UpstreamIo, SocketAddr, TunnelLease), ConnectError> {
        let opening = self.connector.open_tunnel(self.connect_timeout);
        let ((io, peer), permit) = self.permitted(opening).await?;
        let active = self.metrics.active.clone();
        active.inc();
        let lease = TunnelLease {
            active,
            _permit: permit,
        };
        Ok((io, peer, lease))
    }

    async fn permitted<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<(T, ConnectionPermit), ConnectError> {
        let connected = match self.permits.take() {
            Some(permit) => connecting.await.map(|connected| (connected, permit)),
            None => Err(self.connector.too_many_connections(self.permits.max())),
        };
        let outcome = connected
            .as_ref()
            .map_or_else(ConnectError::label, |_| "success");
        self.metrics.count_connect(outcome);
        match &connected {
            Ok(_) => self.history.record_connect(true, Instant::now()),
            // These say nothing about the upstream.
            Err(ConnectError::Full { .. } | ConnectError::Shortage { .. }) => {}
            Err(_) => self.history.record_connect(false, Instant::now()),
        }
        connected
    }

    /// Bytes came on an HTTP/1.1 connection that no request had asked for. The next request on such a
    /// connection could take them for its answer.
    #[cold]
    pub(super) fn record_unsolicited(&self) {
        if self.history.record_unsolicited(Instant::now()) {
            tracing::warn!(
                upstream = self.connector.authority(),
                "the API sends bytes after its answers that no request asked for: \
                 for 10 minutes every request gets a connection of its own; repair the API, \
                 or set pool_idle = 0 to make this permanent"
            );
        }
    }

    /// The upstream has closed a connection that had been idle for this time.
    #[cold]
    pub(super) fn record_idle_close(&self, idle: Duration) {
        if let Some(keep) = self.history.record_idle_close(idle, Instant::now()) {
            tracing::info!(
                upstream = self.connector.authority(),
                keep_ms = keep.as_millis() as u64,
                "the API closes idle connections: they are now kept for a shorter time than it keeps them"
            );
        }
    }

    /// How large the head of a response may be over HTTP/1.1.
    pub(super) fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: self.max_header_bytes,
            fields: self.max_headers,
        }
    }
}
