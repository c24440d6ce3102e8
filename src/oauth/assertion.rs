//! Assertions: JWTs by which a client says who it is (RFC 7523 section 3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::jose::{Header, SigningKey, sign};

/// How long an assertion of ours can be used: as long as a slow request may be under way, so that
/// one which leaks is soon worth nothing.
const LIFETIME: Duration = Duration::from_secs(60);

/// What an assertion of ours says, and about whom.
pub(super) struct Statement<'a> {
    pub(super) client_id: &'a str,
    pub(super) audience: &'a str,
    pub(super) key_id: Option<&'a str>,
    /// Of the certificate whose key signs.
    pub(super) thumbprint: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    /// One string: servers differ on what an array means.
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

impl Statement<'_> {
    /// An assertion that is good once.
    pub(super) fn sign(&self, key: &SigningKey, now: SystemTime) -> Zeroizing<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut random = [0; 16];
        rand::fill(&mut random).expect("the system has random numbers");
        let claims = Claims {
            iss: self.client_id,
            sub: self.client_id,
            aud: self.audience,
            iat: now,
            nbf: now,
            exp: now + LIFETIME.as_secs(),
            jti: URL_SAFE_NO_PAD.encode(random),
        };
        let header = Header {
            typ: "JWT",
            kid: self.key_id.or(key.id()),
            x5t_s256: self.thumbprint,
        };
        sign(key, header, &claims)
    }
}
