//! How a snapshot is made from a configuration and the snapshot before it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;

use super::audit;
use super::context::{BuildContext, BuildError, BuildFailure};
use super::listener::{expiry, implied_routes, listener_tls, unwritten_labels};
use super::{
    BuiltCredential, BuiltUpstream, LimitTable, ListenerRules, Passing, RouteTarget, Snapshot, Via,
    credential, upstream,
};
use crate::address::OwnSockets;
use crate::audit::Auditing;
use crate::caller::token::{NetworkEndpoints, TokenCallers, TokenVerifier, VerifierContext};
use crate::caller::{CallerIndex, Callers};
use crate::config::{self, Config, Enforcement};
use crate::egress::EgressPolicy;
use crate::interception::Interceptor;
use crate::metrics::Metrics;
use crate::policy::PermitTable;
use crate::route::{HostIndex, RoutePattern, RouteTable};
use crate::sampling::Sampling;
use crate::supervisor::Supervisor;
use crate::tls::ServerTls;
use crate::token::Clock;
use crate::trace::Tracer;

/// What can fail to be built.
struct BuiltParts {
    credentials: BTreeMap<String, BuiltCredential>,
    /// In the order of their names.
    upstreams: Vec<Arc<BuiltUpstream>>,
    callers: Arc<Callers>,
    /// In the order of the listeners.
    tls: Vec<Option<Arc<ServerTls>>>,
    /// Where decisions are recorded.
    audit: Option<Auditing>,
    /// What takes the spans of traces.
    tracer: Option<Arc<Tracer>>,
    /// What ends the TLS of clients.
    interception: Option<Arc<Interceptor>>,
}

/// Builds the snapshots of one process.
#[derive(Debug)]
pub struct Builder {
    context: BuildContext,
    /// Identifies this process in `Via`.
    instance: String,
    sampling: Arc<Sampling>,
}

