//! The wire of OAuth 2.0: what is sent to an authorization server and what may come back.
//!
//! Knows nothing of time: when a token is asked for, kept or dropped is the life of a token
//! ([`crate::token`]), which sees this module through [`TokenEndpoint`] alone.

mod assertion;
mod auth;
pub mod challenge;
mod client;
pub mod discovery;
mod endpoint;
mod form;
mod grant;
mod key;
mod last_good;
mod lock;
mod proof;
mod request;
mod requester;
pub mod response;
mod secrets;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use client::{Client, endpoint_key};
pub use last_good::InputFault;
pub use requester::{Identity, Requester};

use crate::config::Secret;
use crate::dpop::ProofKey;
pub use crate::http_client::{BoxFuture, OnSend};
use crate::redact::{self, Redactor};

/// Says what time it is for those who date assertions and proofs.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Something that answers token requests: the real client, or a fake in a test.
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Sends one token request (RFC 6749 section 4.4). The caller bounds its time.
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>>;

    /// As [`request`](Self::request), and calls `on_send` whenever a token request goes out: the lifetime of the token
    /// counts from the last one. What came before, such as a discovery, takes nothing from it.
    fn request_telling<'a>(
        &'a self,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenError>> {
        let _ = on_send;
        self.request()
    }

    /// Reads the files that the next request is made of. Its time is bounded by `server.file_timeout`, and not by the
    /// time for a token request: the failure names the file and not the server.
    ///
    /// # Errors
    /// Why one cannot be used, when nothing from before can stand in.
    fn prepare(&self) -> BoxFuture<'_, Result<(), TokenError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Host and port of the server that its first request goes to, if there is one.
    fn address(&self) -> Option<(String, u16)> {
        None
    }

    /// Looks at the secrets again: whether what a request would be made of now differs from what
    /// the last one was made of.
    fn secret_changed(&self) -> bool;

    /// How the server's clock differs from ours, in words; none if it does not, as far as is known.
    fn clock_difference(&self) -> Option<String> {
        None
    }

    /// Cleans what its servers say, and what stands in its tokens.
    fn redactor(&self) -> Arc<Redactor> {
        Arc::default()
    }

    /// As [`secret_changed`](Self::secret_changed), on a thread that may wait for a file system.
    fn reread_secrets(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(self.secret_changed()))
    }

    /// What the last look found wrong with files and variables, for a request or for
    /// [`secret_changed`](Self::secret_changed).
    fn faults(&self) -> Vec<InputFault> {
        Vec::new()
    }
}

/// A good answer of a token endpoint (RFC 6749 section 5.1), already checked.
#[derive(Debug, Clone)]
pub struct TokenResponse {
    /// Visible ASCII without spaces, at most `max_token_bytes`.
    pub access_token: Secret,
    /// The scheme it is sent with, in its canonical form: `Bearer`, or `DPoP`.
    pub token_type: &'static str,
    /// The key that it is bound to, if it is: of type `DPoP` (RFC 9449 section 5).
    pub proof_key: Option<Arc<ProofKey>>,
    /// Who asked for it, as far as that is known.
    pub requester: Option<Requester>,
    /// `expires_in`, absent when the server did not say; at least one second.
    pub expires_in: Option<Duration>,
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    /// Whether asking again soon can help; also the metric's `outcome`.
    pub kind: TokenErrorKind,
    /// What happened, whose fault it is and what to do; free of secrets, visible ASCII.
    pub message: String,
    /// `Retry-After` of the answer, uncapped.
    pub retry_after: Option<Duration>,
}

impl TokenError {
    /// A failure without `Retry-After`. Paths and names in `message` are ours; what a server said
    /// must have passed a [`redact::Redactor`](crate::redact::Redactor).
    fn new(kind: TokenErrorKind, message: impl AsRef<str>) -> Self {
        Self {
            kind,
            message: redact::visible(message.as_ref()),
            retry_after: None,
        }
    }

    /// Files cannot be read, for a reason that lies in none of them.
    fn unread(error: io::Error) -> Self {
        let message = format!("files cannot be read: {error}");
        Self::new(TokenErrorKind::Local, message)
    }
}

/// What kind of failure a [`TokenError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenErrorKind {
    /// The server understood and refused: wrong secret, wrong scope, a client certificate that it
    /// does not take. Retrying the same is useless.
    Refused,
    /// It could not be reached, or the connection broke.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// It answered 5xx, 408, 425, `temporarily_unavailable` or `server_error`.
    ServerError,
    /// It answered 429.
    Throttled,
    /// The answer breaks the rules of a token response.
    BadResponse,
    /// Our side: a secret that cannot be read.
    Local,
}

impl TokenErrorKind {
    /// Whether retrying the same request soon is useless.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Refused)
    }

    /// The value of the metric label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::Throttled => "throttled",
            Self::BadResponse => "bad_response",
            Self::Local => "local",
        }
    }
}
