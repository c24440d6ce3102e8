//! The origins that clients name and no route leads to, as upstreams.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::Scheme;
use url::{Host, Url};

use super::context::BuildContext;
use super::endpoints::EndpointContext;
use super::injection::Injections;
use super::{BuiltUpstream, Passing, PassingProxy};
use crate::config::{self, Config, HttpVersion};
use crate::egress::{AddressRules, EgressPolicy, Reach};
use crate::upstream::{
    self, AddressCheck, Connector, ForbiddenAddress, Origin, OriginConnectors, ReadyProxy, TlsError,
};

/// Idle connections that each shard keeps to one origin.
const IDLE_PER_ORIGIN: usize = 4;

/// How requests pass to an origin. Those that pass in different ways share no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassingWay {
    /// Who can reach the listener that they come by.
    pub reach: Reach,
    /// What is spoken with the origin.
    pub http: HttpVersion,
}

/// Why there is no upstream for an origin.
#[derive(Debug, thiserror::Error)]
pub enum PassingError {
    /// It has no URL.
    #[error("{0:?} is not a host that has a URL")]
    Host(String),
    /// Its TLS settings cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Judges addresses for the requests of some listeners.
#[derive(Debug)]
struct EgressCheck {
    rules: Arc<AddressRules>,
    reach: Reach,
}

impl AddressCheck for EgressCheck {
    fn judge(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let judged = self.rules.judge(address.ip(), self.reach);
        judged.map_err(|refusal| ForbiddenAddress {
            reason: refusal.to_string(),
            rule: refusal.rule(),
        })
    }

    fn rule_for_none(&self) -> Option<&'static str> {
        self.rules.rule_for_none()
    }
}

impl Passing {
    /// For what passes by `config`, if anything does. Takes over from `old` what was read of files that have not
    /// changed.
    pub(super) fn new(
        context: &BuildContext,
        config: &Config,
        policy: &EgressPolicy,
        old: Option<&Self>,
    ) -> Option<Self> {
        if !policy.passes_any() {
            return None;
        }
        let settings = config::Upstream::unconfigured();
        let roots = upstream::fingerprint(&settings.url, &settings.tls, None);
        let proxies = config.egress.proxy.proxies();
        let proxies = proxies.map(|proxy| PassingProxy {
            fingerprint: upstream::fingerprint(&settings.url, &settings.tls, Some(proxy)),
            ready: ReadyProxy::new(proxy).map(Arc::new),
            config: proxy.clone(),
        });
        let kept = old.filter(|old| old.roots == roots);
        let connectors = kept.map(|kept| Arc::clone(&kept.connectors));
        let connectors = connectors
            .unwrap_or_else(|| Arc::new(OriginConnectors::new(Arc::clone(&context.own_sockets))));
        let listeners = config.listeners.iter().enumerate().map(|(at, listener)| {
            let unmatched = listener.forward.as_ref();
            let unmatched = unmatched.map(|forward| forward.unmatched);
            (listener.name.clone(), policy.reach(at), unmatched)
        });
        Some(Self {
            endpoints: EndpointContext::new(context, &settings).with_idle(IDLE_PER_ORIGIN),
            proxies: proxies.collect(),
            settings,
            connectors,
            addresses: Arc::clone(&policy.addresses),
            roots,
            rules: config.egress.clone(),
            listeners: listeners.collect(),
        })
    }

    /// Whether the same passes by both, and in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let fingerprints = |of: &Self| -> Vec<u64> {
            let proxies = of.proxies.iter();
            proxies.map(|proxy| proxy.fingerprint).collect()
        };
        self.roots == other.roots
            && self.rules == other.rules
            && self.listeners == other.listeners
            && fingerprints(self) == fingerprints(other)
    }

    /// A connector for a host and port, by which requests pass in this way.
    ///
    /// # Errors
    /// TLS is needed and cannot be set up.
    pub fn connector(
        &self,
        origin: &Origin,
        url: &Url,
        PassingWay { reach, http }: PassingWay,
    ) -> Result<Connector, TlsError> {
        let check = EgressCheck {
            rules: Arc::clone(&self.addresses),
            reach,
        };
        let proxy = self.rules.proxy.proxy_for(url);
        // What is redirected was on its way to that very address.
        let proxy = match proxy.filter(|_| reach != Reach::Redirected) {
            Some(config) => {
                let mut known = self.proxies.iter();
                let known = known.find(|known| known.config == *config);
                Some(known.ok_or(TlsError::Url)?.ready.clone()?)
            }
            None => None,
        };
        let connector = self
            .connectors
            .connector(origin, http, Arc::new(check), proxy)?;
        Ok(connector.with_dialing(self.settings.dialing.clone()))
    }

    /// The upstream that an origin is, by which requests pass in this way.
    ///
    /// # Errors
    /// The origin has no URL, or TLS is needed and cannot be set up.
    pub fn upstream(
        &self,
        origin: &Origin,
        way: PassingWay,
    ) -> Result<Arc<BuiltUpstream>, PassingError> {
        let Origin { scheme, host, port } = origin;
        let written = format!("{scheme}://{host}:{port}/");
        let url = Url::parse(&written).ok();
        let url = url.filter(|url| url.host().is_some_and(|parsed| parsed == *host));
        let url = url.ok_or_else(|| PassingError::Host(host.to_string()))?;
        let connector = self.connector(origin, &url, way)?;
        let config = config::Upstream {
            url,
            http: way.http,
            ..self.settings.clone()
        };
        let endpoint = self.endpoints.endpoint(&config, connector);
        Ok(Arc::new(BuiltUpstream::new(
            config,
            endpoint,
            Injections::default(),
            None,
            0,
        )))
    }
}

/// The origin that a client names, whose host is in its canonical form.
pub fn origin(scheme: config::Scheme, host: &str, port: u16) -> Origin {
    let bare = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let host = match bare {
        Some(ip) => ip.parse().map(Host::Ipv6).ok(),
        None => host.parse().map(Host::Ipv4).ok(),
    }
    .unwrap_or_else(|| Host::Domain(host.to_owned()));
    let scheme = match scheme {
        config::Scheme::Http => Scheme::HTTP,
        config::Scheme::Https => Scheme::HTTPS,
    };
    Origin { scheme, host, port }
}

/// The origin at this address, without TLS of ours.
pub fn origin_at(address: SocketAddr) -> Origin {
    let host = match address.ip().to_canonical() {
        IpAddr::V4(ip) => Host::Ipv4(ip),
        IpAddr::V6(ip) => Host::Ipv6(ip),
    };
    Origin {
        scheme: Scheme::HTTP,
        host,
        port: address.port(),
    }
}
