//! How the endpoints of upstreams are made.

use std::sync::Arc;

use super::context::BuildContext;
use crate::config;
use crate::http2::{Budget, PingInterval};
use crate::metrics::UpstreamMetrics;
use crate::upstream::{ConnectionHistory, ConnectionPermits, Connector, Endpoint};

/// What an endpoint is made with beside the settings of its upstream.
#[derive(Debug)]
pub struct EndpointContext {
    pool_idle_per_shard: usize,
    shards: usize,
    windows: Arc<Budget>,
    metrics: UpstreamMetrics,
}

impl EndpointContext {
    /// For upstreams that are counted by the name of this one.
    pub fn new(context: &BuildContext, config: &config::Upstream) -> Self {
        Self {
            pool_idle_per_shard: config.pool_idle.div_ceil(context.shards),
            shards: context.shards,
            windows: Arc::clone(&context.windows),
            metrics: context.metrics.upstream(&config.name),
        }
    }

    /// How many idle connections each shard keeps.
    pub fn with_idle(self, pool_idle_per_shard: usize) -> Self {
        Self {
            pool_idle_per_shard,
            ..self
        }
    }

    pub fn endpoint(&self, config: &config::Upstream, connector: Connector) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            connector,
            permits: ConnectionPermits::new(config.max_connections),
            history: ConnectionHistory::default(),
            connect_timeout: config.connect_timeout,
            connecting_per_shard: config.max_connecting.div_ceil(self.shards),
            pool_idle_per_shard: self.pool_idle_per_shard,
            pool_idle_timeout: config.pool_idle_timeout,
            max_connection_age: config.max_connection_age,
            max_header_bytes: config.max_response_header_bytes,
            max_headers: config.max_response_headers,
            body_buffer: config.body_buffer,
            http2: config.http2.clone(),
            windows: Arc::clone(&self.windows),
            ping_interval: PingInterval::new(config.http2.ping_interval),
            connect_protocol_timeout: config.connect_protocol_timeout,
            metrics: self.metrics.clone(),
        })
    }
}
