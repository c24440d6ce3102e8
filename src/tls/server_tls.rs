//! The TLS of one listener.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;

use super::client_verifier::ClientVerifier;
use super::pem::FileError;
use super::server_certificates::{ServerCertificate, ServerCertificates};
use crate::config::{ListenerTls, NamedFile};

/// The TLS of one listener, as its files held it at one moment.
pub struct ServerTls {
    /// For the handshakes.
    pub config: Arc<ServerConfig>,
    /// Those that it presents, in the order of the configuration.
    pub certificates: Vec<ServerCertificate>,
    /// Verifies the certificates of clients; `None` if they are asked for none.
    pub clients: Option<Arc<ClientVerifier>>,
    /// A number for what decides which clients are admitted: CAs, CRLs, versions of TLS. It is another one whenever that
    /// changes.
    pub admission: u64,
    fingerprint: u64,
}

impl ServerTls {
    /// Reads the files of `settings`.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read(settings: &ListenerTls) -> Result<Self, FileError> {
        let fingerprint = Self::fingerprint_of(settings);
        let admission = admission_of(settings);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (presented, certificates) =
            ServerCertificates::read(&settings.certificates, &provider)?;
        let clients = match &settings.client_ca_file {
            Some(file) => Some(Arc::new(ClientVerifier::read(settings, file)?)),
            None => None,
        };
        let versions: &[_] = if settings.tls13_only {
            &[&rustls::version::TLS13]
        } else {
            rustls::DEFAULT_VERSIONS
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider supports every version that rustls does");
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(presented));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A session that is taken up again brings back its client's certificate without verifying it. So there is
        // none to take up where certificates count: neither a ticket nor the number of one that is kept here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if clients.is_none()
            && let Ok(ticketer) = aws_lc_rs::Ticketer::new()
        {
            // The keys are of this configuration alone: no other listener takes its tickets, and none outlives a
            // change of its files.
            config.ticketer = ticketer;
            config.send_tls13_tickets = 1;
        }
        Ok(Self {
            config: Arc::new(config),
            certificates,
            clients,
            fingerprint,
            admission,
        })
    }

    /// Whether `settings` and what their files hold now would make the same.
    pub fn is_of(&self, settings: &ListenerTls) -> bool {
        self.fingerprint == Self::fingerprint_of(settings)
    }

    /// When the first of its CRLs is due to be renewed, since the Unix epoch.
    pub fn next_crl_update(&self) -> Option<Duration> {
        self.clients.as_ref()?.next_crl_update()
    }

    fn fingerprint_of(settings: &ListenerTls) -> u64 {
        let mut hasher = DefaultHasher::new();
        settings.hash(&mut hasher);
        settings
            .files()
            .for_each(|file| hash_content(file, &mut hasher));
        hasher.finish()
    }
}

/// [`ServerTls::admission`]
fn admission_of(settings: &ListenerTls) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.tls13_only.hash(&mut hasher);
    if let Some(ca_file) = &settings.client_ca_file {
        settings.client_certificates.hash(&mut hasher);
        settings.crl_grace.hash(&mut hasher);
        hash_content(ca_file, &mut hasher);
        if let Some(crl_file) = &settings.client_crl_file {
            hash_content(crl_file, &mut hasher);
        }
    }
    hasher.finish()
}

fn hash_content(file: &NamedFile, hasher: &mut DefaultHasher) {
    match file.read() {
        Ok(content) => content.hash(hasher),
        Err(error) => error.kind().hash(hasher),
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}
