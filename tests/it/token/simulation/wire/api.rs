//! An API behind the proxy: what it answers to a token with a proof (RFC 9449 sections 7 and 9).

use std::time::Duration;

use fastrand::Rng;
use http::{HeaderMap, HeaderValue, StatusCode};
use sidebearer::dpop::ProofKey;

use super::super::log_uniform;
use super::RESOURCE;
use super::jwt::Seen;
use super::nonce::Nonces;
use super::world::Times;

/// What it wants to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    Fine,
    /// The clocks are too far apart.
    Untimely,
    WantsNonce,
    Revoked,
}

pub(super) struct Api {
    rng: Rng,
    nonces: Nonces,
    seen: Seen,
    /// Tokens up to this one are no longer good here.
    revoked: u64,
    revokes_at: Option<Duration>,
    /// How often a request was to be sent again with a nonce.
    pub(super) asked_again: u64,
    /// How often a token was rejected.
    pub(super) rejected: u64,
}

/// The token of the server, as its value tells.
pub(super) struct Issued<'a> {
    pub(super) count: u64,
    pub(super) thumbprint: &'a str,
    /// On the boot clock.
    pub(super) end: Duration,
}

impl<'a> Issued<'a> {
    pub(super) fn read(value: &'a str) -> Option<Self> {
        let mut parts = value.strip_prefix('t')?.split('.');
        Some(Self {
            count: parts.next()?.parse().ok()?,
            thumbprint: parts.next()?,
            end: Duration::from_nanos(parts.next()?.parse().ok()?),
        })
    }
}

impl Api {
    pub(super) fn new(mut rng: Rng) -> Self {
        Self {
            nonces: Nonces::new(rng.fork()),
            rng,
            seen: Seen::default(),
            revoked: 0,
            revokes_at: None,
            asked_again: 0,
            rejected: 0,
        }
    }

    /// `issued` tokens exist so far.
    ///
    /// # Errors
    /// What no client may send.
    pub(super) fn answer(
        &mut self,
        authorization: &HeaderValue,
        proof: &HeaderValue,
        issued: u64,
        times: Times,
    ) -> Result<(StatusCode, HeaderMap, Meant), String> {
        self.pass(issued, times.now.boot);
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let authorization = text(authorization);
        let token = authorization.strip_prefix("DPoP ").ok_or("no DPoP token")?;
        let issued = Issued::read(token).ok_or("a token of nobody")?;
        let proof = self.seen.prove(&text(proof), ["GET", RESOURCE])?;
        if proof.thumbprint != issued.thumbprint {
            return Err("a proof of a key that the token is not bound to".to_owned());
        }
        if proof.token_hash != Some(ProofKey::token_hash(token)) {
            return Err("a proof for another token".to_owned());
        }
        if proof.issued_at != times.machine() || proof.nonce != self.nonces.told {
            return Err(format!(
                "a proof of {} with {:?}",
                proof.issued_at, proof.nonce
            ));
        }

        let mut headers = HeaderMap::new();
        let (error, meant) = if self.nonces.refuse(proof.nonce.as_deref()) {
            self.asked_again += 1;
            ("use_dpop_nonce", Meant::WantsNonce)
        } else if !times.servers_agree() {
            ("invalid_dpop_proof", Meant::Untimely)
        } else if issued.count <= self.revoked {
            self.rejected += 1;
            ("invalid_token", Meant::Revoked)
        } else {
            ("", Meant::Fine)
        };
        let nonce = match meant {
            Meant::WantsNonce => Some(self.nonces.current()),
            _ => self.nonces.bring(),
        };
        Nonces::tell(&mut headers, nonce.as_deref());
        if nonce.is_some() {
            self.nonces.told = nonce;
        }
        if meant == Meant::Fine {
            return Ok((StatusCode::OK, headers, meant));
        }
        if self.rng.bool() {
            // It would take another kind of token as well.
            headers.append("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        let challenge = format!("DPoP algs=\"ES256\", error=\"{error}\"");
        let challenge = HeaderValue::from_str(&challenge).expect("it is visible ASCII");
        headers.append("www-authenticate", challenge);
        Ok((StatusCode::UNAUTHORIZED, headers, meant))
    }

    fn pass(&mut self, issued: u64, now: Duration) {
        self.nonces.pass(now);
        let due = self.revokes_at;
        if due.is_none_or(|due| now >= due) {
            self.revokes_at = Some(now + log_uniform(&mut self.rng, 3600.0, 600_000.0));
            if due.is_some() {
                self.revoked = issued;
            }
        }
    }
}
