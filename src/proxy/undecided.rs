//! A CONNECT to an address, until its client shows whether it is for an upstream.

use std::sync::Arc;

use http::StatusCode;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::passing::{self, Passage};
use super::route_taken::RouteTaken;
use super::tunnel::{OpenedConnection, UpstreamTunnel};
use crate::snapshot::Snapshot;

/// A CONNECT that has been answered. It is counted and recorded once, as what it has become: a tunnel, or a connection
/// whose TLS is ended here. Without a word about either it was neither.
pub struct Undecided {
    exchange: Box<Exchange>,
    passage: Passage,
    /// Where it leads if it is a tunnel, or why it leads nowhere.
    opened: Option<Result<OpenedConnection, ProxyError>>,
}

impl Undecided {
    /// It may pass to where this connection leads, if there is one.
    pub fn new(
        exchange: Box<Exchange>,
        passage: Passage,
        opened: Result<OpenedConnection, ProxyError>,
    ) -> Self {
        Self {
            exchange,
            passage,
            opened: Some(opened),
        }
    }

    /// Whether there is a connection to where it leads, whose server may speak first.
    pub fn is_open(&self) -> bool {
        matches!(self.opened, Some(Ok(_)))
    }

    /// Its client has named nothing that a route leads to: it is a tunnel. `None` if it leads nowhere, which is recorded.
    pub fn into_tunnel(mut self) -> Option<Box<UpstreamTunnel>> {
        let opened = self.opened.take()?;
        let exchange = &mut self.exchange;
        exchange.set_passage(self.passage);
        exchange.report(self.passage.reported);
        let snapshot = &exchange.shard.snapshot;
        let error = opened.as_ref().err();
        passing::record(snapshot, exchange.listener, self.passage, error);
        match opened {
            Ok(opened) => Some(opened.into_tunnel(exchange)),
            Err(error) => {
                exchange.record_error(&error);
                None
            }
        }
    }

    /// Its client has named what this route leads to, by this snapshot.
    pub fn set_intercepted(&mut self, snapshot: &Arc<Snapshot>, taken: &RouteTaken<'_>) {
        // The indexes of another snapshot say nothing about this one.
        if Arc::ptr_eq(&self.exchange.shard.snapshot, snapshot) {
            self.exchange.set_route(taken);
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.exchange.record_status(StatusCode::OK);
    }
}
