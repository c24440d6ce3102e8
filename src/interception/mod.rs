//! Interceptor: what ends the TLS of clients with certificates of our own CA, and what clients need to trust it.
//!
//! Which connections are intercepted is decided elsewhere; here is what is presented on them.

mod error;
mod leaves;
#[cfg(test)]
mod tests;
pub mod trust;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;

use crate::ca::{
    self, CHAIN_FILE, CertifiedName, Chain, HeldIssuer, Issuer, IssuerError, KEY_FILE,
    KeyDirectory, NEXT_CHAIN_FILE, OtherRoots, PREVIOUS_FILE,
};
use crate::config;
use crate::files;
use crate::tls::certificates_of;
use crate::upstream::system_certificates;
use leaves::{KnownLeaf, Leaves};

pub use crate::ca::LeafError;
pub use error::InterceptionError;

/// One CA of ours and the certificates that it has signed; shared by all shards.
pub struct Interceptor {
    settings: config::Interception,
    issuer: Issuer,
    /// What is to sign after it.
    next: Option<Chain>,
    /// The roots that clients are given: that of the issuer, of the next one, and of those before.
    published: Vec<CertificateDer<'static>>,
    /// What every connection has alike.
    template: Arc<ServerConfig>,
    leaves: Leaves,
    fingerprint: u64,
}

/// What the API was seen to speak: the client is offered the same, so that an app that spoke HTTP/1.1 goes on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirroredAlpn {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2, and HTTP/1.1 for clients that do not speak it.
    Http2AndHttp1,
}

