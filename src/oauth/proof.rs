//! The key that a client's tokens are bound to (RFC 9449).

use std::sync::Arc;

use super::last_good::{FoundFaults, LastGood, UnusableInput};
use crate::config::{Credential, SecretSource};
use crate::dpop::ProofKey;

/// Where the key of a credential comes from.
pub(super) enum ProofKeySource {
    /// Made by this process, and written nowhere.
    Own(Arc<ProofKey>),
    /// Read again for each request.
    File(SecretSource, LastGood<Arc<ProofKey>>),
}

impl ProofKeySource {
    /// The key of a credential that has one. Nothing is read.
    pub(super) fn of(credential: &Credential) -> Option<Self> {
        let dpop = credential.dpop.as_ref()?;
        Some(match &dpop.key {
            None => Self::Own(Arc::new(ProofKey::generate())),
            Some(source) => Self::File(source.clone(), LastGood::default()),
        })
    }

    /// The key for the next token. What was last good stands in for what is not good now.
    ///
    /// # Errors
    /// Why it cannot be used, when there was no good one before.
    pub(super) fn read(
        &mut self,
        faults: &mut FoundFaults,
    ) -> Result<Arc<ProofKey>, UnusableInput> {
        match self {
            Self::Own(key) => Ok(key.clone()),
            Self::File(source, key) => key.or_before(now(source), |_| true, faults),
        }
    }
}

fn now(source: &SecretSource) -> Result<Arc<ProofKey>, UnusableInput> {
    let read = source.read();
    let text = read.map_err(|error| UnusableInput::unread(source, &error))?;
    let key = ProofKey::read(text.expose());
    key.map(Arc::new)
        .map_err(|error| UnusableInput::content(source, error.to_string()))
}
