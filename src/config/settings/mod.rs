//! What a valid configuration consists of.

mod audit;
pub(super) mod caller;
mod credential;
mod dialing;
mod egress;
mod egress_proxy;
pub(super) mod file;
pub(super) mod forward;
mod general;
mod interception;
mod kubernetes;
mod limits;
pub(super) mod listener;
mod no_proxy;
mod retry_pauses;
mod route;
mod secret;
pub(super) mod spiffe;
mod tls;
mod tracing;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

pub use audit::{Audit, AuditFile, AuditOverflow};
pub use caller::{
    Caller, CallerList, CallerToken, EVERY_CALLER, IssuerKeys, ServiceAccount, TokenIssuer,
};
pub use credential::{
    AssertionAudience, AssertionForm, AuthorizationServer, BasicEncoding, ClientAuth, Credential,
    Dpop, Grant, Refresh, SecurityToken,
};
pub use dialing::{Dialing, KeepAlive};
pub use egress::{
    Egress, EgressAction, EgressAddresses, EgressPorts, EgressRule, RedirectedEgress,
};
pub use egress_proxy::{
    EgressProxy, EnvironmentProxies, ProxyAuthorization, ProxyChoice, ProxyScheme,
};
pub use file::NamedFile;
pub use forward::{Forwarding, HostPort, Redirection, Scheme};
pub use general::{AccessLog, Http2, Log, LogFormat, OperatorListener, Server};
pub use interception::Interception;
pub use kubernetes::Kubernetes;
pub use limits::Limits;
pub use listener::{
    CertificateFiles, ClientCertificates, Enforcement, ListenAddress, Listener, ListenerTls,
};
pub use no_proxy::NoProxy;
pub use retry_pauses::RetryPauses;
pub use route::{HostPattern, Route};
pub use secret::{Secret, SecretError, SecretSource};
pub use spiffe::SpiffePattern;
pub use tls::Tls;
pub use tracing::{Propagators, Sampler, Tracing};
pub use upstream::{HttpVersion, Redact, Upstream};

/// One whole, valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Process-wide settings.
    pub server: Server,
    /// Logging.
    pub log: Log,
    /// The admin socket; `None` for a program that `exec` has started.
    pub admin: Option<OperatorListener>,
    /// The optional second socket with health and metrics only.
    pub health: Option<OperatorListener>,
    /// Where the service's requests arrive; names are unique.
    pub listeners: Vec<Listener>,
    /// The protected APIs, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Every route, the listeners' `upstream` shorthands included.
    pub routes: Vec<Route>,
    /// The OAuth client registrations, by name.
    pub credentials: BTreeMap<String, Credential>,
    /// What may leave that no route leads to.
    pub egress: Egress,
    /// The CA that ends the TLS of clients; `None` without.
    pub interception: Option<Interception>,
    /// Who may use listeners, by name.
    pub callers: BTreeMap<String, Caller>,
    /// The record of every decision; `None` without.
    pub audit: Option<Audit>,
    /// Traces, and where they are sent; `None` without.
    pub tracing: Option<Tracing>,
    /// How tokens of service accounts are checked; there if some caller has one.
    pub kubernetes: Option<Kubernetes>,
    /// The environment variables that its files name for secrets, also in parts that are not used.
    pub secret_variables: BTreeSet<String>,
}

impl Config {
    /// Where the configuration is when nothing else is said.
    pub fn default_path() -> &'static std::path::Path {
        std::path::Path::new("/etc/sidebearer/sidebearer.toml")
    }

    /// Every credential whose token an upstream may be sent.
    pub fn credentials_of(&self, upstream: &Upstream) -> impl Iterator<Item = &Credential> {
        let names = upstream.credential_names().into_iter();
        names.filter_map(|name| self.credentials.get(name))
    }

    /// The upstreams that a listener leads to by their own names; none for a reverse listener.
    pub fn forwarded_by(&self, listener: &Listener) -> impl Iterator<Item = &Upstream> {
        let forward = listener.forward.as_ref();
        let named = forward.map_or(&[][..], |forward| &forward.upstreams);
        let upstreams = self.upstreams.values();
        upstreams.filter(move |upstream| forward::leads_to(named, &upstream.name))
    }

    /// Every TCP address that it binds, as it was written.
    pub fn tcp_sockets(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.listeners.iter();
        let listeners = listeners.flat_map(Listener::addresses);
        let listeners = listeners.filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix { .. } => None,
        });
        let pages = self.admin.iter().chain(&self.health);
        listeners.chain(pages.map(|page| page.address))
    }

    /// The credentials whose certificate some upstream presents.
    pub fn certificate_bound_credentials(&self) -> BTreeSet<&str> {
        let bound = self
            .upstreams
            .values()
            .filter(|upstream| upstream.certificate_bound);
        bound.flat_map(Upstream::credential_names).collect()
    }

    /// The upstreams that get tokens of this credential.
    pub fn upstreams_of(&self, credential: &str) -> impl Iterator<Item = &Upstream> {
        let upstreams = self.upstreams.values();
        upstreams.filter(move |upstream| upstream.credential_names().contains(credential))
    }

    /// The files the configuration names (secrets, keys, certificates, CAs), for watching.
    pub fn named_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self
            .egress
            .proxy
            .proxies()
            .flat_map(EgressProxy::files)
            .collect();
        for credential in self.credentials.values() {
            files.extend(credential.secrets().filter_map(SecretSource::file));
            files.extend(credential.tls.files());
            files.extend(credential.proxy.proxies().flat_map(EgressProxy::files));
        }
        for upstream in self.upstreams.values() {
            files.extend(upstream.tls.files());
            files.extend(upstream.proxy.proxies().flat_map(EgressProxy::files));
        }
        let tls = self.listeners.iter().flat_map(|listener| &listener.tls);
        files.extend(tls.flat_map(ListenerTls::files));
        files.extend(self.callers.values().flat_map(Caller::files));
        files.extend(self.kubernetes.iter().flat_map(Kubernetes::files));
        files.extend(self.tracing.iter().flat_map(Tracing::files));
        files.sort_unstable();
        files.dedup();
        let files = files.into_iter().map(|file| file.path().to_owned());
        let of_ca = self.interception.iter().flat_map(Interception::files);
        files.chain(of_ca).collect()
    }
}