impl Interceptor {
    /// Reads or makes the CA in the key directory, and writes the trust directory. Where neither settings nor files have
    /// changed it is `old`. Blocks: where snapshots are built.
    ///
    /// # Errors
    /// One of the files cannot be used or made.
    pub fn open(
        settings: &config::Interception,
        old: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, InterceptionError> {
        let (held, issuer) = read_or_create(settings)?;
        let fingerprint = fingerprint(settings, &held, &issuer);
        let others = match &settings.roots_file {
            Some(file) => certificates_of(file)?,
            None => system_certificates(),
        };
        let opened = match old {
            Some(old) if old.fingerprint == fingerprint => Arc::clone(old),
            _ => Arc::new(Self::new(settings, &held, &issuer, fingerprint)?),
        };
        let (directory, own) = (settings.trust_directory.clone(), opened.published.clone());
        let written = files::run_within_timeout(&settings.trust_directory, move || {
            trust::write(&directory, &own, &others)
        });
        let directory = || settings.trust_directory.clone();
        written.map_err(|error| InterceptionError::Trust {
            directory: directory(),
            error,
        })?;
        Ok(opened)
    }

    /// Makes the CA where none is. What fails is told by [`open`](Self::open). Blocks.
    pub fn make_issuer(settings: &config::Interception) {
        let _ = read_or_create(settings);
    }

    fn new(
        settings: &config::Interception,
        held: &OtherRoots,
        issuer: &HeldIssuer,
        fingerprint: u64,
    ) -> Result<Self, InterceptionError> {
        let now = SystemTime::now();
        let directory = KeyDirectory::new(&settings.key_directory);
        let wrong = |name: &str, error: IssuerError| {
            let path = directory.file(name);
            InterceptionError::Issuer { path, error }
        };
        let issuer = Issuer::read(&issuer.chain, &issuer.key, now);
        let issuer = issuer.map_err(|error| match error {
            IssuerError::Key(_) => wrong(KEY_FILE, error),
            error => wrong(CHAIN_FILE, error),
        })?;
        let checked = issuer.check_domains(&settings.domains, now);
        checked.map_err(|error| wrong(CHAIN_FILE, error))?;
        let next = held.next.as_deref().map(|next| {
            let next = Chain::read(next, now)?;
            next.check_successor(&settings.domains, Some(issuer.chain()))?;
            Ok(next)
        });
        let next = next
            .transpose()
            .map_err(|error| wrong(NEXT_CHAIN_FILE, error))?;
        let previous = match &held.previous {
            Some(previous) => ca::certificates(previous)
                .map_err(|what| wrong(PREVIOUS_FILE, IssuerError::Chain(what)))?,
            None => Vec::new(),
        };
        let roots = [issuer.chain()].into_iter().chain(&next);
        let mut published: Vec<_> = roots.map(|chain| chain.root().clone()).collect();
        for root in previous {
            if !published.contains(&root) {
                published.push(root);
            }
        }
        Ok(Self {
            settings: settings.clone(),
            issuer,
            next,
            published,
            template: template(),
            leaves: Leaves::default(),
            fingerprint,
        })
    }

    /// Whether the CA may sign for this host, which is in lower case, without trailing dot, IPv6 in brackets.
    pub fn covers(&self, host: &str) -> bool {
        self.settings.covers(host)
    }

    /// What it was made from.
    pub fn settings(&self) -> &config::Interception {
        &self.settings
    }

    /// The files of the issuer and of the next one, and when each ends, since the Unix epoch.
    pub fn expiry(&self) -> impl Iterator<Item = (PathBuf, Duration)> {
        let directory = KeyDirectory::new(&self.settings.key_directory);
        let next = self.next.iter().map(|chain| (NEXT_CHAIN_FILE, chain));
        let chains = [(CHAIN_FILE, self.issuer.chain())].into_iter().chain(next);
        chains.map(move |(name, chain)| (directory.file(name), chain.not_after()))
    }

    /// The roots that clients are given.
    pub fn published(&self) -> &[CertificateDer<'static>] {
        &self.published
    }

    /// TLS for one host and exactly these protocols. Its certificate is kept, and renewed in time. `host` is as
    /// [`covers`](Self::covers) takes it. No lock is held while signing.
    ///
    /// # Errors
    /// The CA may not sign for it, no certificate can be for it, or the issuer has ended.
    pub fn server_config(
        &self,
        host: &str,
        alpn: MirroredAlpn,
    ) -> Result<Arc<ServerConfig>, LeafError> {
        let leaf = self.leaf(host, SystemTime::now())?;
        Ok(match alpn {
            MirroredAlpn::Http1 => leaf.http1,
            MirroredAlpn::Http2AndHttp1 => leaf.http2,
        })
    }

    /// The certificate for a host: one that is kept, or a new one.
    fn leaf(&self, host: &str, now: SystemTime) -> Result<KnownLeaf, LeafError> {
        if let Some(known) = self.leaves.get(host, now) {
            return Ok(known);
        }
        let name = CertifiedName::parse(host).ok_or(LeafError::Name)?;
        if !self.covers(host) {
            return Err(LeafError::NotCovered);
        }
        let leaf = self.issuer.sign(&name, now, self.settings.leaf_lifetime)?;
        let certified = Arc::new(SingleCertAndKey::from(leaf.certified));
        let config = |alpn: MirroredAlpn| {
            let mut config = ServerConfig::clone(&self.template);
            config.cert_resolver = certified.clone();
            config.alpn_protocols = alpn.protocols();
            Arc::new(config)
        };
        let made = KnownLeaf {
            http1: config(MirroredAlpn::Http1),
            http2: config(MirroredAlpn::Http2AndHttp1),
            not_before: leaf.not_before,
            // In the last third of its life another one is made: connections that begin now may last.
            renewal: leaf.not_after - (leaf.not_after - leaf.signed) / 3,
        };
        Ok(self.leaves.insert(host, made, now))
    }
}

impl MirroredAlpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        let protocols: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2AndHttp1 => &[b"h2", b"http/1.1"],
        };
        protocols.iter().map(|protocol| protocol.to_vec()).collect()
    }
}

/// What the key directory holds, and the issuer in it.
fn read_or_create(
    settings: &config::Interception,
) -> Result<(OtherRoots, HeldIssuer), InterceptionError> {
    let directory = KeyDirectory::new(&settings.key_directory);
    let (path, domains) = (settings.key_directory.clone(), settings.domains.clone());
    let found = files::run_within_timeout(&settings.key_directory, move || {
        Ok(directory.read_or_create(&domains))
    });
    Ok(found.map_err(|error| InterceptionError::Unresponsive { path, error })??)
}

/// A number that is another one when the CA or what it may sign for has changed.
fn fingerprint(settings: &config::Interception, held: &OtherRoots, issuer: &HeldIssuer) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    (&issuer.chain, &**issuer.key).hash(&mut hasher);
    (&held.next, &held.previous).hash(&mut hasher);
    hasher.finish()
}

/// What all connections have alike. A session is taken up again by ticket alone: nothing is kept for each.
fn template() -> Arc<ServerConfig> {
    /// Replaced in every copy.
    #[derive(Debug)]
    struct NoCertificate;

    impl rustls::server::ResolvesServerCert for NoCertificate {
        fn resolve(
            &self,
            _: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }

    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .expect("the provider supports every version that rustls does")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // The keys are of this CA alone, and a ticket is good for the name alone that it was given for.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
        config.send_tls13_tickets = 1;
    }
    Arc::new(config)
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interceptor")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
