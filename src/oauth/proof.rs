//! The key that a client's tokens are bound to (RFC 9449).

use std::sync::{Arc, Mutex, PoisonError};

use super::{TokenError, TokenErrorKind};
use crate::config::{Credential, Secret, SecretSource};
use crate::dpop::ProofKey;

/// Where the key of a credential comes from.
pub(super) enum ProofKeys {
    /// Made by this process, and written nowhere.
    Own(Arc<ProofKey>),
    /// A file, which may change at any time; the last good key serves on.
    File {
        credential: String,
        source: SecretSource,
        good: Mutex<Option<(Secret, Arc<ProofKey>)>>,
    },
}

impl ProofKeys {
    /// The key of a credential that has one.
    pub(super) fn of(credential: &Credential) -> Option<Self> {
        let dpop = credential.dpop.as_ref()?;
        Some(match &dpop.key {
            None => Self::Own(Arc::new(ProofKey::generate())),
            Some(source) => Self::File {
                credential: credential.name.clone(),
                source: source.clone(),
                good: Mutex::default(),
            },
        })
    }

    /// The key for the next token.
    ///
    /// # Errors
    /// Why there is none in the file, when there was no good one before.
    pub(super) fn current(&self) -> Result<Arc<ProofKey>, TokenError> {
        let (credential, source, good) = match self {
            Self::Own(key) => return Ok(key.clone()),
            Self::File {
                credential,
                source,
                good,
            } => (credential, source, good),
        };
        // What is locked is replaced whole, so a panic elsewhere leaves it sound.
        let mut good = good.lock().unwrap_or_else(PoisonError::into_inner);
        let read = source.read().map_err(|e| e.to_string()).and_then(|text| {
            let same = good.as_ref().filter(|(before, _)| *before == text);
            match same {
                Some((_, key)) => Ok((text, key.clone())),
                None => match ProofKey::read(text.expose()) {
                    Ok(key) => Ok((text, Arc::new(key))),
                    Err(e) => Err(format!("{source:?}: {e}")),
                },
            }
        });
        match (read, &*good) {
            (Ok((text, key)), _) => Ok(good.insert((text, key)).1.clone()),
            (Err(reason), Some((_, before))) => {
                tracing::warn!(%credential, %reason, "the DPoP key cannot be used: the last good one signs on");
                Ok(before.clone())
            }
            (Err(reason), None) => Err(TokenError::new(TokenErrorKind::Local, reason)),
        }
    }
}
