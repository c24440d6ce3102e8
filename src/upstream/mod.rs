//! Connections to the protected APIs and to authorization servers.

mod answers;
mod connect;
mod dns;
mod error;
mod handshake;
mod io;
mod keep_alive;
mod multiplexed;
mod places;
mod pool;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;

use crate::config::Http2;
use crate::metrics::UpstreamMetrics;

pub use answers::{Answers, Wire};
pub use connect::{Connected, Connector, Protocols};
pub use error::{ConnectError, Stage};
pub use io::Io;
pub use places::Places;
pub use pool::{Checkout, Lease, Pool, RequestBody};
pub use tls::{Identity, TlsError, fingerprint};

/// As many headers the library reads without an allocation; any number that it is told, with one.
const HEADERS_AT_ONCE: usize = 100;

/// A connection for hyper.
type HyperIo = hyper_util::rt::TokioIo<Answers>;

/// Everything that the pools of all shards need to reach one upstream. It survives a reload that
/// does not change it, and the pools with it.
#[derive(Debug)]
pub struct Endpoint {
    /// How connections are made.
    pub connector: Connector,
    /// How many there may be.
    pub places: Places,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Idle connections that each shard keeps.
    pub pool_idle_per_shard: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// Bytes of a response head.
    pub max_header_bytes: usize,
    /// Headers of a response, over HTTP/1.1.
    pub max_headers: usize,
    /// Bytes of a body that a connection buffers, each way.
    pub body_buffer: usize,
    /// Of HTTP/2 connections.
    pub http2: Http2,
    /// How long a new HTTP/2 connection may keep to itself whether it takes extended CONNECT.
    pub connect_protocol_timeout: Duration,
    /// What is counted.
    pub metrics: UpstreamMetrics,
}

impl Endpoint {
    /// Opens one connection, and counts how that went; tells whether it speaks HTTP/2. It holds a
    /// place until it is closed.
    pub async fn connect(&self, protocols: Protocols) -> Result<(Answers, bool), ConnectError> {
        let connected = self.attempt(protocols).await;
        let outcome = connected
            .as_ref()
            .map_or_else(ConnectError::label, |_| "success");
        self.metrics.connected(outcome);
        connected
    }

    async fn attempt(&self, protocols: Protocols) -> Result<(Answers, bool), ConnectError> {
        let place = self
            .places
            .take()
            .ok_or_else(|| self.connector.too_many(self.places.max()))?;
        let connecting = self.connector.connect(protocols, self.connect_timeout);
        let connected = connecting.await?;
        Ok((Answers::holding(place, connected.io), connected.http2))
    }

    /// HTTP/1.1 with bounded buffers. Header names keep the spelling they came with; the others are
    /// written in the customary way (`Content-Type`), which old servers may insist on.
    fn http1_builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_header_size(self.max_header_bytes)
            .max_buf_size(self.body_buffer.max(self.max_header_bytes));
        if self.max_headers != HEADERS_AT_ONCE {
            builder.max_headers(self.max_headers);
        }
        builder
    }

    /// Opens one connection that speaks HTTP/1.1 and may be upgraded. It is never kept for another
    /// request.
    pub async fn dedicated<B: RequestBody>(
        &self,
    ) -> Result<(http1::SendRequest<B>, Arc<Wire>), ConnectError> {
        let (io, _) = self.connect(Protocols::Http1).await?;
        let wire = io.wire();
        let (sender, connection) = self
            .http1_builder()
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
