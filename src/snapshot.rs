//! One configuration with everything that was built from it, immutable, swapped as a whole.
//!
//! A new snapshot takes over what its configuration did not change from the one before it: tokens
//! by credential, connections by upstream.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use url::Host;

use crate::config::{self, Config, ListenAddress};
use crate::metrics::{Metrics, TrafficMetrics};
use crate::oauth;
use crate::route::{OwnHosts, RoutePattern, RouteTable};
use crate::token::{Clock, Moment, Policy, Rejections, Source, Token, Unavailable};
use crate::upstream::{self, Connector, Endpoint, TlsError};

/// Token requests at once to one endpoint, from all credentials together.
const FETCHES_PER_ENDPOINT: usize = 32;

/// One configuration, ready to serve.
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1.
    pub generation: u64,
    /// What it was built from.
    pub config: Config,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// In the order of their names.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Which request goes where.
    pub routes: RouteTable<Target>,
    /// By name.
    pub credentials: BTreeMap<String, Credential>,
    /// How the access log names the routes.
    pub route_labels: Vec<String>,
    /// Identifies this process in `Via`.
    pub instance: String,
    /// What tokens live by.
    pub clock: Arc<dyn Clock>,
    /// `Via` of this process, when it is sent.
    pub via: Option<HeaderValue>,
    traffic: Vec<OnceLock<Box<TrafficMetrics>>>,
    metrics: Arc<Metrics>,
}

/// What a listener demands of its requests.
#[derive(Debug)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// The names it is called by; only where web pages could call it by others: on loopback.
    pub own_hosts: Option<OwnHosts>,
    /// Whether pages of other sites may use it.
    pub allow_browsers: bool,
}

/// Where a route leads.
#[derive(Debug)]
pub struct Target {
    /// An index of [`Snapshot::upstreams`].
    pub upstream: usize,
    /// Replaces the matched prefix.
    pub replace_prefix: Option<String>,
    /// An index of [`Snapshot::route_labels`].
    pub route: usize,
}

/// A protected API.
#[derive(Debug)]
pub struct Upstream {
    /// What was configured.
    pub config: config::Upstream,
    /// How it is reached.
    pub endpoint: Arc<Endpoint>,
    /// Which token is put where.
    pub injection: Option<Injection>,
    /// Put before the request's path, without a slash at its end.
    pub base_path: String,
    /// Of the HTTP/2 request.
    pub scheme: Scheme,
    /// The `Host` sent, or `:authority` on HTTP/2.
    pub authority: Authority,
    /// The same as a header.
    pub host: HeaderValue,
    fingerprint: u64,
}

/// How an upstream's token is chosen and written.
#[derive(Debug)]
pub struct Injection {
    /// Where the token comes from.
    pub source: Arc<Source>,
    /// What this upstream said about the tokens it got.
    pub rejections: Rejections,
    /// The header it goes into.
    pub header: HeaderName,
    prefix: Option<String>,
    /// The last value built with `prefix`, and the token it was built from.
    prefixed: ArcSwapOption<(u64, HeaderValue)>,
}

/// A source of tokens.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its tokens.
    pub source: Arc<Source>,
    /// Whether a reload brought it: readiness then waits for it only after its first success.
    pub added_by_reload: bool,
}

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
    gates: Mutex<HashMap<String, Weak<Semaphore>>>,
}

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
            gates: Mutex::default(),
        }
    }

    /// Builds a snapshot, taking over what did not change. New eager credentials start to fetch at
    /// once, on the current runtime.
    pub fn build(&self, config: Config, old: Option<&Snapshot>) -> Result<Snapshot, BuildError> {
        let mut credentials = BTreeMap::new();
        for (name, credential) in &config.credentials {
            let built = self.credential(credential, old)?;
            credentials.insert(name.clone(), built);
        }
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        for upstream in config.upstreams.values() {
            upstreams.push(self.upstream(upstream, &credentials, old)?);
        }
        let indices: HashMap<&str, usize> = config
            .upstreams
            .keys()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        let patterns = config.routes.iter().enumerate().filter_map(|(at, route)| {
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
        let cells = config.listeners.len() * (upstreams.len() + 1);
        Ok(Snapshot {
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
            traffic: std::iter::repeat_with(OnceLock::new).take(cells).collect(),
            metrics: Arc::clone(&self.metrics),
            config,
        })
    }

    fn credential(
        &self,
        config: &config::Credential,
        old: Option<&Snapshot>,
    ) -> Result<Credential, BuildError> {
        if let Some(old) = old
            && old.config.credentials.get(&config.name) == Some(config)
            && let Some(kept) = old.credentials.get(&config.name)
        {
            return Ok(kept.clone());
        }
        let client = oauth::Client::new(config).map_err(|reason| BuildError {
            place: format!("[credentials.{}]", config.name),
            reason,
        })?;
        let source = Source::start(
            &config.name,
            Policy::from(config),
            Arc::new(client),
            self.gate(config),
            Arc::clone(&self.clock),
            self.metrics.credential(&config.name),
        );
        Ok(Credential {
            source,
            added_by_reload: old.is_some(),
        })
    }

    fn upstream(
        &self,
        config: &config::Upstream,
        credentials: &BTreeMap<String, Credential>,
        old: Option<&Snapshot>,
    ) -> Result<Arc<Upstream>, BuildError> {
        let fingerprint = upstream::fingerprint(&config.tls);
        let kept = old
            .and_then(|old| old.upstream(&config.name))
            .filter(|kept| kept.config == *config && kept.fingerprint == fingerprint);
        let source = config
            .credential
            .as_ref()
            .and_then(|name| credentials.get(name));
        let source = source.map(|credential| &credential.source);
        if let Some(kept) = kept
            && match (&kept.injection, source) {
                (Some(injection), Some(source)) => Arc::ptr_eq(&injection.source, source),
                (None, None) => true,
                _ => false,
            }
        {
            return Ok(Arc::clone(kept));
        }
        let endpoint = match kept {
            Some(kept) => Arc::clone(&kept.endpoint),
            None => self.endpoint(config)?,
        };
        let injection = source.map(|source| Injection {
            source: Arc::clone(source),
            rejections: Rejections::new(),
            header: config.header.clone(),
            prefix: config.header_prefix.clone(),
            prefixed: ArcSwapOption::empty(),
        });
        Ok(Arc::new(Upstream::new(
            config.clone(),
            endpoint,
            injection,
            fingerprint,
        )))
    }

    fn endpoint(&self, config: &config::Upstream) -> Result<Arc<Endpoint>, BuildError> {
        let connector =
            Connector::new(&config.url, &config.tls, config.http).map_err(|reason| BuildError {
                place: format!("[upstreams.{}]", config.name),
                reason,
            })?;
        Ok(Arc::new(Endpoint {
            connector,
            connect_timeout: config.connect_timeout,
            pool_idle_per_shard: config.pool_idle.div_ceil(self.shards),
            pool_idle_timeout: config.pool_idle_timeout,
            metrics: self.metrics.upstream(&config.name),
        }))
    }

    fn gate(&self, credential: &config::Credential) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| gate.strong_count() > 0);
        let key = oauth::gate_key(credential);
        if let Some(gate) = gates.get(&key).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(Semaphore::new(FETCHES_PER_ENDPOINT));
        gates.insert(key, Arc::downgrade(&gate));
        gate
    }
}

