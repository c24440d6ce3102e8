//! How a snapshot is made from a configuration and the snapshot before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::uri::Scheme;
use url::Host;

use super::{BrowserGuard, Credential, Injection, Listener, Snapshot, Target, Upstream};
use crate::address::OwnSockets;
use crate::config::{self, AuthorizationServer, Config, ListenAddress};
use crate::dpop::LastNonce;
use crate::http2::{Budget, PingInterval};
use crate::limit::ConcurrencyLimit;
use crate::metrics::Metrics;
use crate::oauth;
use crate::redact::Redactor;
use crate::route::{AllowedAddresses, AllowedHosts, RoutePattern, RouteTable};
use crate::sampling::Sampling;
use crate::server_clock::ServerClock;
use crate::token::{Clock, FreshTokenRejections, TokenRejections};
use crate::upstream::{
    self, ClientCertificate, ConnectionHistory, ConnectionPermits, Connector, Endpoint, TlsError,
};

/// What snapshots are built with.
#[derive(Debug)]
pub struct Builder {
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// What tokens live by.
    pub clock: Arc<dyn Clock>,
    /// How many shards share an upstream's idle connections.
    pub shards: usize,
    /// Identifies this process in `Via`.
    pub instance: String,
    sampling: Arc<Sampling>,
    /// Where no discovery document may lead.
    pub own_sockets: Arc<OwnSockets>,
    windows: Arc<Budget>,
    gates: Shared<ConcurrencyLimit>,
    redactors: Shared<Redactor>,
    nonces: Shared<LastNonce>,
    server_nonces: Shared<LastNonce>,
    clocks: Shared<ServerClock>,
    server_clocks: Shared<ServerClock>,
}

/// What everything that names the same server, or the same credential, shares, for as long as something does.
#[derive(Debug)]
struct Shared<T>(Mutex<HashMap<String, Weak<T>>>);

/// Why a valid configuration could not be built: a file changed after it was checked.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct BuildError {
    /// Which table of the configuration.
    pub place: String,
    /// What is wrong with its TLS files.
    pub reason: TlsError,
}

