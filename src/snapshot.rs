//! One configuration with everything that was built from it, immutable, swapped as a whole.
//!
//! A new snapshot takes over what its configuration did not change from the one before it: tokens
//! by credential, connections by upstream.

mod audit;
mod build;
mod context;
mod credential;
mod endpoints;
mod injection;
mod limits;
mod listener;
mod passing;
mod succession;
mod token_echoes;
mod upstream;
mod via;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue};

use crate::address::OwnSockets;
use crate::audit::{AuditTrails, Auditing};
use crate::caller::Callers;
use crate::caller::token::TokenVerifier;
use crate::config::{self, Config};
use crate::dpop::ProofKey;
use crate::egress::{AddressRules, EgressPolicy, Reach};
use crate::http2::Budget;
use crate::interception::Interceptor;
use crate::limit::FairLimit;
use crate::metrics::{EgressMetrics, Metrics, TrafficMetrics};
use crate::oauth;
use crate::policy::PermitTable;
use crate::route::{AllowedHosts, HostIndex, ImpliedRoutes, RouteLabel, RouteTable};
use crate::sampling::Sampling;
use crate::tls::ServerTls;
use crate::token::{Clock, TokenSource};
use crate::trace::Tracer;
use crate::upstream::{ClientCertificate, Endpoint, OriginConnectors, ReadyProxy, TlsError};
use endpoints::EndpointContext;
use injection::Injections;
use succession::Succession;

pub use build::Builder;
pub use context::{BuildError, BuildFailure};
pub use injection::{Injection, NoCredential};
pub use limits::LimitTable;
pub use passing::{PassingError, PassingWay, origin, origin_at};
pub use token_echoes::TokenEchoes;
pub use via::Via;

/// One configuration, ready to serve.
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1.
    pub generation: u64,
    /// What it was built from.
    pub config: Config,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerRules>,
    /// In the order of their names.
    pub upstreams: Vec<Arc<BuiltUpstream>>,
    /// Which request goes where.
    pub routes: RouteTable<RouteTarget>,
    /// The routes that were written by their hosts alone; those are alike that lead to the same upstream for the same
    /// callers.
    pub routes_by_host: HostIndex,
    /// Where forward listeners lead to by the own names of upstreams.
    pub implied_routes: ImpliedRoutes,
    /// Who may be calling.
    pub callers: Arc<Callers>,
    /// Who may use what.
    pub permits: PermitTable,
    /// What may leave that no route leads to.
    pub egress: EgressPolicy,
    /// How it leaves; `None` if nothing does.
    pub passing: Option<Passing>,
    /// What ends the TLS of clients; `None` without `[interception]`.
    pub interception: Option<Arc<Interceptor>>,
    /// How much callers and routes may ask for.
    pub limits: LimitTable,
    /// Where decisions are recorded; `None` where they are not.
    pub audit: Option<Auditing>,
    /// Those of all snapshots.
    pub audit_trails: Arc<AuditTrails>,
    /// What takes the spans of traces; `None` where nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// By name.
    pub credentials: BTreeMap<String, BuiltCredential>,
    /// Tells callers by their tokens.
    pub caller_tokens: TokenVerifier,
    /// Identifies this process in `Via`.
    pub instance: String,
    /// What tokens live by.
    pub clock: Arc<dyn Clock>,
    /// `Via` of this process, when it is sent.
    pub via: Option<Via>,
    /// The TCP sockets that this process listens on.
    pub own_sockets: Arc<OwnSockets>,
    /// Which lines about failed requests are left out.
    pub sampling: Arc<Sampling>,
    /// Windows of HTTP/2, beyond those that every stream has, in all of the process.
    pub windows: Arc<Budget>,
    /// Of the routes that the own names of upstreams imply, and then of the rules about what may leave.
    unwritten_labels: Vec<String>,
    traffic: Vec<OnceLock<Box<TrafficMetrics>>>,
    egress_metrics: Vec<OnceLock<Box<EgressMetrics>>>,
    metrics: Arc<Metrics>,
}

/// What a listener demands of its requests.
#[derive(Debug)]
pub struct ListenerRules {
    /// Unique.
    pub name: String,
    /// Whether its requests name where they go by an absolute URL.
    pub is_forward: bool,
    /// Whether the TLS of clients is ended inside of a CONNECT to what a route leads to.
    pub intercepts: bool,
    /// Who may use it; `None` on a unix socket, which no browser reaches.
    pub browser_guard: Option<BrowserGuard>,
    /// What it presents to clients, and demands of them; `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// How many handshakes there may be at once; a reload keeps those that are under way in mind.
    pub handshakes: Arc<FairLimit>,
    /// The header that keys and tokens of callers come in.
    pub caller_header: HeaderName,
    /// How callers can show who they are, as challenges (RFC 9110 section 11.3).
    pub challenges: Arc<[HeaderValue]>,
    /// What lists of callers would refuse is served, and told.
    pub only_reports: bool,
}

