//! What `/readyz` and `/status` say.

mod listeners;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use url::Position;

use crate::build_info;
use crate::config::{self, AuthorizationServer, Diagnostics, EgressPorts, Limits, Refresh};
use crate::interception::Interceptor;
use crate::metrics::RequestCounts;
use crate::policy::LimitState;
use crate::route::RouteLabel;
use crate::snapshot::{BuiltCredential, Snapshot};

/// How the last reload ended.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// Why it was refused; `None` when it was not.
    pub refused: Option<Diagnostics>,
    /// What should be looked at in the configuration that serves.
    pub warnings: Diagnostics,
    /// Since when that serves.
    pub loaded_at: SystemTime,
    /// The last one that was refused, also when a good one has followed.
    pub last_refused: Option<RefusedReload>,
}

/// A configuration that was refused.
#[derive(Debug, Clone)]
pub struct RefusedReload {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub diagnostics: Diagnostics,
}

impl Reload {
    /// Of a process that has just loaded its first configuration.
    pub fn first(warnings: Diagnostics) -> Self {
        let now = SystemTime::now();
        Self {
            at: now,
            refused: None,
            warnings,
            loaded_at: now,
            last_refused: None,
        }
    }

    /// A configuration was put in place, about which this should be looked at.
    pub fn succeed(&mut self, warnings: Diagnostics) {
        self.at = SystemTime::now();
        self.refused = None;
        self.warnings = warnings;
        self.loaded_at = self.at;
    }

    /// A configuration was refused.
    pub fn refuse(&mut self, diagnostics: Diagnostics) {
        self.at = SystemTime::now();
        self.refused = Some(diagnostics.clone());
        self.last_refused = Some(RefusedReload {
            at: self.at,
            diagnostics,
        });
    }

    fn shown(&self) -> Value {
        let refused = self.last_refused.as_ref();
        json!({
            "at": unix(self.at),
            "outcome": if self.refused.is_some() { "failure" } else { "success" },
            "diagnostics": self.refused.as_ref().cloned().unwrap_or_default(),
            "warnings": self.warnings,
            "last_refused": refused.map(|refused| json!({
                "at": unix(refused.at),
                "text": refused.diagnostics.to_string(),
            })),
        })
    }
}

/// What `/status` is made from.
pub(super) struct Process<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) reload: Reload,
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// Of clients.
    pub(super) connections: usize,
    /// How many are open, by listener and upstream.
    pub(super) tunnels: Vec<(String, String, i64)>,
    /// What has been counted of requests.
    pub(super) requests: RequestCounts,
    pub(super) started_at: SystemTime,
}

/// The credentials that readiness waits for.
pub(super) fn required_credentials(snapshot: &Snapshot) -> impl Iterator<Item = &BuiltCredential> {
    let configs = &snapshot.config.credentials;
    let credentials = snapshot.credentials.iter();
    credentials
        .filter(|(name, _)| configs.get(*name).is_some_and(|config| config.required))
        .map(|(_, credential)| credential)
}

/// Whether every credential that readiness waits for can be used.
pub(super) fn credentials_ready(snapshot: &Snapshot) -> bool {
    required_credentials(snapshot).all(counts_as_ready)
}

/// Why it is not so: a sentence for each credential.
pub(super) fn obstacles(snapshot: &Snapshot) -> Vec<String> {
    let unready = required_credentials(snapshot).filter(|credential| !counts_as_ready(credential));
    let sentences = unready.map(|credential| {
        let status = credential.source.status();
        let reason = status.last_error.map_or_else(
            || "its token endpoint has not answered yet".to_owned(),
            |error| error.message,
        );
        let name = credential.source.name();
        match &*status.withheld_from {
            [] => format!("credential {name:?} has no token: {reason}"),
            upstreams => format!(
                "credential {name:?} has no token for {}: {reason}",
                upstreams.join(", ")
            ),
        }
    });
    sentences.collect()
}

/// One that a reload brought does not make a ready process unready: it counts after its first
/// success.
fn counts_as_ready(credential: &BuiltCredential) -> bool {
    let waited_for =
        !credential.added_by_reload || credential.source.status().last_success.is_some();
    !waited_for || credential.source.is_ready()
}