impl Builder {
    /// A builder for a process with this many shards.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>, shards: usize) -> Self {
        Self {
            metrics,
            clock,
            shards,
            instance: format!("sidebearer-{:012x}", fastrand::u64(..) >> 16),
            sampling: Arc::default(),
            own_sockets: Arc::default(),
            windows: Budget::new(0),
            gates: Shared::default(),
            redactors: Shared::default(),
            nonces: Shared::default(),
            server_nonces: Shared::default(),
            clocks: Shared::default(),
            server_clocks: Shared::default(),
        }
    }

    /// Builds a snapshot, taking over what did not change. New eager credentials start to fetch at
    /// once, on the current runtime.
    pub fn build(&self, config: Config, old: Option<&Snapshot>) -> Result<Snapshot, BuildError> {
        self.windows.resize(config.server.window_budget);
        let mut credentials = BTreeMap::new();
        let bound = config.certificate_bound_credentials();
        for (name, credential) in &config.credentials {
            let built = self.credential(credential, bound.contains(name.as_str()), old)?;
            credentials.insert(name.clone(), built);
        }
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        for upstream in config.upstreams.values() {
            upstreams.push(self.upstream(upstream, &credentials, old)?);
        }
        Ok(self.assemble(config, credentials, upstreams, old))
    }

    /// Puts routes and listeners around what was built; `upstreams` in the order of their names.
    pub(super) fn assemble(
        &self,
        config: Config,
        credentials: BTreeMap<String, Credential>,
        upstreams: Vec<Arc<Upstream>>,
        old: Option<&Snapshot>,
    ) -> Snapshot {
        let names = config.upstreams.keys().map(String::as_str);
        let indices: HashMap<&str, u32> = names.zip(0..).collect();
        let patterns = config.routes.iter().zip(0..).filter_map(|(route, at)| {
            let listener = match &route.listener {
                Some(name) => Some(
                    config
                        .listeners
                        .iter()
                        .position(|known| known.name == *name)?,
                ),
                None => None,
            };
            let pattern = RoutePattern {
                listener,
                host: &route.host,
                path: &route.path,
                methods: &route.methods,
            };
            let target = Target {
                upstream: *indices.get(route.upstream.as_str())?,
                replace_prefix: route.replace_prefix.clone(),
                route: at,
            };
            Some((pattern, target))
        });
        // Nothing fails from here on. What did not change is held to the new number too.
        let fetches = config.server.max_concurrent_fetches;
        self.gates.each(|gate| gate.set(fetches));
        self.begin_metrics(&config);
        let cells = config.listeners.len() * (upstreams.len() + 1);
        Snapshot {
            generation: old.map_or(1, |old| old.generation + 1),
            routes: RouteTable::build(patterns),
            listeners: config
                .listeners
                .iter()
                .map(|listener| Listener::new(listener, &config))
                .collect(),
            upstreams,
            credentials,
            route_labels: config.routes.iter().map(label).collect(),
            instance: self.instance.clone(),
            clock: Arc::clone(&self.clock),
            via: via(&config, &self.instance),
            sampling: Arc::clone(&self.sampling),
            windows: Arc::clone(&self.windows),
            traffic: std::iter::repeat_with(OnceLock::new).take(cells).collect(),
            metrics: Arc::clone(&self.metrics),
            config,
        }
    }

    fn begin_metrics(&self, config: &Config) {
        let names: Vec<_> = config.listeners.iter().map(|known| &known.name).collect();
        let leads = |route: &config::Route, listener: &&&String| match &route.listener {
            Some(name) => name == **listener,
            None => true,
        };
        let traffic: BTreeSet<_> = config
            .routes
            .iter()
            .flat_map(|route| {
                let listeners = names.iter().filter(move |name| leads(route, name));
                listeners.map(|name| (*name, &route.upstream))
            })
            .collect();
        self.metrics.begin(
            config.credentials.keys(),
            config.upstreams.keys(),
            names.iter().copied(),
            traffic.into_iter(),
        );
    }

    pub(super) fn upstream(
        &self,
        config: &config::Upstream,
        credentials: &BTreeMap<String, Credential>,
        old: Option<&Snapshot>,
    ) -> Result<Arc<Upstream>, BuildError> {
        let fingerprint = upstream::fingerprint(&config.tls);
        let credential = config
            .credential
            .as_ref()
            .and_then(|name| credentials.get(name));
        let identity = credential
            .filter(|_| config.certificate_bound)
            .and_then(|credential| credential.identity.clone());
        let presented = identity.as_ref().map(Arc::as_ptr);
        let kept = old
            .and_then(|old| old.upstream(&config.name))
            .filter(|kept| kept.config == *config && kept.fingerprint == fingerprint)
            .filter(|kept| kept.identity.as_ref().map(Arc::as_ptr) == presented);
        if let Some(kept) = kept
            && match (&kept.injection, credential) {
                (Some(injection), Some(credential)) => {
                    Arc::ptr_eq(&injection.source, &credential.source)
                        && injection.max_nonce_bytes == credential.max_nonce_bytes
                }
                (None, None) => true,
                _ => false,
            }
        {
            return Ok(Arc::clone(kept));
        }
        let endpoint = match kept {
            Some(kept) => Arc::clone(&kept.endpoint),
            None => self.endpoint(config, identity.as_deref())?,
        };
        // A token from before a reload goes only where tokens of this credential went before.
        let known = old.and_then(|old| old.upstream(&config.name));
        let may_inherit = known.is_some_and(|known| {
            known.config.sends_token_as(config)
                && known.identity.as_ref().map(Arc::as_ptr) == presented
                && known
                    .injection
                    .as_ref()
                    .is_some_and(Injection::sends_what_it_holds)
        });
        let same_api = known.filter(|known| known.config.sends_token_as(config));
        let fresh = same_api.and_then(|known| known.injection.as_ref());
        let fresh = fresh.map(|injection| Arc::clone(&injection.fresh));
        let injection = credential.map(|credential| Injection {
            fresh: fresh.unwrap_or_else(|| {
                let name = credential.source.name();
                Arc::new(FreshTokenRejections::new(&config.name, name))
            }),
            source: Arc::clone(&credential.source),
            rejections: match may_inherit {
                true => TokenRejections::new(),
                false => TokenRejections::of_own_tokens(),
            },
            header: config.header.clone(),
            prefix: config.header_prefix.clone(),
            prefixed: ArcSwapOption::empty(),
            redactor: self.redactor(credential.source.name()),
            nonce: self.nonce(config),
            clock: self.clocks.of(place(config), ServerClock::default),
            max_nonce_bytes: credential.max_nonce_bytes,
        });
        Ok(Arc::new(Upstream::new(
            config.clone(),
            endpoint,
            injection,
            identity,
            fingerprint,
        )))
    }

    fn endpoint(
        &self,
        config: &config::Upstream,
        identity: Option<&ClientCertificate>,
    ) -> Result<Arc<Endpoint>, BuildError> {
        let connector =
            Connector::with_certificate(identity, &config.url, &config.tls, config.http);
        let connector = connector.map_err(|reason| BuildError {
            place: format!("[upstreams.{}]", config.name),
            reason,
        })?;
        let mut connector = connector.with_dialing(config.dialing.clone());
        if let Some(credential) = &config.credential {
            connector = connector.with_redactor(self.redactor(credential));
        }
        Ok(Arc::new(Endpoint {
            connector,
            permits: ConnectionPermits::new(config.max_connections),
            history: ConnectionHistory::default(),
            connect_timeout: config.connect_timeout,
            connecting_per_shard: config.max_connecting.div_ceil(self.shards),
            pool_idle_per_shard: config.pool_idle.div_ceil(self.shards),
            pool_idle_timeout: config.pool_idle_timeout,
            max_connection_age: config.max_connection_age,
            max_header_bytes: config.max_response_header_bytes,
            max_headers: config.max_response_headers,
            body_buffer: config.body_buffer,
            http2: config.http2.clone(),
            windows: Arc::clone(&self.windows),
            ping_interval: PingInterval::new(config.http2.ping_interval),
            connect_protocol_timeout: config.connect_protocol_timeout,
            metrics: self.metrics.upstream(&config.name),
        }))
    }

    /// Shared by all that show text of servers which the secrets or tokens of a credential reach.
    pub(super) fn redactor(&self, credential: &str) -> Arc<Redactor> {
        self.redactors.of(credential.to_owned(), Redactor::default)
    }

    /// Shared by all that ask one endpoint; opened when the snapshot is assembled.
    pub(super) fn gate(&self, credential: &config::Credential) -> Arc<ConcurrencyLimit> {
        self.gates
            .of(oauth::endpoint_key(credential), ConcurrencyLimit::default)
    }

    /// The authorization server's, shared by all that ask it.
    pub(super) fn nonce_of_server(&self, credential: &config::Credential) -> Arc<LastNonce> {
        self.server_nonces
            .of(origin_of_server(credential), LastNonce::default)
    }

    /// The authorization server's, shared by all that ask it.
    pub(super) fn clock_of_server(&self, credential: &config::Credential) -> Arc<ServerClock> {
        self.server_clocks
            .of(origin_of_server(credential), ServerClock::default)
    }

    /// What one server says counts for all that it is sent; by its name and where it is, since one
    /// host may be several servers.
    fn nonce(&self, upstream: &config::Upstream) -> Arc<LastNonce> {
        self.nonces.of(place(upstream), LastNonce::default)
    }
}