/// Who, of those that can reach a socket, may use it: programs, and few web pages.
#[derive(Debug)]
pub struct BrowserGuard {
    /// The names that the socket is called by.
    pub allowed_hosts: AllowedHosts,
    /// Whether pages of other sites may use it.
    pub allow_browsers: bool,
    /// The origins whose pages may, as browsers spell them.
    pub allow_origins: Vec<String>,
    /// Whether a browser is refused that asks by name and does not say which page it asks for.
    pub refuse_unmarked: bool,
    /// Whether pages are only refused where a request leads to a token.
    pub guards_only_tokens: bool,
}

impl ListenerRules {
    /// The scheme that requests come in, by a listener that is no proxy.
    pub fn scheme(&self) -> config::Scheme {
        match self.tls {
            Some(_) => config::Scheme::Https,
            None => config::Scheme::Http,
        }
    }
}

/// Where a route leads. Narrow numbers: with a short prefix that leads to it, it fills one line of the
/// cache.
#[derive(Debug)]
pub struct RouteTarget {
    /// An index of [`Snapshot::upstreams`].
    pub upstream: u32,
    /// Replaces the matched prefix.
    pub replace_prefix: Option<CompactString>,
    /// What [`Snapshot::route_label`] takes.
    pub route: u32,
}

/// A protected API.
#[derive(Debug)]
pub struct BuiltUpstream {
    /// What was configured.
    pub config: config::Upstream,
    /// How it is reached.
    pub endpoint: Arc<Endpoint>,
    /// Which token is put into its requests, and for whom.
    injections: Injections,
    /// Told when the token comes back; `None` where it may, or where there is none.
    pub echoes: Option<Arc<TokenEchoes>>,
    /// Put before the request's path, without a slash at its end.
    pub base_path: String,
    /// Of the HTTP/2 request.
    pub scheme: Scheme,
    /// The `Host` sent, or `:authority` on HTTP/2.
    pub authority: Authority,
    /// The same as a header.
    pub host: HeaderValue,
    /// What its connections present, if it is bound to its credential.
    certificate: Option<Arc<ClientCertificate>>,
    fingerprint: u64,
}

/// Makes upstreams of origins that nobody configured: without a token, with the defaults of all settings, and
/// with addresses that are judged on every connection.
#[derive(Debug)]
pub struct Passing {
    settings: config::Upstream,
    connectors: Arc<OriginConnectors>,
    addresses: Arc<AddressRules>,
    endpoints: EndpointContext,
    /// Those that `rules` lead to.
    proxies: Vec<PassingProxy>,
    /// Of the CA certificates that `connectors` trust.
    roots: u64,
    /// What it was made from, as far as it decides what passes.
    rules: config::Egress,
    listeners: Vec<(String, Reach, Option<config::EgressAction>)>,
}

/// A proxy by which something passes, and what its files held.
#[derive(Debug)]
struct PassingProxy {
    config: config::EgressProxy,
    fingerprint: u64,
    ready: Result<Arc<ReadyProxy>, TlsError>,
}

/// A source of tokens.
#[derive(Debug, Clone)]
pub struct BuiltCredential {
    /// Its tokens.
    pub source: Arc<TokenSource>,
    /// The key that this process made for it; it stays when the credential changes.
    proof_key: Option<Arc<ProofKey>>,
    /// Bytes of the largest nonce that proofs repeat.
    max_nonce_bytes: usize,
    /// What they are bound to and bound upstreams present; none if no upstream is bound to it.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The certificate that takes its place as soon as a token bound to it is there.
    pub next: Option<StandbyCertificate>,
    /// Whether a reload added it, in the place of no other: readiness then waits for it only after its first success.
    pub added_by_reload: bool,
    /// How a token was asked for that the source has from one before it; none if it has none.
    succession: Option<Succession>,
    /// With which the source goes on, since a reload changed its times and limits.
    reconfigured: Option<Arc<oauth::Client>>,
}

