//! The life of a token: when it is fetched, renewed, quarantined and no longer sent.
//!
//! The proxy asks a [`TokenSource`], through the [`TokenRejections`] of the upstream it sends to, and
//! nothing else. Inside, decisions and waiting are apart:
//!
//! - `schedule`: how long until the next attempt. Pure.
//! - `state`: what is known of one credential, and what follows from it. Pure.
//! - `source`: what those who need a token see.
//! - `inheritance`: what a source has from the one before it.
//! - `shared`: what those who ask share with the one who fetches.
//! - `refresh_task`: the task that fetches, once at a time.
//! - `rejection`: what a 401 from an upstream means for the token.
//! - `fresh_rejections`: what an operator is told when new tokens are rejected as well.

mod access_token;
mod clock;
mod fresh_rejections;
mod inheritance;
mod refresh_task;
mod rejection;
mod schedule;
mod shared;
mod source;
mod state;
mod status;
mod traced_fetch;

use std::time::Duration;

use crate::config;

pub use access_token::{Binding, Token};
pub use clock::{Clock, Moment, SystemClock};
pub use fresh_rejections::{FreshTokenRejections, RejectedTokens};
pub use inheritance::{HeldToken, Inheritance};
pub use rejection::TokenRejections;
pub use source::{TokenSource, Unavailable};
pub use status::{CredentialPhase, CredentialStatus, LastError};

/// What the configuration says about the life of one credential's tokens.
#[derive(Debug, Clone)]
pub struct Policy {
    /// In the background, or when a request needs it.
    pub refresh: config::Refresh,
    /// The lifetime of a token that came without `expires_in`.
    pub default_lifetime: Duration,
    /// Longer lifetimes are cut to this.
    pub max_lifetime: Duration,
    /// One token request, whole.
    pub fetch_timeout: Duration,
    /// How long a proxied request waits for a token.
    pub acquire_timeout: Duration,
    /// Between attempts that fail, at most.
    pub pauses: config::RetryPauses,
}

impl From<&config::Credential> for Policy {
    fn from(credential: &config::Credential) -> Self {
        Self {
            refresh: credential.refresh,
            default_lifetime: credential.default_lifetime,
            max_lifetime: credential.max_lifetime,
            fetch_timeout: credential.fetch_timeout,
            acquire_timeout: credential.acquire_timeout,
            pauses: credential.pauses.clone(),
        }
    }
}
