//! The record of one tunnel: what is logged when it has ended.

use http::HeaderValue;
use tokio::time::Instant;

use crate::client_socket::Peer;
use crate::telemetry::ACCESS;

/// A tunnel until its end. Logged when dropped.
///
/// It holds nothing of the snapshot: a tunnel may be open for days, and reloads go on.
#[derive(Debug)]
pub struct TunnelRecord {
    /// Who opened it.
    pub client: Peer,
    /// The id of the request that asked for it.
    pub id: HeaderValue,
    /// The listener's name.
    pub listener: String,
    /// The upstream's name.
    pub upstream: String,
    /// When it was asked for.
    pub start: Instant,
    /// Bytes from the client, and to it.
    pub bytes: [u64; 2],
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        let [request_bytes, response_bytes] = self.bytes;
        tracing::info!(
            target: ACCESS,
            client = %self.client,
            request_id = self.id.to_str().ok(),
            listener = self.listener,
            upstream = self.upstream,
            request_bytes,
            response_bytes,
            duration_ms = self.start.elapsed().as_micros() as f64 / 1e3,
            "tunnel ended",
        );
    }
}
