//! Sets of public keys (RFC 7517 section 5).

use serde_json::Value;

use super::VerifyingKey;
use super::unique::UniqueMembers;

/// The keys of a JWK set that something can be verified with.
#[derive(Debug)]
pub struct KeySet {
    /// In the order of the set; never empty.
    pub keys: Vec<VerifyingKey>,
    /// Why the first key was left out of those that were.
    pub left_out: Option<(usize, &'static str)>,
}

impl KeySet {
    /// No issuer has more keys than this at once.
    pub const MAX_KEYS: usize = 100;

    /// Reads the keys. One that cannot be used is left out, as RFC 7517 section 5 asks for.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its URL or file.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let document = UniqueMembers::parse(json)
            .ok_or("is no JSON object, or one in which a member is named twice")?;
        let Some(Value::Array(jwks)) = document.0.get("keys") else {
            return Err("is no JWK set: it has no array keys".to_owned());
        };
        if jwks.len() > Self::MAX_KEYS {
            return Err(format!("has more than {} keys", Self::MAX_KEYS));
        }
        let mut keys = Vec::with_capacity(jwks.len());
        let mut left_out = None;
        for jwk in jwks {
            let key = match jwk {
                Value::Object(jwk) => VerifyingKey::from_jwk(jwk),
                _ => Err("is no JSON object"),
            };
            match key {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let (count, first) = left_out.unwrap_or((0, reason));
                    left_out = Some((count + 1, first));
                }
            }
        }
        match (keys.is_empty(), left_out) {
            (false, _) => Ok(Self { keys, left_out }),
            (true, Some((_, reason))) => Err(format!(
                "has no key that can be used; the first one {reason}"
            )),
            (true, None) => Err("has no keys".to_owned()),
        }
    }
}
