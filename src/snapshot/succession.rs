//! What becomes of the token of a credential when a reload changes what is asked for.
//!
//! A new source asks by the new settings. Until it has a token, that of before may serve where it served, unless the
//! change is a revocation. It is kept while it lives, so that it serves again when the change is taken back.

use std::sync::Arc;

use crate::config;
use crate::oauth::Identity;
use crate::token::{HeldToken, Inheritance, Token};
use crate::upstream::ClientCertificate;

/// How a token was asked for by a source before, and what that means for the source that is there now.
#[derive(Debug, Clone)]
pub struct Succession {
    origin: Arc<Provenance>,
    /// Who asks now, as far as files and variables say so.
    identity: Option<Identity>,
    standing: Standing,
}

/// How a token was asked for, and where it went.
#[derive(Debug)]
pub struct Provenance {
    /// How its source asked.
    pub settings: config::Credential,
    /// What it is bound to.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The upstreams that got it, as they were.
    pub upstreams: Vec<config::Upstream>,
}

/// Whether a token of before may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was asked for as tokens are asked for now.
    Restored,
    /// Until there is another.
    Allowed,
    /// Not until the change that says so is taken back.
    Revoked,
}

/// The token that a credential leaves to the source that takes its place.
#[derive(Debug)]
pub struct FormerToken {
    token: Arc<Token>,
    origin: Arc<Provenance>,
    is_revoked: bool,
}

impl FormerToken {
    /// What a source leaves that has this token; `of_own` is how it asks itself, and `before` how the token came to it
    /// if it did not.
    pub fn new(
        held: HeldToken,
        of_own: impl FnOnce() -> Provenance,
        before: Option<&Succession>,
    ) -> Option<Self> {
        Some(match held {
            HeldToken::Own(token) => Self {
                token,
                origin: Arc::new(of_own()),
                is_revoked: false,
            },
            HeldToken::Before(token) => Self {
                token,
                origin: Arc::clone(&before?.origin),
                is_revoked: before?.standing == Standing::Revoked,
            },
        })
    }

    /// The certificate that the token is bound to.
    pub fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.origin.certificate.as_ref()
    }
}

impl Succession {
    /// For a source that asks by these settings, as `identity`, for tokens bound to `certificate`.
    pub fn new(
        former: &FormerToken,
        settings: &config::Credential,
        certificate: Option<&Arc<ClientCertificate>>,
        identity: Option<Identity>,
    ) -> Self {
        let origin = &former.origin;
        let same_certificate = match (&origin.certificate, certificate) {
            (Some(before), Some(now)) => before.is_same(now),
            (None, None) => true,
            _ => false,
        };
        // Where nobody can say who asks now, it may be another client.
        let is_same = |it: &Identity| same_certificate && former.token.is_of(it);
        let standing = if !identity.as_ref().is_some_and(is_same) {
            Standing::Revoked
        } else if settings.requests_tokens_as(&origin.settings) {
            Standing::Restored
        } else if !former.is_revoked && settings.may_inherit_from(&origin.settings) {
            Standing::Allowed
        } else {
            Standing::Revoked
        };
        Self {
            origin: Arc::clone(origin),
            identity,
            standing,
        }
    }

    /// Whether this upstream got the token, in the same header and on connections with the same certificate.
    pub fn goes_to(&self, upstream: &config::Upstream) -> bool {
        let mut known = self.origin.upstreams.iter();
        known.any(|was| {
            was.name == upstream.name
                && was.certificate_bound == upstream.certificate_bound
                && was.takes_tokens_as(upstream)
        })
    }

    /// What this makes of the token of `former`, where these are the upstreams of the credential now; none if that
    /// token was asked for in another way.
    pub fn inheritance<'a>(
        &self,
        former: FormerToken,
        upstreams: impl Iterator<Item = &'a config::Upstream>,
    ) -> Option<Inheritance> {
        if former.origin.settings != self.origin.settings {
            return None;
        }
        let FormerToken { token, .. } = former;
        let is_revoked = self.standing == Standing::Revoked;
        if is_revoked || !self.identity.as_ref().is_some_and(|it| token.is_of(it)) {
            return Some(Inheritance::Kept(token));
        }
        let (may, others): (Vec<_>, Vec<_>) = upstreams.partition(|it| self.goes_to(it));
        Some(if may.is_empty() {
            Inheritance::Kept(token)
        } else if others.is_empty() && self.standing == Standing::Restored {
            Inheritance::Own(token)
        } else {
            // One that has moved has lost its token; one that is new to the credential never had any.
            let known = |it: &&config::Upstream| {
                let mut known = self.origin.upstreams.iter();
                known.any(|was| was.name == it.name)
            };
            Inheritance::Serves {
                token,
                is_enough: !others.iter().any(known),
                withheld_from: others.iter().map(|it| it.name.clone()).collect(),
            }
        })
    }
}