impl Snapshot {
    /// What one listener sends to one upstream is counted here; `None` where no route matched.
    pub fn traffic(&self, listener: usize, upstream: Option<usize>) -> &TrafficMetrics {
        let column = upstream.map_or(0, |at| at + 1);
        let cell = &self.traffic[listener * (self.upstreams.len() + 1) + column];
        cell.get_or_init(|| {
            let listener = &self.listeners[listener].name;
            let upstream = upstream.map_or("", |at| &self.upstreams[at].config.name);
            Box::new(self.metrics.traffic(listener, upstream))
        })
    }

    /// The index of a listener, if this snapshot still has it.
    pub fn listener(&self, name: &str) -> Option<usize> {
        self.listeners
            .iter()
            .position(|listener| listener.name == name)
    }

    fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        let by_name = |upstream: &Arc<Upstream>| upstream.config.name.as_str().cmp(name);
        let at = self.upstreams.binary_search_by(by_name).ok()?;
        Some(&self.upstreams[at])
    }

    /// The sources that `old` does not have: those a reload waits for.
    pub fn new_sources(&self, old: &Snapshot) -> Vec<Arc<Source>> {
        let known = |source: &Arc<Source>| {
            let kept = old.credentials.get(source.name());
            kept.is_some_and(|kept| Arc::ptr_eq(&kept.source, source))
        };
        let sources = self
            .credentials
            .values()
            .map(|credential| &credential.source);
        sources.filter(|source| !known(source)).cloned().collect()
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
            own_hosts: loopback.then(|| own_hosts(listener, config)),
            allow_browsers: listener.allow_browsers,
        }
    }
}

impl Upstream {
    fn new(
        config: config::Upstream,
        endpoint: Arc<Endpoint>,
        injection: Option<Injection>,
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
            fingerprint,
        }
    }
}

impl Injection {
    /// The token to send now, waiting for one if that can help.
    pub async fn token(&self) -> Result<Arc<Token>, Unavailable> {
        match self.rejections.current(&self.source) {
            Some(token) => Ok(token),
            None => self.rejections.acquire(&self.source).await,
        }
    }

    /// What time it is for a token.
    pub fn now(&self) -> Moment {
        self.source.now()
    }

    /// The header's value: built once for each token.
    pub fn value(&self, token: &Token) -> HeaderValue {
        let Some(prefix) = &self.prefix else {
            return token.authorization().clone();
        };
        let last = self.prefixed.load();
        if let Some((id, value)) = last.as_deref()
            && *id == token.id()
        {
            return value.clone();
        }
        let token_text = token.access_token().expose();
        let text = match prefix.as_str() {
            "" => zeroize::Zeroizing::new(token_text.to_owned()),
            prefix => zeroize::Zeroizing::new(format!("{prefix} {token_text}")),
        };
        let mut value =
            HeaderValue::from_str(&text).unwrap_or_else(|_| token.authorization().clone());
        value.set_sensitive(true);
        self.prefixed
            .store(Some(Arc::new((token.id(), value.clone()))));
        value
    }
}

fn own_hosts(listener: &config::Listener, config: &Config) -> OwnHosts {
    let routes = config.routes.iter().filter(|route| {
        let scope = route.listener.as_ref();
        scope.is_none_or(|name| *name == listener.name)
    });
    let upstreams = routes
        .clone()
        .filter_map(|route| config.upstreams.get(&route.upstream));
    let hosts = upstreams.filter_map(|upstream| upstream.url.host_str());
    let hosts = hosts.chain(listener.hosts.iter().map(String::as_str));
    OwnHosts::new(hosts, routes.clone().map(|route| &route.host))
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

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
