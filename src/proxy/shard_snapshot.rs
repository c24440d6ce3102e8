//! What one shard makes of a snapshot: its own connections to each upstream.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::client_connection::ClientConnection;
use super::error::{ErrorKind, ProxyError};
use super::open_tunnels::OpenTunnels;
use super::passing::{PassedOrigin, PassedOrigins};
use crate::config;
use crate::snapshot::{PassingWay, Snapshot};
use crate::tls::HandshakeTurns;
use crate::upstream::{Endpoint, Origin, Pool};

/// A snapshot with the pools of one shard.
pub struct ShardSnapshot {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The limits of client connections, for those who stay with them when the snapshot goes.
    pub limits: Rc<config::Server>,
    /// Those of this shard, whatever snapshot they began with.
    pub tunnels: Rc<OpenTunnels>,
    /// Whose turn it is to compute on this shard.
    pub turns: HandshakeTurns,
    pools: Vec<OnceCell<Rc<Pool>>>,
    passed: Rc<PassedOrigins>,
}

/// What a connection asks at each request: the view of this moment, and the index of its listener.
pub type CurrentSnapshot = Rc<dyn Fn(&ClientConnection) -> (Rc<ShardSnapshot>, usize)>;

impl ShardSnapshot {
    /// Takes over the pools of upstreams that both snapshots have, those of origins that nobody configured if the same
    /// may pass by both, and the open tunnels, which are to be judged again.
    pub fn new(snapshot: Arc<Snapshot>, old: Option<&Self>) -> Rc<Self> {
        let old_pools = old
            .into_iter()
            .flat_map(|old| &old.pools)
            .filter_map(OnceCell::get);
        let kept: HashMap<*const Endpoint, &Rc<Pool>> = old_pools
            .map(|pool| (Arc::as_ptr(pool.endpoint()), pool))
            .collect();
        let pool = |endpoint: &Arc<Endpoint>| match kept.get(&Arc::as_ptr(endpoint)) {
            Some(pool) => OnceCell::from(Rc::clone(pool)),
            None => OnceCell::new(),
        };
        let pools = snapshot
            .upstreams
            .iter()
            .map(|upstream| pool(&upstream.endpoint))
            .collect();
        let tunnels = old.map_or_else(
            || OpenTunnels::new(Arc::clone(&snapshot)),
            |old| Rc::clone(&old.tunnels),
        );
        let turns = old.map_or_else(HandshakeTurns::default, |old| old.turns.clone());
        let passed = old.filter(|old| match (&snapshot.passing, &old.snapshot.passing) {
            (Some(now), Some(before)) => now.is_same(before),
            _ => false,
        });
        let passed = passed.map(|old| Rc::clone(&old.passed));
        let limits = Rc::new(snapshot.config.server.clone());
        Rc::new(Self {
            snapshot,
            limits,
            tunnels,
            turns,
            pools,
            passed: passed.unwrap_or_else(|| Rc::new(PassedOrigins::new())),
        })
    }

    /// This shard's connections to the upstream of this index.
    pub fn pool(&self, upstream: usize) -> &Rc<Pool> {
        self.pools[upstream]
            .get_or_init(|| Pool::new(Arc::clone(&self.snapshot.upstreams[upstream].endpoint)))
    }

    /// An origin that requests pass to in this way, with this shard's connections to it.
    ///
    /// # Errors
    /// As `PassedOrigins::get`; `destination_denied` if nothing passes.
    pub fn passed_origin(
        &self,
        origin: &Origin,
        way: PassingWay,
    ) -> Result<PassedOrigin, ProxyError> {
        let passing = self.snapshot.passing.as_ref();
        let passing = passing.ok_or_else(|| {
            ProxyError::new(
                ErrorKind::DestinationDenied,
                "nothing may leave that no route leads to",
            )
        })?;
        self.passed.get(passing, origin, way)
    }

    /// Closes connections that have been idle for too long, and cuts tunnels whose certificate or token has ended.
    pub fn sweep(&self, now: Instant) {
        self.tunnels.sweep(now, self.snapshot.clock.now().wall);
        for pool in self.pools.iter().filter_map(OnceCell::get) {
            pool.sweep(now);
        }
        self.passed.sweep(now);
    }
}
