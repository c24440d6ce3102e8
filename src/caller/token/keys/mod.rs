//! The keys of one issuer: read before anybody needs them, kept, and read again.
//!
//! As with the tokens of a credential, decisions and waiting are apart: `state` decides, without waiting and without
//! a clock of its own; `source` is what those who need a key see, and the task that reads them, once at a time.

mod endpoint;
mod source;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::http_client::BoxFuture;
use crate::jose::{KeySet, UnverifiedJwt, VerifyingKey};
use crate::oauth::TokenErrorKind;
use crate::redact;

pub(super) use endpoint::{IssuerEndpoint, JwksFile, Unusable, json, key_set};
pub use source::{KeySource, KeyStatus, LastKeyError};
pub(super) use state::KeyOutlook;

/// What publishes the keys of an issuer; a trait, so that tests of their life need no network.
pub trait KeyEndpoint: Send + Sync + 'static {
    /// Reads them once. The caller bounds its time by dropping the future.
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>>;

    /// Whether it is a file, which is read again with every reload.
    fn is_file(&self) -> bool {
        false
    }
}

/// What was read.
#[derive(Debug)]
pub struct FoundKeys {
    /// Whose keys they are: the claim `iss` of the tokens.
    pub issuer: String,
    /// The keys.
    pub keys: KeySet,
    /// How long they may be kept without a look at what is published now, as the server says.
    pub max_age: Option<Duration>,
}

/// Why the keys could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeyFetchError {
    /// Whose fault it is; also the metric's `outcome`.
    pub kind: TokenErrorKind,
    /// What happened, free of secrets, visible ASCII.
    pub message: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// The keys that an issuer has published last.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    pub(super) issuer: String,
    keys: Vec<Arc<PublishedKey>>,
}

/// A key, for as long as it is published.
#[derive(Debug)]
pub(super) struct PublishedKey {
    key: VerifyingKey,
    is_withdrawn: AtomicBool,
}

/// What the published keys say about a token.
#[derive(Debug)]
pub(super) enum KeyVerdict {
    /// Signed by this one.
    Signed(Arc<PublishedKey>),
    /// The token is a forgery: not signed by the one that it names.
    Forged(Arc<PublishedKey>),
    /// It names a key that is not published, as far as one knows.
    NotPublished,
    /// It names a key that is published, but not for its algorithm.
    Misfit,
    /// It names none, and more keys fit than one tries.
    TooMany,
}

/// A token that names no key is tried with no more keys than this.
const MOST_TRIED: usize = 8;

impl PublishedKeys {
    /// Keys that `before` had in the same words go on; the others are withdrawn.
    pub(super) fn new(found: FoundKeys, before: Option<&Self>) -> Self {
        let known = before.map_or(&[][..], |before| &before.keys);
        let keys: Vec<_> = found
            .keys
            .keys
            .into_iter()
            .map(
                |key| match known.iter().find(|known| known.key.is_same(&key)) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(PublishedKey {
                        key,
                        is_withdrawn: AtomicBool::new(false),
                    }),
                },
            )
            .collect();
        for known in known {
            if !keys.iter().any(|key| Arc::ptr_eq(key, known)) {
                known.is_withdrawn.store(true, Relaxed);
            }
        }
        let issuer = found.issuer;
        Self { issuer, keys }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn judge(&self, token: &UnverifiedJwt<'_>) -> KeyVerdict {
        let mut named = self.keys.iter().filter(|key| key.key.is_named_by(token));
        let Some(first) = named.clone().next() else {
            let id = token.key_id.as_deref();
            let is_known = self.keys.iter().any(|key| key.key.id() == id);
            return match id {
                Some(_) if !is_known => KeyVerdict::NotPublished,
                _ => KeyVerdict::Misfit,
            };
        };
        if named.clone().count() > MOST_TRIED {
            return KeyVerdict::TooMany;
        }
        match named.find(|key| key.key.verifies(token)) {
            Some(key) => KeyVerdict::Signed(Arc::clone(key)),
            None => KeyVerdict::Forged(Arc::clone(first)),
        }
    }
}

impl PublishedKey {
    /// Whether the issuer has stopped to publish it, so that nothing that it has signed is good any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Relaxed)
    }
}

impl KeyFetchError {
    /// A failure without `Retry-After`. What a server said in `message` must have passed a
    /// [`Redactor`](crate::redact::Redactor).
    pub fn new(kind: TokenErrorKind, message: impl AsRef<str>) -> Self {
        Self {
            kind,
            message: redact::visible(message.as_ref()),
            retry_after: None,
        }
    }
}
