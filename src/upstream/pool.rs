//! The connections of one shard to one endpoint, kept for the next request.
//!
//! Nothing here is shared between threads, and a request that finds an idle connection takes no lock. No
//! task is spawned for a request, nor for an HTTP/1.1 connection: the task that has the request
//! reads and writes.
//!
//! A pool is made from an [`Endpoint`] and belongs to the one who holds it: each shard has one for each configured
//! upstream, and [`OriginPools`] holds those of origins that nobody configured.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::history::SpokenHttp;

mod available;
mod dialer;
mod http2_connection;
mod lease;
mod origins;
mod retirement;
mod shelf;
mod waiting;

use dialer::Dialer;
pub use lease::{Checkout, Http1Connection, Http2Stream, Lease};
pub use origins::{Origin, OriginPoolError, OriginPools};
use shelf::Shelf;

/// The connections of one shard to one endpoint.
pub struct Pool {
    shelf: Rc<Shelf>,
    dialer: Rc<Dialer>,
}

impl Pool {
    /// An empty pool.
    pub fn new(endpoint: Arc<Endpoint>) -> Rc<Self> {
        let shelf = Shelf::new(endpoint);
        let dialer = Dialer::new(Rc::clone(&shelf));
        Rc::new(Self { shelf, dialer })
    }

    /// The endpoint that it connects to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.shelf.endpoint
    }

    /// An open connection, if one is free.
    pub fn take(&self) -> Option<Checkout> {
        let available = self.shelf.take()?;
        Some(Checkout::new(&self.shelf, available))
    }

    /// A connection when none is free: a new one, or with `reuse` one that is given back meanwhile. Without
    /// `reuse` the connection is always a new one, for a request that has failed on an old one.
    ///
    /// # Errors
    /// Why there is no connection. Requests that waited for the same attempt share its error.
    pub async fn open(&self, reuse: bool) -> Result<Checkout, Arc<ConnectError>> {
        self.shelf.forget_closed();
        // Boxed, so that a request that finds an idle connection is not as large as a handshake.
        Box::pin(self.dialer.open(reuse)).await
    }

    /// Opens one HTTP/1.1 connection for a single request, which may upgrade it.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open_dedicated(&self) -> Result<Http1Connection, ConnectError> {
        self.dialer.open_dedicated().await
    }

    /// What the server speaks. A connection is opened if that is not known, and kept for the next request.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn spoken(&self) -> Result<SpokenHttp, Arc<ConnectError>> {
        let endpoint = self.endpoint();
        if endpoint.connector.speaks_only_http1() {
            return Ok(SpokenHttp::Http1);
        }
        if let Some(known) = endpoint.history.spoken(Instant::now()) {
            return Ok(known);
        }
        let checkout = match self.take() {
            Some(open) => open,
            None => self.open(true).await?,
        };
        let spoken = match checkout {
            Checkout::Http1(connection) => {
                connection.give_back();
                SpokenHttp::Http1
            }
            Checkout::Http2(stream) => SpokenHttp::Http2 {
                extended_connect: stream.supports_connect().await,
            },
        };
        endpoint.history.record_spoken(spoken, Instant::now());
        Ok(spoken)
    }

    /// Closes what has been idle or open for too long, and brings the gauges up to date.
    pub fn sweep(&self, now: Instant) {
        self.shelf.sweep_idle(now);
        if self.endpoint().max_connection_age.is_some() {
            self.look_up_addresses(now);
            self.shelf.retire_old(now);
            if self.shelf.retirement.take_attempt(now) {
                self.dialer.replace();
            }
        }
        self.shelf.sweep_surplus(now);
        self.shelf.report();
    }

    /// Asks the resolver whether the server has moved, while there is a connection that could lead to where
    /// it is no longer.
    fn look_up_addresses(&self, now: Instant) {
        let endpoint = self.endpoint();
        if !self.shelf.is_empty()
            && endpoint.connector.is_named()
            && endpoint.history.claim_lookup(now)
        {
            let endpoint = Arc::clone(endpoint);
            tokio::task::spawn_local(async move { endpoint.connector.look_up().await });
        }
    }

    /// Whether it has no connection, opens none, and nobody else holds it.
    fn is_unused(self: &Rc<Self>) -> bool {
        !self.is_in_use() && self.shelf.is_empty()
    }

    /// Whether a request uses or opens a connection, or may do so because it holds this pool.
    fn is_in_use(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || Rc::strong_count(&self.dialer) > 1 || self.shelf.is_in_use()
    }
}

#[cfg(test)]
mod tests;
