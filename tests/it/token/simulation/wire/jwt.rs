//! Keys, and the eyes of a server for what they signed. Times are judged by who reads: the clock of
//! the machine that runs the test says nothing.

use std::collections::HashSet;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::ThumbprintHash::SHA256;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;
use sidebearer::dpop::ProofKey;

/// A key pair on P-256.
pub(super) struct Key {
    pub(super) pem: String,
    pub(super) thumbprint: String,
    public: DecodingKey,
    private: EncodingKey,
}

/// How many of [`keys`] are for the client, the first ones.
pub(super) const CLIENTS: usize = 3;
/// The one of [`keys`] by which others assert something.
pub(super) const ASSERTER: usize = 3;

/// Some keys, made once.
pub(super) fn keys() -> &'static [Key; 4] {
    static KEYS: OnceLock<[Key; 4]> = OnceLock::new();
    KEYS.get_or_init(|| [0; 4].map(|_| Key::generate()))
}

impl Key {
    fn generate() -> Self {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let pem = pair.serialize_pem();
        let read = ProofKey::read(&pem).expect("it is one on P-256");
        Self {
            thumbprint: read.thumbprint().to_owned(),
            public: DecodingKey::from_ec_der(pair.public_key_raw()),
            private: EncodingKey::from_ec_der(&pair.serialize_der()),
            pem,
        }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = Header::new(Algorithm::ES256);
        jsonwebtoken::encode(&header, claims, &self.private).expect("claims are JSON")
    }

    /// The claims, if it signed them.
    pub(super) fn verify(&self, jwt: &str) -> Option<Value> {
        verify(jwt, &self.public)
    }
}

fn verify(jwt: &str, key: &DecodingKey) -> Option<Value> {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Value>(jwt, key, &validation);
    decoded.ok().map(|decoded| decoded.claims)
}

/// Whether a client that has no key can take this for a JWT that is good `now`.
pub(super) fn looks_good(text: &str, now: u64) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [_, claims, _] = parts[..] else {
        return false;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims = serde_json::from_slice::<Value>(&claims);
    claims.is_ok_and(|claims| number(&claims, "exp").is_some_and(|exp| exp > now))
}

pub(super) fn number(claims: &Value, name: &str) -> Option<u64> {
    claims[name].as_u64()
}

/// A proof of possession that is valid (RFC 9449 section 4.3), nonce and time apart.
pub(super) struct Proof {
    pub(super) thumbprint: String,
    pub(super) issued_at: u64,
    pub(super) nonce: Option<String>,
    /// `ath`
    pub(super) token_hash: Option<String>,
}

/// Every `jti` seen so far.
#[derive(Default)]
pub(super) struct Seen(HashSet<String>);

impl Seen {
    /// The claims say who they are, and did not before.
    pub(super) fn once(&mut self, claims: &Value) -> Result<(), String> {
        let id = claims["jti"].as_str().ok_or("no jti")?;
        if self.0.insert(id.to_owned()) {
            Ok(())
        } else {
            Err(format!("jti {id} is used again"))
        }
    }

    /// Reads a proof for a request to `target`.
    pub(super) fn prove(
        &mut self,
        jwt: &str,
        [method, target]: [&str; 2],
    ) -> Result<Proof, String> {
        let header = jsonwebtoken::decode_header(jwt).map_err(|e| e.to_string())?;
        let jwk = header.jwk.ok_or("a proof without its key")?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|e| e.to_string())?;
        let claims = verify(jwt, &key).ok_or("a proof that its key did not sign")?;
        self.once(&claims)?;
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        let about = [text("htm"), text("htu")];
        if header.typ.as_deref() != Some("dpop+jwt")
            || about != [Some(method.to_owned()), Some(target.to_owned())]
        {
            return Err(format!("a proof of type {:?} about {about:?}", header.typ));
        }
        Ok(Proof {
            thumbprint: jwk.thumbprint(SHA256).map_err(|e| e.to_string())?,
            issued_at: number(&claims, "iat").ok_or("a proof without iat")?,
            nonce: text("nonce"),
            token_hash: text("ath"),
        })
    }
}