fn place(upstream: &config::Upstream) -> String {
    let origin = upstream.url.origin().ascii_serialization();
    let host = upstream.host.as_deref().unwrap_or_default();
    format!("{origin} {host}")
}

fn origin_of_server(credential: &config::Credential) -> String {
    let (AuthorizationServer::Issuer(_, url) | AuthorizationServer::TokenEndpoint(url)) =
        &credential.server;
    url.origin().ascii_serialization()
}

impl<T> Shared<T> {
    fn each(&self, tell: impl Fn(&T)) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .filter_map(Weak::upgrade)
            .for_each(|shared| tell(&shared));
    }

    fn of(&self, name: String, make: impl FnOnce() -> T) -> Arc<T> {
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

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Listener {
    fn new(listener: &config::Listener, config: &Config) -> Self {
        let loopback = match &listener.address {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix { .. } => false,
        };
        Self {
            name: listener.name.clone(),
            browser_guard: loopback.then(|| BrowserGuard {
                allowed_hosts: allowed_hosts(listener, config),
                allow_browsers: listener.allow_browsers,
                allow_origins: listener.allow_origins.clone(),
                refuse_unmarked: true,
            }),
        }
    }
}

impl Upstream {
    fn new(
        config: config::Upstream,
        endpoint: Arc<Endpoint>,
        injection: Option<Injection>,
        identity: Option<Arc<ClientCertificate>>,
        fingerprint: u64,
    ) -> Self {
        let authority = match &config.host {
            Some(host) => host.clone(),
            None => host_and_port(&config.url),
        };
        const CHECKED: &str = "validation accepts only hosts that are valid authorities";
        Self {
            base_path: config.url.path().trim_end_matches('/').to_owned(),
            scheme: match config.url.scheme() {
                "https" => Scheme::HTTPS,
                _ => Scheme::HTTP,
            },
            host: HeaderValue::from_str(&authority).expect(CHECKED),
            authority: authority.parse().expect(CHECKED),
            config,
            endpoint,
            injection,
            identity,
            fingerprint,
        }
    }
}

fn allowed_hosts(listener: &config::Listener, config: &Config) -> AllowedHosts {
    let routes = config.routes.iter().filter(|route| {
        let scope = route.listener.as_ref();
        scope.is_none_or(|name| *name == listener.name)
    });
    let upstreams = routes
        .clone()
        .filter_map(|route| config.upstreams.get(&route.upstream));
    let hosts = upstreams.filter_map(|upstream| upstream.url.host_str());
    let hosts = hosts.chain(listener.hosts.iter().map(String::as_str));
    AllowedHosts::new(
        AllowedAddresses::Loopback,
        hosts,
        routes.clone().map(|route| &route.host),
    )
}

fn host_and_port(url: &url::Url) -> String {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => format!("[{ip}]"),
        None => String::new(),
    };
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

fn label(route: &config::Route) -> String {
    let host = match &route.host {
        config::HostPattern::Any => "*".to_owned(),
        config::HostPattern::Wildcard(rest) => format!("*.{rest}"),
        config::HostPattern::Exact(host) => host.clone(),
    };
    format!("{host}{}", route.path)
}

fn via(config: &Config, instance: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(&format!("1.1 {instance}"));
    config.server.via.then(|| value.ok()).flatten()
}
