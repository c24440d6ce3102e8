//! JWTs of callers, good ones and forged ones, and the sets of keys that verify them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidebearer::jose::{Algorithm, SigningKey};

use super::keys::key;

/// Signs JWTs.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) id: &'static str,
}

impl Signer {
    /// A key of `tests/keys` as a JWK or PEM, called `id`.
    pub(crate) fn read(text: &str, algorithm: Algorithm, id: &'static str) -> Self {
        let key = SigningKey::read(text, Some(algorithm)).unwrap();
        Self { key, id }
    }

    /// On P-256, with a key that nobody else has.
    pub(crate) fn new(id: &'static str) -> Self {
        let key = SigningKey::generate_es256();
        Self { key, id }
    }

    /// One for each algorithm that is taken, named after it.
    pub(crate) fn all() -> Vec<Self> {
        [
            (key!("rsa.jwk"), Algorithm::RS256),
            (key!("rsa.jwk"), Algorithm::PS256),
            (key!("p256.jwk"), Algorithm::ES256),
            (key!("p384.jwk"), Algorithm::ES384),
            (key!("ed25519.jwk"), Algorithm::EdDSA),
        ]
        .into_iter()
        .map(|(text, algorithm)| {
            // What the key itself says of its algorithm is not asked.
            let mut jwk: Value = serde_json::from_str(text).unwrap();
            jwk.as_object_mut().unwrap().remove("alg");
            Self::read(&jwk.to_string(), algorithm, algorithm.name())
        })
        .collect()
    }

    /// A JWT of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(
            &json!({ "alg": self.key.algorithm().name(), "kid": self.id }),
            claims,
        )
    }

    /// A JWT with this header.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A JWT of this header and these claims, to the letter.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// The public half, as a set has it.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(self.key.public_jwk().unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk
    }
}

/// What is signed.
pub(crate) fn message(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}")
}

/// A JWK set.
pub(crate) fn set<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> Value {
    let keys: Vec<_> = signers.into_iter().map(Signer::public).collect();
    json!({ "keys": keys })
}
