//! Keys that sign.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};

use super::jwk::Jwk;
use super::material::{KeyError, KeyMaterial};
use super::{Algorithm, PublicJwk, pem};

/// A key, and how it signs.
pub struct SigningKey {
    key: KeyMaterial,
    algorithm: Algorithm,
    id: Option<String>,
    public_key: Vec<u8>,
}

impl SigningKey {
    /// A private key out of PEM or a JWK. Without `algorithm` the JWK's `alg` counts, else what fits
    /// the key: RS256 for RSA, which every server knows; PS256 has to be asked for.
    ///
    /// # Errors
    /// What is wrong with it, or with it for `algorithm`.
    pub fn read(text: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        if !text.trim_start().starts_with('{') {
            let key = pem::read(text)?;
            let algorithm = algorithm.unwrap_or(key.default_algorithm());
            return Self::new(key, algorithm, None);
        }
        let mut jwk = Jwk::parse(text)?;
        let key = jwk.key()?;
        let algorithm = match (jwk.alg.as_deref(), algorithm) {
            (None, algorithm) => algorithm.unwrap_or(key.default_algorithm()),
            (Some(alg), Some(algorithm)) if alg == algorithm.name() => algorithm,
            (Some(_), Some(algorithm)) => return Err(KeyError::Reserved(algorithm)),
            (Some(alg), None) => {
                let mut known = Algorithm::ASYMMETRIC.into_iter();
                known
                    .find(|known| known.name() == alg)
                    .ok_or(KeyError::Damaged(
                        "its JWK is for an alg that is not supported",
                    ))?
            }
        };
        Self::new(key, algorithm, jwk.kid.take())
    }

    /// A secret that both sides know; one for a private key's algorithm signs with HS256.
    pub fn from_secret(secret: &[u8], algorithm: Algorithm) -> Self {
        let (algorithm, hmac) = match algorithm {
            Algorithm::HS384 => (algorithm, hmac::HMAC_SHA384),
            Algorithm::HS512 => (algorithm, hmac::HMAC_SHA512),
            _ => (Algorithm::HS256, hmac::HMAC_SHA256),
        };
        Self {
            key: KeyMaterial::Secret(Box::new(hmac::Key::new(hmac, secret))),
            algorithm,
            id: None,
            public_key: Vec::new(),
        }
    }

    /// A new key for ES256, which nobody else has.
    pub fn generate_es256() -> Self {
        const WORKS: &str = "the system has random numbers";
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(WORKS);
        Self::new(KeyMaterial::P256(key), Algorithm::ES256, None)
            .expect("a key on P-256 is for ES256")
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of its JWK.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its public half as SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7); empty for a secret.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Its public half as a JWK; none for a secret.
    pub fn public_jwk(&self) -> Option<PublicJwk> {
        PublicJwk::of(&self.key)
    }

    /// The signature of `message`, in the form of RFC 7518 section 3.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        const WORKS: &str = "a key that was accepted signs";
        let random = SystemRandom::new();
        match &self.key {
            KeyMaterial::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
            KeyMaterial::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &dyn RsaEncoding = match self.algorithm {
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                key.sign(padding, &random, message, &mut signature)
                    .expect(WORKS);
                signature
            }
            KeyMaterial::P256(key) | KeyMaterial::P384(key) => {
                key.sign(&random, message).expect(WORKS).as_ref().to_vec()
            }
            KeyMaterial::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn new(key: KeyMaterial, algorithm: Algorithm, id: Option<String>) -> Result<Self, KeyError> {
        let fits = match &key {
            KeyMaterial::Rsa(_) => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
            other => other.default_algorithm() == algorithm,
        };
        if !fits {
            let holds = key.default_algorithm().required_key();
            return Err(KeyError::Mismatch { algorithm, holds });
        }
        let public_key = key.public_key()?;
        Ok(Self {
            key,
            algorithm,
            id,
            public_key,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm.name())
    }
}

#[cfg(test)]
mod tests;
