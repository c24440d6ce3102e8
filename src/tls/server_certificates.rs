//! The certificates of a listener, chosen by the name that a client asks for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::pem::{FileError, certificates_of, key_of};
use super::validity::since_epoch;
use crate::config::{CertificateFiles, dns_names};

/// What is known of a certificate that a listener presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Where it was read from.
    pub file: PathBuf,
    /// When it ends, since the Unix epoch.
    pub not_after: Duration,
}

/// Chooses by server name (SNI), and among those of one name by what the client can verify. The first certificate is
/// for every other name, and for clients that name none.
#[derive(Debug)]
pub(super) struct ServerCertificates {
    keys: Vec<Arc<CertifiedKey>>,
    /// The indices of those that carry a name, in lower case; wildcards as they are written.
    by_name: HashMap<String, Vec<usize>>,
}

impl ServerCertificates {
    /// Reads all of them.
    pub(super) fn read(
        files: &[CertificateFiles],
        provider: &CryptoProvider,
    ) -> Result<(Self, Vec<ServerCertificate>), FileError> {
        let (mut keys, mut known) = (Vec::new(), Vec::new());
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, files) in files.iter().enumerate() {
            let file = &files.certificate_file;
            let chain = certificates_of(file)?;
            let parsed = chain.first().map(|leaf| X509Certificate::from_der(leaf));
            let Some(Ok((_, leaf))) = parsed else {
                return Err(FileError::new(file, "its first certificate is malformed"));
            };
            for name in dns_names(&leaf) {
                by_name.entry(name).or_default().push(at);
            }
            known.push(ServerCertificate {
                file: file.path().to_owned(),
                not_after: since_epoch(leaf.validity().not_after),
            });
            let key = key_of(&files.key_file)?;
            let key = CertifiedKey::from_der(chain.clone(), key, provider).map_err(|error| {
                let reason = match error {
                    rustls::Error::InconsistentKeys(_) => {
                        "the key is not that of the certificate".to_owned()
                    }
                    other => other.to_string(),
                };
                FileError::new(&files.key_file, reason)
            })?;
            keys.push(Arc::new(key));
        }
        Ok((Self { keys, by_name }, known))
    }

    fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let is_usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let first_of = |indices: &[usize]| {
            let keys = indices.iter().filter_map(|at| self.keys.get(*at));
            keys.clone().find(is_usable)
        };
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let by_name = name.as_deref().and_then(|name| {
            let wildcard = || format!("*.{}", name.split_once('.')?.1).into();
            let wildcard: Option<String> = wildcard();
            first_of(self.named(name)).or_else(|| first_of(self.named(&wildcard?)))
        });
        let others = || self.keys.iter().find(is_usable);
        by_name.or_else(others).or(self.keys.first()).cloned()
    }
}
