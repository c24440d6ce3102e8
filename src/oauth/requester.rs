//! Who asks for a token, and about whom.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::dpop::ProofKey;

/// The client that asked for a token, and the subject that it is about: equal for equal ones, whatever
/// secrets they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester([u8; 32]);

/// Who would ask, and bind the token to what, by what files and variables hold now.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Client and subject.
    pub requester: Requester,
    /// The key for proofs, where there is one.
    pub proof_key: Option<Arc<ProofKey>>,
}

impl Requester {
    /// The client, and then those whom its tokens are about.
    pub(super) fn of(named: impl IntoIterator<Item = String>) -> Self {
        let mut digest = Context::new(&SHA256);
        for name in named {
            digest.update(&(name.len() as u64).to_be_bytes());
            digest.update(name.as_bytes());
        }
        let digest = digest.finish();
        Self(digest.as_ref().try_into().unwrap_or_default())
    }
}
