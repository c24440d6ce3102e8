//! Keys that clients sign with, and the eyes of a server for what they signed.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// A key of `tests/keys`.
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/", $name))
    };
}
pub(crate) use key;

/// The form of a token request.
pub(crate) fn form(request: &str) -> HashMap<String, String> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let pairs: Vec<_> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let form: HashMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(form.len(), pairs.len(), "no field is sent twice: {body}");
    form
}

/// The public half of a private JWK, as a server keeps it.
pub(crate) fn public(jwk: &str) -> DecodingKey {
    let mut jwk: Value = serde_json::from_str(jwk).unwrap();
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.as_object_mut().unwrap().remove(member);
    }
    DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap()
}

/// Header and claims of a JWT whose signature, audience and times hold.
pub(crate) fn verified(
    jwt: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    audience: &str,
) -> (Value, Value) {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[audience]);
    validation.leeway = 0;
    validation.validate_nbf = true;
    let claims = jsonwebtoken::decode(jwt, key, &validation).unwrap().claims;
    (part(jwt, 0), claims)
}

/// The header (0) or the claims (1) of a JWT, unverified.
pub(crate) fn part(jwt: &str, at: usize) -> Value {
    let part = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(at).unwrap());
    serde_json::from_slice(&part.unwrap()).unwrap()
}