impl Builder {
    /// A builder for a process with this many shards.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>, shards: usize) -> Self {
        Self {
            context: BuildContext::new(metrics, clock, shards),
            instance: format!("sidebearer-{:012x}", fastrand::u64(..) >> 16),
            sampling: Arc::default(),
        }
    }

    /// Panics of threads that a snapshot starts are reported there.
    #[must_use]
    pub fn with_supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.context.supervisor = Some(supervisor.clone());
        self
    }

    /// No discovery document may lead to these sockets.
    #[must_use]
    pub fn with_own_sockets(mut self, sockets: Arc<OwnSockets>) -> Self {
        self.context.own_sockets = sockets;
        self
    }

    /// Builds a snapshot, taking over what did not change. New eager credentials start to fetch at
    /// once, on the current runtime.
    pub fn build(&self, config: Config, old: Option<&Snapshot>) -> Result<Snapshot, BuildError> {
        self.context.windows.resize(config.server.window_budget);
        let audit = audit::build(&self.context, &config)?;
        let mut parts = self.parts(&config, old)?;
        parts.interception = interception(&config, old)?;
        parts.audit = audit;
        parts.tracer = self.tracer(&config, old)?;
        Ok(self.assemble(config, parts, old))
    }

    /// Builds a snapshot that only tells what it would do: files are read and none is written. Its credentials fetch as
    /// soon as the current runtime gets to it, which must not be.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn preview(&self, config: Config) -> Result<Snapshot, BuildError> {
        let parts = self.parts(&config, None)?;
        Ok(self.assemble(config, parts, None))
    }

    /// Without what is written to.
    fn parts(&self, config: &Config, old: Option<&Snapshot>) -> Result<BuiltParts, BuildError> {
        let mut credentials = BTreeMap::new();
        let bound = config.certificate_bound_credentials();
        for (name, credential) in &config.credentials {
            let built = credential::build(
                &self.context,
                config,
                credential,
                bound.contains(name.as_str()),
                old,
            )?;
            credentials.insert(name.clone(), built);
        }
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        let callers = caller_indices(config);
        for upstream in config.upstreams.values() {
            let built = upstream::build(&self.context, upstream, &credentials, &callers, old)?;
            upstreams.push(built);
        }
        let tls = listener_tls(config, old)?;
        let known = old.map(|old| &*old.callers);
        let callers = Arc::new(Callers::build(config, known));
        Ok(BuiltParts {
            credentials,
            upstreams,
            callers,
            tls,
            audit: None,
            tracer: None,
            interception: None,
        })
    }

    /// Puts a standby certificate in use once it has a token. A new certificate in the files becomes the standby,
    /// and its token is asked for. Returns `None` if that changes nothing. Other files are not read.
    ///
    /// # Errors
    /// The CA of an upstream whose certificate would change cannot be used.
    pub fn rotate(&self, old: &Snapshot) -> Result<Option<Snapshot>, BuildError> {
        let mut changed = BTreeSet::new();
        let mut credentials = old.credentials.clone();
        for (name, credential) in &mut credentials {
            let config = old.config.credentials.get(name);
            let (Some(config), Some(certificate)) = (config, credential.certificate.clone()) else {
                continue;
            };
            // A reload reports files that cannot be used.
            let Ok(now) =
                credential::reread_certificate(&self.context, config, credential, &certificate)
            else {
                continue;
            };
            if !now
                .sources()
                .map(Arc::as_ptr)
                .eq(credential.sources().map(Arc::as_ptr))
            {
                changed.insert(name.clone());
                *credential = now;
            }
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let callers = caller_indices(&old.config);
        let upstream = |known: &Arc<BuiltUpstream>| {
            let named = known.config.credential_names();
            if named.iter().any(|name| changed.contains(*name)) {
                upstream::build(
                    &self.context,
                    &known.config,
                    &credentials,
                    &callers,
                    Some(old),
                )
            } else {
                Ok(Arc::clone(known))
            }
        };
        let upstreams: Vec<_> = old
            .upstreams
            .iter()
            .map(upstream)
            .collect::<Result<_, _>>()?;
        let config = old.config.clone();
        let tls = old.listeners.iter().map(|listener| listener.tls.clone());
        let parts = BuiltParts {
            credentials,
            upstreams,
            callers: Arc::clone(&old.callers),
            tls: tls.collect(),
            audit: old.audit.clone(),
            tracer: old.tracer.clone(),
            interception: old.interception.clone(),
        };
        Ok(Some(self.assemble(config, parts, Some(old))))
    }

    /// Puts routes and listeners around what was built.
    fn assemble(&self, config: Config, parts: BuiltParts, old: Option<&Snapshot>) -> Snapshot {
        let BuiltParts {
            credentials,
            upstreams,
            callers,
            tls,
            audit,
            tracer,
            interception,
        } = parts;
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
            let target = RouteTarget {
                upstream: *indices.get(route.upstream.as_str())?,
                replace_prefix: route.replace_prefix.clone(),
                route: at,
            };
            Some((pattern, target))
        });
        let egress = EgressPolicy::new(&config);
        let old_passing = old.and_then(|old| old.passing.as_ref());
        let passing = Passing::new(&self.context, &config, &egress, old_passing);
        let caller_tokens = self.caller_tokens(&config, old);
        // Nothing fails from here on. The new limit also applies to credentials that did not change.
        self.context
            .limit_fetches(config.server.max_concurrent_fetches);
        self.begin_metrics(&config, &egress);
        let listeners = config.listeners.iter().zip(tls);
        let listeners: Vec<_> = listeners
            .map(|(listener, tls)| ListenerRules::new(&self.context, listener, &config, tls))
            .collect();
        self.context.metrics.show_expiry(expiry(&listeners));
        let issuers = interception.iter().flat_map(|ca| ca.expiry());
        self.context.metrics.show_issuers(issuers);
        let trail = audit.as_ref().map(|audit| Arc::clone(&audit.trail));
        self.context.audit.set_newest(trail);
        self.context.tracer.store(tracer.clone());
        let cells = config.listeners.len() * (upstreams.len() + 1);
        Snapshot {
            generation: old.map_or(1, |old| old.generation + 1),
            routes: RouteTable::build(patterns),
            routes_by_host: routes_by_host(&config),
            listeners,
            upstreams,
            credentials,
            caller_tokens,
            permits: PermitTable::new(&config, &callers.names),
            callers,
            implied_routes: implied_routes(&config, &indices),
            unwritten_labels: unwritten_labels(&config, &egress),
            passing,
            audit,
            audit_trails: Arc::clone(&self.context.audit),
            tracer,
            interception,
            limits: LimitTable::build(&config, old.map(|old| (&old.config, &old.limits))),
            own_sockets: Arc::clone(&self.context.own_sockets),
            instance: self.instance.clone(),
            clock: Arc::clone(&self.context.clock),
            via: config
                .server
                .via
                .then(|| Via::new(&self.instance))
                .flatten(),
            sampling: Arc::clone(&self.sampling),
            windows: Arc::clone(&self.context.windows),
            traffic: std::iter::repeat_with(OnceLock::new).take(cells).collect(),
            egress_metrics: std::iter::repeat_with(OnceLock::new)
                .take(config.listeners.len() * egress.rules().count())
                .collect(),
            egress,
            metrics: Arc::clone(&self.context.metrics),
            config,
        }
    }

    /// What takes spans: that of `old` where the settings are the same.
    ///
    /// # Errors
    /// A TLS file cannot be used.
    fn tracer(
        &self,
        config: &Config,
        old: Option<&Snapshot>,
    ) -> Result<Option<Arc<Tracer>>, BuildError> {
        let Some(settings) = &config.tracing else {
            return Ok(None);
        };
        let kept = old.and_then(|old| old.tracer.as_ref());
        if let Some(kept) = kept.filter(|kept| kept.is_of(settings)) {
            return Ok(Some(Arc::clone(kept)));
        }
        let own_sockets = Arc::clone(&self.context.own_sockets);
        let metrics = self.context.metrics.spans().clone();
        let started = Tracer::start(settings, &self.instance, own_sockets, metrics);
        started.map(Some).map_err(|error| BuildError {
            table: "[tracing]".to_owned(),
            reason: BuildFailure::Tls(error),
        })
    }

    fn caller_tokens(&self, config: &Config, old: Option<&Snapshot>) -> TokenVerifier {
        let endpoints = NetworkEndpoints {
            proxy: config.egress.proxy.clone(),
            own_sockets: Arc::clone(&self.context.own_sockets),
        };
        let context = VerifierContext {
            clock: Arc::clone(&self.context.clock),
            metrics: &self.context.metrics,
            endpoints: &endpoints,
            proxy: &config.egress.proxy,
        };
        let old = old.map(|old| (&old.caller_tokens, TokenCallers::of(&old.config)));
        TokenVerifier::build(TokenCallers::of(config), old, &context)
    }

    fn begin_metrics(&self, config: &Config, egress: &EgressPolicy) {
        let names: Vec<_> = config.listeners.iter().map(|known| &known.name).collect();
        let leads = |route: &config::Route, listener: &&&String| match &route.listener {
            Some(name) => name == **listener,
            None => true,
        };
        let traffic: HashSet<_, FixedState> = config
            .routes
            .iter()
            .flat_map(|route| {
                let listeners = names.iter().filter(move |name| leads(route, name));
                listeners.map(|name| (name.as_str(), route.upstream.as_str()))
            })
            .chain(config.listeners.iter().flat_map(|listener| {
                let upstreams = config.forwarded_by(listener);
                upstreams.map(|upstream| (listener.name.as_str(), upstream.name.as_str()))
            }))
            .collect();
        self.context.metrics.begin(
            config.credentials.keys(),
            config.upstreams.keys(),
            names.iter().copied(),
            traffic.into_iter(),
        );
        let listeners = config
            .listeners
            .iter()
            .filter(|listener| listener.forward.is_some());
        let listeners = listeners.map(|listener| &listener.name);
        self.context.metrics.begin_egress(listeners, egress.rules());
        let intercepting = config.listeners.iter().filter(|listener| {
            let forward = listener.forward.as_ref();
            forward.is_some_and(|forward| forward.intercept)
        });
        let intercepting = intercepting.map(|listener| &listener.name);
        self.context.metrics.begin_interception(intercepting);
        let reporting = config.listeners.iter();
        let reporting = reporting.filter(|listener| listener.enforcement == Enforcement::Report);
        let reporting = reporting.map(|listener| &listener.name);
        self.context.metrics.begin_reported(reporting);
    }
}

fn caller_indices(config: &Config) -> HashMap<&str, CallerIndex> {
    config.callers.keys().map(String::as_str).zip(0..).collect()
}

fn routes_by_host(config: &Config) -> HostIndex {
    let routes = config.routes.iter().map(|route| {
        let kind = (&route.listener, &route.upstream, &route.callers);
        (&route.host, kind)
    });
    HostIndex::build(routes)
}

/// The CA and what it has signed: that of `old` where neither its settings nor its files have changed.
fn interception(
    config: &Config,
    old: Option<&Snapshot>,
) -> Result<Option<Arc<Interceptor>>, BuildError> {
    let Some(settings) = &config.interception else {
        return Ok(None);
    };
    let old = old.and_then(|old| old.interception.as_ref());
    let opened = Interceptor::open(settings, old).map_err(|error| BuildError {
        table: "[interception]".to_owned(),
        reason: BuildFailure::Interception(error),
    });
    opened.map(Some)
}
