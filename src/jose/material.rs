//! Key material, whatever file it came from.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use aws_lc_rs::{hmac, rsa};

use super::Algorithm;

/// Why a text is not a key to sign with. Never repeats what the text says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nobody can be asked for its password.
    #[error("the key is encrypted; store it decrypted (openssl pkey -in KEY -out PLAIN)")]
    Encrypted,
    /// Something else, such as a certificate or a public key.
    #[error("it holds neither a PEM private key nor a private JWK")]
    NoKey,
    /// A key, but not a whole one.
    #[error("{0}")]
    Damaged(&'static str),
    /// RSA below 2048 bits.
    #[error("its RSA key has less than 2048 bits")]
    Small,
    /// A key that no algorithm here is for.
    #[error(
        "it holds {0}; supported are RSA from 2048 to 8192 bits, EC on P-256 and P-384, and Ed25519"
    )]
    Unsupported(&'static str),
    /// A key for another algorithm than the one asked for.
    #[error("{} needs {}, and it holds {holds}", algorithm.name(), algorithm.required_key())]
    Mismatch {
        /// What was asked for.
        algorithm: Algorithm,
        /// What is there.
        holds: &'static str,
    },
    /// The JWK's own `alg` is another.
    #[error("its JWK is for an alg other than {}", .0.name())]
    Reserved(Algorithm),
}

/// The forms of key material.
pub(super) enum KeyMaterial {
    Secret(Box<hmac::Key>),
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyMaterial {
    /// The algorithm most used with it.
    pub(super) fn default_algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::P384(_) => Algorithm::ES384,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    /// SubjectPublicKeyInfo; empty for a secret.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, KeyError> {
        let der: Result<PublicKeyX509Der<'_>, _> = match self {
            Self::Secret(_) => return Ok(Vec::new()),
            Self::Rsa(key) => key.public_key().as_der(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_der(),
            Self::Ed25519(key) => key.public_key().as_der(),
        };
        let der = der.map_err(|_| KeyError::Damaged("it gives no public key"))?;
        Ok(der.as_ref().to_vec())
    }
}

/// The outcome of reading an RSA key.
pub(super) fn rsa_key(read: Result<rsa::KeyPair, KeyRejected>) -> Result<rsa::KeyPair, KeyError> {
    // Reasons come as their names alone.
    read.map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => KeyError::Small,
        "TooLarge" => KeyError::Unsupported("an RSA key of more than 8192 bits"),
        _ => KeyError::Damaged("the parts of its RSA key do not fit, or are not whole"),
    })
}
