//! Private keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use aws_lc_rs::rsa::{self, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::material::{KeyError, KeyMaterial, rsa_key};

/// The members of a JWK.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: Option<String>,
    crv: Option<String>,
    /// Which key it is, to the server.
    pub(super) kid: Option<String>,
    /// What it is for, as a whole and step by step.
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    /// The one algorithm it is for.
    pub(super) alg: Option<String>,
    n: Option<Number>,
    e: Option<Number>,
    d: Option<Number>,
    p: Option<Number>,
    q: Option<Number>,
    dp: Option<Number>,
    dq: Option<Number>,
    qi: Option<Number>,
    x: Option<Number>,
    y: Option<Number>,
    /// There are none in a key: these make it a set.
    keys: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    pub(super) fn parse(text: &str) -> Result<Self, KeyError> {
        // The parser's own words can repeat the file.
        let jwk: Self = serde_json::from_str(text)
            .map_err(|_| KeyError::Damaged("its JSON is no JWK, or not whole"))?;
        match jwk.keys {
            Some(_) => Err(KeyError::Damaged("it is a set of keys; store one JWK")),
            None => Ok(jwk),
        }
    }

    /// The key itself, taken out.
    pub(super) fn key(&self) -> Result<KeyMaterial, KeyError> {
        let signs = |ops: &Vec<String>| ops.iter().any(|op| op == "sign");
        if self
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
            || self.key_ops.as_ref().is_some_and(|ops| !signs(ops))
        {
            return Err(KeyError::Damaged(
                "the JWK says that it is not for signing (use, key_ops)",
            ));
        }
        let (kty, crv) = (self.kty.as_deref(), self.crv.as_deref());
        match (kty, crv) {
            (Some("RSA"), _) => self.rsa().map(KeyMaterial::Rsa),
            (Some("EC"), Some("P-256")) => self
                .ec(&ECDSA_P256_SHA256_FIXED_SIGNING, 32)
                .map(KeyMaterial::P256),
            (Some("EC"), Some("P-384")) => self
                .ec(&ECDSA_P384_SHA384_FIXED_SIGNING, 48)
                .map(KeyMaterial::P384),
            (Some("EC"), Some("P-521")) => Err(KeyError::Unsupported("an EC key on P-521")),
            (Some("EC"), _) => Err(KeyError::Unsupported("an EC key on another curve")),
            (Some("OKP"), Some("Ed25519")) => {
                let (seed, public) = (need(&self.d)?, need(&self.x)?);
                Ed25519KeyPair::from_seed_and_public_key(seed, public)
                    .map(KeyMaterial::Ed25519)
                    .map_err(inconsistent)
            }
            (Some("OKP"), _) => Err(KeyError::Unsupported("an OKP key on another curve")),
            (Some("oct"), _) => Err(KeyError::Unsupported("a symmetric key")),
            _ => Err(KeyError::Damaged("its JSON has no kty that is known")),
        }
    }

    fn rsa(&self) -> Result<rsa::KeyPair, KeyError> {
        let d = need(&self.d)?;
        if self.p.is_none() || self.q.is_none() {
            return Err(KeyError::Damaged("the JWK lacks the primes p and q"));
        }
        rsa_key(rsa::KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents {
                n: need(&self.n)?,
                e: need(&self.e)?,
            },
            d,
            p: need(&self.p)?,
            q: need(&self.q)?,
            dP: need(&self.dp)?,
            dQ: need(&self.dq)?,
            qInv: need(&self.qi)?,
        }))
    }

    fn ec(
        &self,
        curve: &'static EcdsaSigningAlgorithm,
        length: usize,
    ) -> Result<EcdsaKeyPair, KeyError> {
        let (d, x, y) = (need(&self.d)?, need(&self.x)?, need(&self.y)?);
        if [d, x, y].iter().any(|part| part.len() != length) {
            return Err(KeyError::Damaged("a part of the JWK is not of its curve"));
        }
        let point = [&[4], x, y].concat();
        EcdsaKeyPair::from_private_key_and_public_key(curve, d, &point).map_err(inconsistent)
    }
}

/// Bytes in base64url.
struct Number(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        // The decoder's own words name a byte of the key.
        let bytes = bytes.map_err(|_| serde::de::Error::custom("not base64url"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

fn need(number: &Option<Number>) -> Result<&[u8], KeyError> {
    match number {
        Some(number) => Ok(&number.0),
        None => Err(KeyError::Damaged(
            "the JWK lacks a part of the private key; is it the public one?",
        )),
    }
}

fn inconsistent<E>(_: E) -> KeyError {
    KeyError::Damaged("the private and the public part of the JWK do not fit")
}
