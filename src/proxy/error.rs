//! Why a request was not answered by its upstream.

mod kind;

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

pub use kind::{Blame, ErrorKind};

/// What is said of TLS inside of a CONNECT where plain HTTP is served.
pub const PLAIN_HTTP_INSIDE: &str = "only plain HTTP is served inside of this CONNECT, since it names what is called by http: call it as http://";

/// A request that ends in an answer of ours; `reply` makes the response.
#[derive(Debug, thiserror::Error)]
#[error("{}: {detail}", kind.code())]
pub struct ProxyError {
    /// What happened.
    pub kind: ErrorKind,
    /// What to do about it, for the sender of the request; free of secrets.
    pub detail: Cow<'static, str>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// How the client can show who it is, where that is missing.
    pub challenge: Option<CallerChallenge>,
    /// The rule about what may leave that refused it.
    pub egress: Option<EgressDenial>,
    /// What of the configuration refuses its caller, as the audit names it. Clients are not told.
    pub rule: Option<&'static str>,
    /// What caused it, for the log.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// A rule about what may leave refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressDenial {
    /// The index of the rule (see [`EgressPolicy::rules`](crate::egress::EgressPolicy::rules)).
    pub rule: usize,
    /// What of the destination it is that may not be.
    pub by: DeniedBy,
}

/// What of a destination may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedBy {
    /// Its host.
    Host,
    /// How its address is written.
    Address,
    /// Its port.
    Port,
}

/// What a client is asked for that has to show who it is.
#[derive(Debug, Clone)]
pub struct CallerChallenge {
    /// It is a forward proxy that asks: 407 in place of 401.
    pub of_proxy: bool,
    /// The challenges, one for each scheme (RFC 9110 section 11.3).
    pub schemes: Arc<[HeaderValue]>,
}

impl ProxyError {
    /// An error without cause and without a time to try again.
    #[cold]
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
            challenge: None,
            egress: None,
            rule: None,
            source: None,
        }
    }

    /// A request that is malformed or could be read in two ways.
    pub fn bad_request(detail: &'static str) -> Self {
        Self::new(ErrorKind::BadRequest, detail)
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        match &self.challenge {
            Some(challenge) if challenge.of_proxy => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            _ => self.kind.status(),
        }
    }

    /// Says when it makes sense to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Says what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_code_and_keeps_its_cause() {
        let error = ProxyError::new(ErrorKind::UpstreamConnect, "is it running?")
            .caused_by(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(error.to_string(), "upstream_connect: is it running?");
        assert!(error.source().is_some());
    }
}