/// What `/readyz` says; `ready` is what has just been found.
pub(super) fn readiness(snapshot: &Snapshot, ready: bool, draining: bool) -> Value {
    let credentials: Map<String, Value> = snapshot
        .credentials
        .iter()
        .map(|(name, credential)| {
            let status = credential.source.status();
            let required = snapshot.config.credentials.get(name).is_some_and(|config| config.required);
            let shown = json!({
                "ready": counts_as_ready(credential),
                "required": required,
                "state": status.state,
                "error": status.last_error.filter(|_| !credential.source.is_ready()).map(|error| error.message),
            });
            (name.clone(), shown)
        })
        .collect();
    json!({
        "ready": ready,
        "draining": draining,
        "listeners": listeners::configured(snapshot),
        "credentials": credentials,
    })
}

/// What `/status` says.
pub(super) fn full(process: &Process<'_>) -> Value {
    let Process {
        snapshot, reload, ..
    } = process;
    let credentials: Map<String, Value> = snapshot
        .credentials
        .iter()
        .map(|(name, credential)| {
            let config = snapshot.config.credentials.get(name);
            (name.clone(), credential_status(credential, config))
        })
        .collect();
    let upstreams: Map<String, Value> = snapshot
        .upstreams
        .iter()
        .map(|upstream| {
            let config = &upstream.config;
            let counts = process.requests.upstreams.get(&config.name);
            let mut shown = json!(counts.cloned().unwrap_or_default());
            shown["url"] = json!(config.url.as_str());
            shown["credential"] = json!(config.credential);
            let rejected: HashMap<_, _> = upstream
                .injections()
                .map(|injection| (injection.source.name(), injection.fresh.rejected()))
                .collect();
            let rejected = |name: &str| rejected.get(name).and_then(Option::as_ref);
            if config.credentials.is_empty() {
                let credential = config.credential.as_deref();
                shown["fresh_tokens_rejected"] = json!(credential.and_then(rejected));
            } else {
                let of = |name: &String| json!({ "credential": name, "fresh_tokens_rejected": rejected(name) });
                let of_callers = config.credentials.iter();
                let of_callers = of_callers.map(|(caller, name)| (caller.clone(), of(name)));
                shown["credentials"] = of_callers.collect::<Map<_, _>>().into();
            }
            (config.name.clone(), shown)
        })
        .collect();
    let routes: Vec<Value> = snapshot
        .config
        .routes
        .iter()
        .enumerate()
        .map(|(at, route)| {
            let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
            let mut shown = json!({
                "match": RouteLabel::from(route),
                "methods": methods,
                "listener": route.listener.as_deref(),
                "upstream": route.upstream.as_str(),
                "replace_prefix": route.replace_prefix.as_deref(),
            });
            show_limits(&mut shown, snapshot.limits.route(at));
            shown
        })
        .collect();
    let mut shown = json!({
        "version": build_info::VERSION,
        "commit": build_info::COMMIT,
        "ready": process.ready,
        "draining": process.draining,
        "time": unix(SystemTime::now()),
        "started_at": unix(process.started_at),
        "snapshot": { "generation": snapshot.generation, "loaded_at": unix(reload.loaded_at) },
        "reload": reload.shown(),
        "connections": process.connections,
        "tunnels": tunnels(&process.tunnels),
        "listeners": listeners::with_counts(snapshot, &process.requests),
        "callers": callers(process),
        "routes": routes,
        "upstreams": upstreams,
        "egress": egress(&snapshot.config.egress),
        "credentials": credentials,
        "caller_tokens": snapshot.caller_tokens.status(),
    });
    if let Some(ca) = &snapshot.interception {
        shown["interception"] = interception(ca);
    }
    if let Some(audit) = snapshot.audit_trails.status() {
        shown["audit"] = json!(audit);
    }
    shown
}