/// A certificate that is not in use yet, and the source that asks for a token bound to it.
#[derive(Debug, Clone)]
pub struct StandbyCertificate {
    /// Its tokens.
    pub source: Arc<TokenSource>,
    /// What they are bound to.
    pub certificate: Arc<ClientCertificate>,
}

impl Snapshot {
    /// Whether series with this label of metrics are of something that the configuration has. Those of other labels are.
    pub fn has_series(&self, label: &str, value: &str) -> bool {
        let config = &self.config;
        match label {
            "listener" => self.listener(value).is_some(),
            "upstream" => value.is_empty() || config.upstreams.contains_key(value),
            "credential" => config.credentials.contains_key(value),
            "caller" => value.is_empty() || config.callers.contains_key(value),
            "issuer" => self.caller_tokens.has_issuer(value),
            "rule" => self.egress.rules().any(|rule| rule == value),
            _ => true,
        }
    }

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

    /// A list of callers of this listener would have refused a request, which is served.
    pub fn count_reported(&self, listener: &str, caller: &str) {
        self.metrics.count_reported(listener, caller);
    }

    /// What a rule about what may leave decides for one listener is counted here.
    pub fn egress_metrics(&self, listener: usize, rule: usize) -> &EgressMetrics {
        let rules = self.egress_metrics.len() / self.listeners.len();
        self.egress_metrics[listener * rules + rule].get_or_init(|| {
            let label = self.rule_label(rule);
            Box::new(self.metrics.egress(&self.listeners[listener].name, label))
        })
    }

    /// A TLS handshake inside of a CONNECT to this listener has ended.
    pub fn count_interception(&self, listener: usize, outcome: &'static str) {
        let listener = &self.listeners[listener].name;
        self.metrics.count_interception(listener, outcome);
        if outcome != "success"
            && let Some(audit) = &self.audit
        {
            audit.trail.count_refused(listener, outcome);
        }
    }

    /// A TLS handshake with a client of this listener has ended.
    pub fn count_handshake(&self, listener: usize, outcome: &'static str) {
        let listener = &self.listeners[listener].name;
        self.metrics.count_handshake(listener, outcome);
        if outcome != "success"
            && let Some(audit) = &self.audit
        {
            audit.trail.count_refused(listener, outcome);
        }
    }

    /// What a route is called: first come those of the configuration, then those that the own names of upstreams imply,
    /// and then the rules about what may leave.
    pub fn route_label(&self, route: usize) -> RouteLabel<'_> {
        let routes = &self.config.routes;
        match routes.get(route) {
            Some(written) => written.into(),
            None => RouteLabel::Named(&self.unwritten_labels[route - routes.len()]),
        }
    }

    /// The number for [`Snapshot::route_label`] of the route that the own names of an upstream imply.
    pub fn implied_route(&self, upstream: u32) -> u32 {
        upstream + self.config.routes.len() as u32
    }

    fn rule_label(&self, rule: usize) -> &str {
        &self.unwritten_labels[self.upstreams.len() + rule]
    }

    /// The same of a rule about what may leave.
    pub fn egress_route(&self, rule: usize) -> usize {
        self.config.routes.len() + self.upstreams.len() + rule
    }

    /// The index of a listener, if this snapshot still has it.
    pub fn listener(&self, name: &str) -> Option<usize> {
        self.listeners
            .iter()
            .position(|listener| listener.name == name)
    }

    fn upstream(&self, name: &str) -> Option<&Arc<BuiltUpstream>> {
        Some(&self.upstreams[self.upstream_index(name)?])
    }

    /// The index of the upstream with this name.
    pub fn upstream_index(&self, name: &str) -> Option<usize> {
        let by_name = |upstream: &Arc<BuiltUpstream>| upstream.config.name.as_str().cmp(name);
        self.upstreams.binary_search_by(by_name).ok()
    }

    /// The sources that `other` does not have, those that stand by included.
    pub fn sources_not_in(&self, other: &Snapshot) -> Vec<Arc<TokenSource>> {
        let sources = self.sources().filter(|source| !other.has(source));
        sources.cloned().collect()
    }

    /// The sources that `other` has too.
    pub fn sources_also_in(&self, other: &Snapshot) -> impl Iterator<Item = &Arc<TokenSource>> {
        self.sources().filter(|source| other.has(source))
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<TokenSource>> {
        self.credentials.values().flat_map(BuiltCredential::sources)
    }

    fn has(&self, source: &Arc<TokenSource>) -> bool {
        let kept = self.credentials.get(source.name());
        kept.is_some_and(|kept| kept.sources().any(|kept| Arc::ptr_eq(kept, source)))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
