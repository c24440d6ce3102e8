//! Public keys that verify signatures (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, crypto};
use serde_json::{Map, Value};

use super::{Algorithm, UnverifiedJwt};

/// RFC 7518 section 3.3
const MIN_RSA_BITS: usize = 2048;
/// What is longer takes long to verify with, and is no key that anybody uses.
const MAX_RSA_BITS: usize = 8192;

/// A key that is published to verify with.
pub struct VerifyingKey {
    id: Option<Box<str>>,
    kind: KeyKind,
    /// The one algorithm it is for, if it says so.
    only: Option<Algorithm>,
    key: DecodingKey,
    fingerprint: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl VerifyingKey {
    /// A key out of a set.
    ///
    /// # Errors
    /// Why nothing can be verified with it, in words that follow "a key".
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| match jwk.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("has a member that should be text and is not"),
        };
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err("is not for signatures (use)");
        }
        match jwk.get("key_ops") {
            None | Some(Value::Null) => {}
            Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
            Some(_) => return Err("is not for verifying (key_ops)"),
        }
        let number = |name: &str| {
            let number = text(name)?.ok_or("lacks a part")?;
            let bytes = URL_SAFE_NO_PAD.decode(number.trim_end_matches('='));
            bytes.map_err(|_| "has a part that is not base64url")
        };
        let (kind, key, material) = match (text("kty")?, text("crv")?) {
            (Some("RSA"), _) => {
                let (modulus, exponent) = (number("n")?, number("e")?);
                check_rsa(&modulus, &exponent)?;
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                (KeyKind::Rsa, key, [modulus, exponent].concat())
            }
            (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
                let (kind, length) = match curve {
                    "P-256" => (KeyKind::P256, 32),
                    _ => (KeyKind::P384, 48),
                };
                let (x, y) = (number("x")?, number("y")?);
                if x.len() != length || y.len() != length {
                    return Err("is not a point of its curve");
                }
                let point = [&[4], &x[..], &y].concat();
                (kind, DecodingKey::from_ec_der(&point), point)
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = number("x")?;
                if x.len() != 32 {
                    return Err("is not a point of its curve");
                }
                (KeyKind::Ed25519, DecodingKey::from_ed_der(&x), x)
            }
            (Some("oct"), _) => return Err("is a secret, which nobody publishes"),
            _ => return Err("is of a kind or on a curve that is not taken (kty, crv)"),
        };
        let only = match text("alg")? {
            None => None,
            Some(name) => {
                let named = Algorithm::ASYMMETRIC
                    .into_iter()
                    .find(|known| known.name() == name && kind.is_for(*known));
                Some(named.ok_or("is for an algorithm that is not taken, or not its own (alg)")?)
            }
        };
        Ok(Self {
            id: text("kid")?.map(Into::into),
            kind,
            only,
            key,
            fingerprint: digest(&SHA256, &material)
                .as_ref()
                .try_into()
                .map_err(|_| "cannot be digested")?,
        })
    }

    /// Its `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it is the key that a token names: of that `kid`, and for its algorithm. A token that names no key
    /// may be of any that fits.
    pub fn is_named_by(&self, token: &UnverifiedJwt<'_>) -> bool {
        let id = token.key_id.as_deref();
        let fits = self.only.is_none_or(|only| only == token.algorithm);
        fits && self.kind.is_for(token.algorithm) && (id.is_none() || id == self.id.as_deref())
    }

    /// Whether it has signed the token, in the way that the token says.
    pub fn verifies(&self, token: &UnverifiedJwt<'_>) -> bool {
        if !self.is_named_by(token) {
            return false;
        }
        let algorithm = match token.algorithm {
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return false,
        };
        let message = token.message.as_bytes();
        crypto::verify(token.signature, message, &self.key, algorithm).unwrap_or(false)
    }

    /// Whether both are the same key, published in the same words.
    pub fn is_same(&self, other: &Self) -> bool {
        let words = |key: &Self| (key.kind, key.only, key.fingerprint);
        self.id == other.id && words(self) == words(other)
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl KeyKind {
    fn is_for(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
            Self::P256 => algorithm == Algorithm::ES256,
            Self::P384 => algorithm == Algorithm::ES384,
            Self::Ed25519 => algorithm == Algorithm::EdDSA,
        }
    }
}

/// Both numbers big-endian.
fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), &'static str> {
    let bits = match modulus.iter().position(|byte| *byte != 0) {
        Some(first) => (modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize,
        None => 0,
    };
    if bits < MIN_RSA_BITS {
        return Err("is an RSA key of less than 2048 bits");
    }
    if bits > MAX_RSA_BITS {
        return Err("is an RSA key of more than 8192 bits");
    }
    // With an exponent of 1 everybody signs.
    let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
    let is_one = exponent
        .split_last()
        .is_some_and(|(last, rest)| *last == 1 && rest.iter().all(|byte| *byte == 0));
    if !is_odd || is_one || exponent.len() > 8 {
        return Err("is an RSA key with an exponent that is not safe");
    }
    Ok(())
}
