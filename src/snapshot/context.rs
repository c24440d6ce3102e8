//! What all snapshots of one process are built with, and share.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::address::OwnSockets;
use crate::audit::AuditTrails;
use crate::config::{self, AuthorizationServer};
use crate::dpop::LastNonce;
use crate::http2::Budget;
use crate::interception::InterceptionError;
use crate::limit::{ConcurrencyLimit, FairLimit};
use crate::metrics::Metrics;
use crate::oauth;
use crate::redact::Redactor;
use crate::server_clock::ServerClock;
use crate::supervisor::Supervisor;
use crate::token::Clock;
use crate::trace::TracerSlot;
use crate::upstream::TlsError;

/// What the parts of a snapshot are built with.
#[derive(Debug)]
pub struct BuildContext {
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// What tokens live by.
    pub clock: Arc<dyn Clock>,
    /// How many shards share an upstream's idle connections.
    pub shards: usize,
    /// Where no discovery document may lead.
    pub own_sockets: Arc<OwnSockets>,
    /// Windows of HTTP/2 for all connections.
    pub windows: Arc<Budget>,
    fetch_limits: SharedByKey<ConcurrencyLimit>,
    handshake_limits: SharedByKey<FairLimit>,
    redactors: SharedByKey<Redactor>,
    api_nonces: SharedByKey<LastNonce>,
    api_clocks: SharedByKey<ServerClock>,
    authorization_server_nonces: SharedByKey<LastNonce>,
    authorization_server_clocks: SharedByKey<ServerClock>,
    /// Told of panics of the thread that writes the audit.
    pub supervisor: Option<Supervisor>,
    /// Where the records of all snapshots go, and those of what belongs to none.
    pub audit: Arc<AuditTrails>,
    /// Where it is traced.
    pub tracer: TracerSlot,
}

/// One value for each key, shared by all that name it and dropped with the last of them.
#[derive(Debug)]
struct SharedByKey<T>(Mutex<HashMap<String, Weak<T>>>);

/// Why a valid configuration could not be built: a file changed after it was checked.
#[derive(Debug, thiserror::Error)]
#[error("{table}: {reason}")]
pub struct BuildError {
    /// Which table of the configuration.
    pub table: String,
    /// What is wrong with its files.
    pub reason: BuildFailure,
}

/// What is wrong with the files of a table.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The CA, or what clients need to trust it.
    #[error(transparent)]
    Interception(#[from] InterceptionError),
    /// The file of the audit.
    #[error("{} cannot be written: {error}", file.display())]
    Audit {
        /// Its name.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl BuildContext {
    /// What a process with this many shards builds with.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>, shards: usize) -> Self {
        Self {
            metrics,
            clock,
            shards,
            own_sockets: Arc::default(),
            windows: Budget::new(0),
            fetch_limits: SharedByKey::default(),
            handshake_limits: SharedByKey::default(),
            redactors: SharedByKey::default(),
            api_nonces: SharedByKey::default(),
            api_clocks: SharedByKey::default(),
            authorization_server_nonces: SharedByKey::default(),
            authorization_server_clocks: SharedByKey::default(),
            supervisor: None,
            audit: Arc::default(),
            tracer: TracerSlot::default(),
        }
    }

    /// Sets how many requests for tokens each token endpoint gets at a time.
    pub fn limit_fetches(&self, most: usize) {
        self.fetch_limits.for_each(|limit| limit.set(most));
    }

    /// Shared by all that show text of servers which the secrets or tokens of a credential reach.
    pub fn redactor(&self, credential: &str) -> Arc<Redactor> {
        self.redactors.get(credential.to_owned(), Redactor::default)
    }

    /// Shared by all that ask one token endpoint; open once [`limit_fetches`](Self::limit_fetches) was
    /// called.
    pub fn fetch_limit(&self, credential: &config::Credential) -> Arc<ConcurrencyLimit> {
        self.fetch_limits
            .get(oauth::endpoint_key(credential), ConcurrencyLimit::default)
    }

    /// How many TLS handshakes a listener takes at once, whatever snapshot each began with.
    pub fn handshake_limit(&self, listener: &config::Listener) -> Arc<FairLimit> {
        let limit = self
            .handshake_limits
            .get(listener.name.clone(), FairLimit::default);
        limit.set(listener.max_handshakes);
        limit
    }

    /// The nonce that an authorization server wants in proofs, shared by all that ask it.
    pub fn authorization_server_nonce(&self, credential: &config::Credential) -> Arc<LastNonce> {
        self.authorization_server_nonces
            .get(authorization_server_origin(credential), LastNonce::default)
    }

    /// What is known of the clock of an authorization server, shared by all that ask it.
    pub fn authorization_server_clock(&self, credential: &config::Credential) -> Arc<ServerClock> {
        self.authorization_server_clocks.get(
            authorization_server_origin(credential),
            ServerClock::default,
        )
    }

    /// The nonce that an API wants in proofs with the tokens of one credential, shared by all upstreams that reach it.
    pub fn api_nonce(&self, upstream: &config::Upstream, credential: &str) -> Arc<LastNonce> {
        let key = format!("{} {credential}", api_key(upstream));
        self.api_nonces.get(key, LastNonce::default)
    }

    /// What is known of the clock of an API, shared by all upstreams that reach it.
    pub fn api_clock(&self, upstream: &config::Upstream) -> Arc<ServerClock> {
        self.api_clocks.get(api_key(upstream), ServerClock::default)
    }
}

/// One origin may be several servers, which are told apart by the `Host` they are sent.
fn api_key(upstream: &config::Upstream) -> String {
    let origin = upstream.url.origin().ascii_serialization();
    let host = upstream.host.as_deref().unwrap_or_default();
    format!("{origin} {host}")
}

fn authorization_server_origin(credential: &config::Credential) -> String {
    let (AuthorizationServer::Issuer(_, url) | AuthorizationServer::TokenEndpoint(url)) =
        &credential.server;
    url.origin().ascii_serialization()
}

impl<T> SharedByKey<T> {
    fn for_each(&self, act: impl Fn(&T)) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .filter_map(Weak::upgrade)
            .for_each(|shared| act(&shared));
    }

    fn get(&self, name: String, make: impl FnOnce() -> T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = known.get(&name).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(make());
        known.insert(name, Arc::downgrade(&shared));
        shared
    }
}

impl<T> Default for SharedByKey<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
