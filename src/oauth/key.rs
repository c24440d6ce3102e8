//! The client's own key. Its file may change at any time, also half-written for a moment: the last
//! good one signs on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{TokenError, TokenErrorKind};
use crate::config::{ClientAuth, Credential, Secret, SecretError, SecretSource};
use crate::jose::{Algorithm, Certificate, SigningKey};

/// Where the key of a credential is, and what was there.
pub(super) struct KeyFile {
    credential: String,
    source: SecretSource,
    algorithm: Option<Algorithm>,
    certificate_file: Option<PathBuf>,
    state: Mutex<State>,
}

/// A key, and how a server may find its certificate.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) key: Arc<SigningKey>,
    certificate: Option<Certificate>,
}

#[derive(Default)]
struct State {
    /// What reading gave the last time, good or bad.
    seen: Option<Result<Secret, SecretError>>,
    good: Option<Signer>,
}

impl KeyFile {
    /// The key of a credential that has one.
    pub(super) fn of(credential: &Credential) -> Option<Self> {
        match &credential.auth {
            ClientAuth::PrivateKeyJwt { key, algorithm, .. } => Some(Self {
                credential: credential.name.clone(),
                source: key.clone(),
                algorithm: *algorithm,
                certificate_file: credential.tls.certificate_file.clone(),
                state: Mutex::default(),
            }),
            _ => None,
        }
    }

    /// Reads the key anew.
    ///
    /// # Errors
    /// Why it cannot be used, when there was no good one before.
    pub(super) fn current(&self) -> Result<Signer, TokenError> {
        let mut state = self.lock();
        let read = self.source.read();
        let key = match &read {
            Ok(text) => SigningKey::read(text.expose(), self.algorithm)
                .map_err(|e| format!("{:?}: {e}", self.source)),
            Err(e) => Err(e.to_string()),
        };
        state.seen = Some(read);
        match (key, &state.good) {
            (Ok(key), before) => {
                let before = before
                    .as_ref()
                    .and_then(|before| before.certificate.clone());
                let certificate = self.certificate().or(before);
                let signer = Signer {
                    key: Arc::new(key),
                    certificate,
                };
                state.good = Some(signer.clone());
                Ok(signer)
            }
            (Err(reason), Some(before)) => {
                let credential = &self.credential;
                tracing::warn!(%credential, %reason, "the private key cannot be used: the last good one signs on");
                Ok(before.clone())
            }
            (Err(reason), None) => Err(TokenError::new(TokenErrorKind::Local, reason)),
        }
    }

    /// Whether reading gives something else than the last time.
    pub(super) fn changed(&self) -> bool {
        let state = self.lock();
        let seen = state.seen.as_ref();
        seen.is_some_and(|seen| *seen != self.source.read())
    }

    fn certificate(&self) -> Option<Certificate> {
        let pem = std::fs::read(self.certificate_file.as_ref()?).ok()?;
        Certificate::from_pem(&pem)
    }

    /// What is locked is replaced whole, so a panic elsewhere leaves it sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer {
    /// `x5t#S256`, unless the certificate given is of another key: it is for TLS alone then.
    pub(super) fn thumbprint(&self) -> Option<&str> {
        let certificate = self.certificate.as_ref()?;
        certificate
            .is_of(&self.key)
            .then(|| certificate.thumbprint())
    }
}
