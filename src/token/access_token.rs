//! One token as it was issued.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Moment;
use crate::config::Secret;
use crate::dpop::ProofKey;
use crate::oauth::{Identity, Requester, TokenResponse};

/// One token. Immutable: a renewal makes another.
#[derive(Debug)]
pub struct Token {
    id: u64,
    authorization: HeaderValue,
    access_token: Secret,
    token_type: &'static str,
    binding: Option<Binding>,
    requester: Option<Requester>,
    times: TokenTimes,
    inherited: bool,
    audit_id: Option<[u8; 16]>,
}

/// The key that a token is bound to: without a proof made by it, the token is refused (RFC 9449).
#[derive(Debug, Clone)]
pub struct Binding {
    /// Signs the proof that goes with each request.
    pub key: Arc<ProofKey>,
    /// How a proof names the token: `ath`.
    pub token_hash: String,
}

/// When a token begins, should be renewed, may no longer be sent, and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenTimes {
    pub(super) issued: Moment,
    pub(super) refresh_at: Moment,
    pub(super) usable_until: Moment,
    pub(super) lifetime: Duration,
}

impl Token {
    /// `None` when the value cannot stand in a header. `renews` is the token before it, if that
    /// had the same value and the same key.
    pub(super) fn new(
        response: TokenResponse,
        times: TokenTimes,
        renews: Option<&Self>,
    ) -> Option<Self> {
        let TokenResponse {
            access_token,
            token_type,
            proof_key,
            requester,
            expires_in: _,
        } = response;
        let authorization = match renews {
            Some(renewed) => renewed.authorization.clone(),
            None => {
                let text = Secret::new(format!("{token_type} {}", access_token.expose()));
                let mut value = HeaderValue::from_str(text.expose()).ok()?;
                value.set_sensitive(true);
                value
            }
        };
        Some(Self {
            id: renews.map_or_else(next_id, |renewed| renewed.id),
            authorization,
            binding: proof_key.map(|key| Binding {
                token_hash: ProofKey::token_hash(access_token.expose()),
                key,
            }),
            audit_id: audit_id(access_token.expose()),
            access_token,
            token_type,
            requester,
            times,
            inherited: false,
        })
    }

    /// The same, for a source that did not ask for it: its renewal is due at once.
    pub(super) fn to_inherited(&self) -> Self {
        Self {
            id: self.id,
            authorization: self.authorization.clone(),
            access_token: self.access_token.clone(),
            audit_id: self.audit_id,
            token_type: self.token_type,
            binding: self.binding.clone(),
            requester: self.requester,
            times: TokenTimes {
                refresh_at: self.times.issued,
                ..self.times
            },
            inherited: true,
        }
    }

    /// Whether it was asked for with settings of the credential that a reload has replaced.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Identifies its value: unique in the process, increasing, never 0. A renewal that brought
    /// the same value again keeps it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// By what records name it: half of the SHA-256 of its `jti` (RFC 7519 section 4.1.7). `None` for one that shows none.
    pub fn audit_id(&self) -> Option<[u8; 16]> {
        self.audit_id
    }

    /// `TYPE TOKEN`, for the `Authorization` header (RFC 6750 section 2.1, RFC 9449 section 7.1);
    /// marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The value alone.
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// The scheme it is sent with: `Bearer` or `DPoP`.
    pub fn token_type(&self) -> &'static str {
        self.token_type
    }

    /// What every request that carries it has to prove; `None` for a bearer token.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// Whether who asks by now would ask for the same client and subject, and can use what it is bound to.
    pub fn is_of(&self, identity: &Identity) -> bool {
        let has_key = |bound: &Binding| identity.proof_key.as_ref() == Some(&bound.key);
        self.requester == Some(identity.requester) && self.binding.as_ref().is_none_or(has_key)
    }

    /// Whether `response` brings the same once more, or another token.
    pub(super) fn is_renewed_by(&self, response: &TokenResponse) -> bool {
        let key = self.binding.as_ref().map(|binding| &binding.key);
        self.access_token == response.access_token
            && self.token_type == response.token_type
            && key == response.proof_key.as_ref()
    }

    /// Whether it may be sent: `usable_until` is reached on neither clock.
    pub fn is_usable(&self, now: Moment) -> bool {
        !now.reached(self.times.usable_until)
    }

    /// When the request that brought it was sent.
    pub fn issued(&self) -> Moment {
        self.times.issued
    }

    /// When it expires, as the server said.
    pub fn expires(&self) -> Moment {
        self.times.issued.plus(self.times.lifetime)
    }

    /// Expiry less the margin: from here on it is never sent.
    pub fn usable_until(&self) -> Moment {
        self.times.usable_until
    }

    /// From `issued` to `expires`.
    pub fn lifetime(&self) -> Duration {
        self.times.lifetime
    }

    /// When its renewal is due.
    pub(super) fn refresh_at(&self) -> Moment {
        self.times.refresh_at
    }
}

fn audit_id(token: &str) -> Option<[u8; 16]> {
    #[derive(Deserialize)]
    struct JtiClaim {
        jti: String,
    }
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let claims: JtiClaim = serde_json::from_slice(&claims).ok()?;
    let hash = digest(&SHA256, claims.jti.as_bytes());
    hash.as_ref().first_chunk().copied()
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