/// The callers by their names alone: by what they are known is nobody else's business.
fn callers(process: &Process<'_>) -> Map<String, Value> {
    let names = process.snapshot.config.callers.keys().enumerate();
    let shown = names.map(|(at, name)| {
        let counts = process.requests.callers.get(name);
        let mut shown = json!(counts.cloned().unwrap_or_default());
        show_limits(&mut shown, process.snapshot.limits.caller(at));
        (name.clone(), shown)
    });
    shown.collect()
}

/// How much one caller or one route may ask for, and what of it is used now.
fn show_limits(shown: &mut Value, state: Option<&Arc<LimitState>>) {
    let Some(state) = state else { return };
    let Limits {
        requests_per_second,
        burst,
        concurrent,
        tunnels,
    } = *state.limits();
    let all = [
        ("requests_per_second", requests_per_second),
        ("burst", burst),
        ("concurrent", concurrent),
        ("tunnels", tunnels),
    ];
    let limits = all.into_iter();
    let limits = limits.filter_map(|(key, limit)| Some((key.to_owned(), json!(limit?))));
    shown["limits"] = limits.collect::<Map<_, _>>().into();
    shown["in_use"] = json!(state.in_use());
}

/// What may leave that no route leads to.
fn egress(egress: &config::Egress) -> Value {
    let prefixes =
        |prefixes: &[IpNet]| -> Vec<String> { prefixes.iter().map(ToString::to_string).collect() };
    let rule = |rule: &config::EgressRule| {
        let hosts: Vec<_> = rule.hosts.iter().map(ToString::to_string).collect();
        json!({
            "hosts": hosts,
            "listeners": rule.listeners,
            "callers": rule.callers.names(),
            "action": rule.action.word(),
        })
    };
    let ports = match &egress.ports {
        EgressPorts::Any => json!("any"),
        EgressPorts::Only(ports) => json!(ports),
    };
    json!({
        "addresses": egress.addresses.word(),
        "allow": prefixes(&egress.allow),
        "deny": prefixes(&egress.deny),
        "ports": ports,
        "rules": egress.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

/// For a credential whose tokens are bound to a certificate also the thumbprint of that, and of the one that
/// is to take its place.
fn credential_status(credential: &BuiltCredential, config: Option<&config::Credential>) -> Value {
    let mut shown = json!(credential.source.status());
    if let Some(config) = config {
        shown["required"] = json!(config.required);
        shown["refresh"] = json!(match config.refresh {
            Refresh::Eager => "eager",
            Refresh::Lazy => "lazy",
        });
        shown["server"] = json!(match &config.server {
            AuthorizationServer::Issuer(issuer, _) => issuer,
            // Its query may hold a secret.
            AuthorizationServer::TokenEndpoint(endpoint) => &endpoint[..Position::AfterPath],
        });
    }
    if let Some(certificate) = &credential.certificate {
        shown["certificate"] = json!(certificate.thumbprint());
    }
    if let Some(next) = &credential.next {
        shown["rotation"] = json!(next.source.status());
        shown["rotation"]["certificate"] = json!(next.certificate.thumbprint());
    }
    shown
}

/// What may be signed for, the roots that clients are given, by the SHA-256 of each, and what ends when, as Unix times.
fn interception(ca: &Interceptor) -> Value {
    let certificate = |(file, ends): (PathBuf, Duration)| json!({ "file": file.display().to_string(), "expires": ends.as_secs() });
    let settings = ca.settings();
    json!({
        "domains": settings.domains,
        "trust_directory": settings.trust_directory.display().to_string(),
        "certificates": ca.expiry().map(certificate).collect::<Vec<_>>(),
        "roots_sha256": ca.published().iter().map(|root| fingerprint(root)).collect::<Vec<_>>(),
    })
}

/// As other tools show it, without colons.
fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest(&SHA256, certificate);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// Those that are open, by listener, then by upstream.
fn tunnels(open: &[(String, String, i64)]) -> Map<String, Value> {
    let mut shown = Map::new();
    for (listener, upstream, open) in open.iter().filter(|(_, _, open)| *open > 0) {
        let by_upstream = shown.entry(listener).or_insert_with(|| json!({}));
        by_upstream[upstream] = json!(open);
    }
    shown
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
