//! What listeners demand, and where they lead.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use url::Position;

use super::context::{BuildContext, BuildError};
use super::{BrowserGuard, ListenerRules, Snapshot};
use crate::config::{self, Config, Enforcement, ListenAddress};
use crate::egress::EgressPolicy;
use crate::metrics::ListenerExpiry;
use crate::route::{AllowedAddresses, AllowedHosts, ImpliedRoute, ImpliedRoutes};
use crate::tls::ServerTls;
use crate::upstream::TlsError;

/// The TLS of each listener, in their order: that of `old` where neither its settings nor its files have changed.
///
/// # Errors
/// A file cannot be used.
pub(super) fn listener_tls(
    config: &Config,
    old: Option<&Snapshot>,
) -> Result<Vec<Option<Arc<ServerTls>>>, BuildError> {
    let tls_of = |listener: &config::Listener| {
        let Some(settings) = &listener.tls else {
            return Ok(None);
        };
        let kept = old.and_then(|old| old.listeners[old.listener(&listener.name)?].tls.as_ref());
        if let Some(kept) = kept.filter(|kept| kept.is_of(settings)) {
            return Ok(Some(Arc::clone(kept)));
        }
        let read = ServerTls::read(settings).map_err(|error| BuildError {
            table: format!("listener \"{}\", tls", listener.name),
            reason: TlsError::from(error).into(),
        });
        read.map(|tls| Some(Arc::new(tls)))
    };
    config.listeners.iter().map(tls_of).collect()
}

/// What the files of listeners hold, for the metrics.
pub(super) fn expiry(listeners: &[ListenerRules]) -> impl Iterator<Item = ListenerExpiry<'_>> {
    listeners.iter().filter_map(|listener| {
        let tls = listener.tls.as_ref()?;
        let certificates = tls.certificates.iter();
        Some(ListenerExpiry {
            listener: &listener.name,
            certificates: certificates
                .map(|certificate| (&*certificate.file, certificate.not_after))
                .collect(),
            next_crl_update: tls.next_crl_update(),
        })
    })
}

impl ListenerRules {
    pub(super) fn new(
        context: &BuildContext,
        listener: &config::Listener,
        config: &Config,
        tls: Option<Arc<ServerTls>>,
    ) -> Self {
        Self {
            name: listener.name.clone(),
            is_forward: listener.forward.is_some(),
            intercepts: listener.forward.as_ref().is_some_and(|to| to.intercept),
            browser_guard: browser_guard(listener, config),
            tls,
            handshakes: context.handshake_limit(listener),
            caller_header: listener.caller_header.clone(),
            challenges: challenges(listener, config),
            only_reports: listener.enforcement == Enforcement::Report,
        }
    }
}

/// The challenges for what the callers of a listener are known by, as far as it can come there. Certificates and users have no scheme of HTTP,
/// and a challenge there must be (RFC 9110 section 15.5.2): theirs only tells a reader what is wanted.
fn challenges(listener: &config::Listener, config: &Config) -> Arc<[HeaderValue]> {
    let callers = config.callers.values();
    let callers: Vec<_> = callers
        .filter(|caller| listener.callers.has(&caller.name))
        .collect();
    let any = |means: fn(&config::Caller) -> bool| callers.iter().any(|caller| means(caller));
    let mut challenges = Vec::new();
    let secrets = any(|it| it.key.is_some() || it.token.is_some() || it.service_account.is_some());
    if secrets && [AUTHORIZATION, PROXY_AUTHORIZATION].contains(&listener.caller_header) {
        // Some clients know the first one alone.
        challenges.push(HeaderValue::from_static(
            "Basic realm=\"sidebearer\", charset=\"UTF-8\"",
        ));
        challenges.push(HeaderValue::from_static("Bearer realm=\"sidebearer\""));
    } else if secrets {
        let key = format!(
            "Key realm=\"sidebearer\", header=\"{}\"",
            listener.caller_header
        );
        challenges.extend(HeaderValue::from_str(&key));
    }
    let verifies_clients = (listener.tls.as_ref()).is_some_and(|tls| tls.client_ca_file.is_some());
    if verifies_clients && any(|it| it.spiffe_id.is_some() || it.certificate_name.is_some()) {
        challenges.push(HeaderValue::from_static("Certificate realm=\"sidebearer\""));
    }
    let knows_users = matches!(listener.address, ListenAddress::Unix { .. });
    if knows_users && any(|it| it.user.is_some()) || challenges.is_empty() {
        challenges.push(HeaderValue::from_static("User realm=\"sidebearer\""));
    }
    challenges.into()
}

/// Where forward listeners lead to by the own names of the upstreams, whose `indices` are given.
pub(super) fn implied_routes(config: &Config, indices: &HashMap<&str, u32>) -> ImpliedRoutes {
    let listeners = config.listeners.iter().enumerate();
    ImpliedRoutes::build(listeners.flat_map(|(at, listener)| {
        let upstreams = config.forwarded_by(listener);
        upstreams.flat_map(move |upstream| {
            upstream
                .destinations()
                .map(move |destination| ImpliedRoute {
                    listener: at,
                    destination,
                    path: upstream.base_path(),
                    upstream: indices[upstream.name.as_str()],
                })
        })
    }))
}

fn browser_guard(listener: &config::Listener, config: &Config) -> Option<BrowserGuard> {
    let on_network = listener.address.is_on_network();
    let guard = || BrowserGuard {
        allowed_hosts: allowed_hosts(listener, config),
        allow_browsers: listener.allow_browsers,
        allow_origins: listener.allow_origins.clone(),
        // There names are usual, and a service may relay the headers of its own users.
        refuse_unmarked: !on_network,
        guards_only_tokens: on_network || listener.forward.is_some(),
    };
    (!listener.address.is_unix()).then(guard)
}

fn allowed_hosts(listener: &config::Listener, config: &Config) -> AllowedHosts {
    let on_network = listener.address.is_on_network();
    if listener.forward.is_some() || on_network && listener.hosts.is_empty() {
        // A name that another host may have leads to nowhere but to an upstream. By which names the network asks is
        // not known here.
        return AllowedHosts::new(AllowedAddresses::Loopback, ["*"], []);
    }
    let addresses = if on_network {
        AllowedAddresses::All
    } else {
        AllowedAddresses::Loopback
    };
    let routes = config.routes.iter().filter(|route| {
        let scope = route.listener.as_ref();
        scope.is_none_or(|name| *name == listener.name)
    });
    let upstreams = routes
        .clone()
        .filter_map(|route| config.upstreams.get(route.upstream.as_str()));
    let hosts: Vec<_> = upstreams.map(config::Upstream::own_host).collect();
    let hosts = hosts.iter().map(AsRef::as_ref);
    let hosts = hosts.chain(listener.hosts.iter().map(String::as_str));
    AllowedHosts::new(addresses, hosts, routes.clone().map(|route| &route.host))
}

/// What the routes are called that the own names of upstreams imply, one for each upstream, and behind them the rules
/// about what may leave.
pub(super) fn unwritten_labels(config: &Config, egress: &EgressPolicy) -> Vec<String> {
    let implied = config.upstreams.values().map(|upstream| {
        let host = &upstream.url[Position::BeforeHost..Position::AfterPort];
        format!("{host}{}", upstream.base_path())
    });
    let rules = egress.rules().map(str::to_owned);
    implied.chain(rules).collect()
}
