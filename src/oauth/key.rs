//! The client's own key, read again for each request.

use std::sync::Arc;

use super::last_good::{FoundFaults, LastGood, UnusableInput};
use crate::config::{ClientAuth, Credential, NamedFile, Secret, SecretSource};
use crate::jose::{Algorithm, Certificate, SigningKey};

/// Where the key of a credential is, and what was last good there.
pub(super) struct KeyFile {
    source: SecretSource,
    algorithm: Option<Algorithm>,
    certificate_file: Option<NamedFile>,
    key: LastGood<LoadedKey>,
    certificate: LastGood<Certificate>,
}

/// A key, and how a server may find its certificate.
#[derive(Clone, PartialEq)]
pub(super) struct Signer {
    key: LoadedKey,
    certificate: Option<Certificate>,
}

#[derive(Clone)]
struct LoadedKey {
    text: Secret,
    key: Arc<SigningKey>,
}

impl KeyFile {
    /// The key of a credential that has one. Nothing is read.
    pub(super) fn of(credential: &Credential) -> Option<Self> {
        match &credential.auth {
            ClientAuth::PrivateKeyJwt { key, algorithm, .. } => Some(Self {
                source: key.clone(),
                algorithm: *algorithm,
                certificate_file: credential.tls.certificate_file.clone(),
                key: LastGood::default(),
                certificate: LastGood::default(),
            }),
            _ => None,
        }
    }

    /// Reads the key again. What was last good stands in for what is not good now.
    ///
    /// # Errors
    /// Why it cannot be used, when there was no good one before.
    pub(super) fn read(&mut self, faults: &mut FoundFaults) -> Result<Signer, UnusableInput> {
        let key = self.key.or_before(self.now(), |_| true, faults);
        let certificate = self.certificate_file.as_ref().map(|file| {
            let now = certificate(file);
            self.certificate.or_before(now, |_| true, faults)
        });
        Ok(Signer {
            key: key?,
            // It only helps a server to find the key.
            certificate: certificate.and_then(Result::ok),
        })
    }

    fn now(&self) -> Result<LoadedKey, UnusableInput> {
        let read = self.source.read();
        let text = read.map_err(|error| UnusableInput::unread(&self.source, &error))?;
        match SigningKey::read(text.expose(), self.algorithm).map(Arc::new) {
            Ok(key) => Ok(LoadedKey { text, key }),
            Err(error) => Err(UnusableInput::content(&self.source, error.to_string())),
        }
    }
}

impl Signer {
    /// What signs.
    pub(super) fn key(&self) -> &SigningKey {
        &self.key.key
    }

    /// `x5t#S256`, unless the certificate given is of another key: it is for TLS alone then.
    pub(super) fn thumbprint(&self) -> Option<&str> {
        let certificate = self.certificate.as_ref()?;
        certificate
            .belongs_to(self.key())
            .then(|| certificate.thumbprint())
    }
}

impl PartialEq for LoadedKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn certificate(file: &NamedFile) -> Result<Certificate, UnusableInput> {
    let path = file.path();
    let pem = file.read();
    let pem =
        pem.map_err(|error| UnusableInput::file(path, format!("it cannot be read: {error}")))?;
    Certificate::from_pem(&pem)
        .ok_or_else(|| UnusableInput::file(path, "it holds no certificate that can be used"))
}
