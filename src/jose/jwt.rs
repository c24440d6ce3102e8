//! Signed JSON Web Tokens (RFC 7519) in compact serialization, before anybody has verified them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Algorithm;
use super::unique::UniqueMembers;

/// What a JWT says. Nothing of it is proven: see [`VerifyingKey`](super::VerifyingKey).
#[derive(Debug, Clone)]
pub struct UnverifiedJwt<'a> {
    /// How it says it is signed: one of [`Algorithm::ASYMMETRIC`].
    pub algorithm: Algorithm,
    /// With which key it says it is signed (`kid`).
    pub key_id: Option<String>,
    /// What it claims.
    pub claims: Map<String, Value>,
    /// What is signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> UnverifiedJwt<'a> {
    /// What is longer is not read.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Reads header and claims. Keys and places of keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are not
    /// looked at. Extensions that have to be understood (`crit`) are refused: none is.
    ///
    /// # Errors
    /// Why it is not a JWT that could be verified, without a word of it.
    pub fn parse(token: &'a str) -> Result<Self, &'static str> {
        if token.len() > Self::MAX_BYTES {
            return Err("the token is longer than any JWT that is read");
        }
        let no_jwt = "the token is no signed JWT";
        let (message, signature) = token.rsplit_once('.').ok_or(no_jwt)?;
        let (header, claims) = message.split_once('.').ok_or(no_jwt)?;
        if claims.contains('.') {
            return Err(no_jwt);
        }
        let object = |part: &str| {
            let json = URL_SAFE_NO_PAD.decode(part).ok()?;
            Some(UniqueMembers::parse(&json)?.0)
        };
        let mut header = object(header).ok_or("the header of the JWT is malformed")?;
        if header.contains_key("crit") {
            return Err("the header of the JWT has extensions that have to be understood (crit)");
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = Algorithm::ASYMMETRIC
            .into_iter()
            .find(|known| algorithm == Some(known.name()))
            .ok_or("the JWT is not signed in a way that is taken (alg)")?;
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err("the kid of the JWT is no text"),
        };
        Ok(Self {
            algorithm,
            key_id,
            claims: object(claims).ok_or("the claims of the JWT are malformed")?,
            message,
            signature,
        })
    }
}
