//! What is said about a token.

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use crate::caller::Identified;

/// Who presented a token, as far as one can tell at once.
pub enum Verification {
    /// One caller.
    Caller(Identified),
    /// Nobody. The reason is for the log: it tells nothing of the token's content.
    Unknown(&'static str),
    /// Nobody, though what it claims would be a caller's: it has ended, say, or is not signed by a key of its issuer.
    Unproven(&'static str),
    /// Several callers could claim it.
    Ambiguous,
    /// Keys or a review of the token are being fetched. The future ends within a bound, and may be dropped.
    Pending(PendingVerification),
}

/// Ends with what a token shows once what it takes to tell has come.
pub type PendingVerification =
    Pin<Box<dyn Future<Output = Result<Verified, CallerUnavailable>> + Send>>;

/// Who presented a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// One caller.
    Caller(Identified),
    /// Nobody; the reason is for the log.
    Unknown(&'static str),
    /// Nobody, though what it claims would be a caller's.
    Unproven(&'static str),
    /// Several callers could claim it.
    Ambiguous,
}

/// Who presented a token cannot be found out now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CallerUnavailable {
    /// Why, free of secrets.
    pub reason: String,
    /// When asking again can help.
    pub retry_after: Duration,
}

impl Verification {
    /// What is known already.
    ///
    /// # Errors
    /// What is to be waited for.
    pub fn settled(self) -> Result<Verified, PendingVerification> {
        match self {
            Self::Caller(identified) => Ok(Verified::Caller(identified)),
            Self::Unknown(reason) => Ok(Verified::Unknown(reason)),
            Self::Unproven(reason) => Ok(Verified::Unproven(reason)),
            Self::Ambiguous => Ok(Verified::Ambiguous),
            Self::Pending(pending) => Err(pending),
        }
    }
}

impl From<Verified> for Verification {
    fn from(verified: Verified) -> Self {
        match verified {
            Verified::Caller(identified) => Self::Caller(identified),
            Verified::Unknown(reason) => Self::Unknown(reason),
            Verified::Unproven(reason) => Self::Unproven(reason),
            Verified::Ambiguous => Self::Ambiguous,
        }
    }
}

impl From<CallerUnavailable> for Verification {
    fn from(unavailable: CallerUnavailable) -> Self {
        Self::Pending(Box::pin(ready(Err(unavailable))))
    }
}
