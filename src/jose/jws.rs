//! Compact serialization (RFC 7515 section 7.1).

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::SigningKey;

/// What a header says in addition to `alg`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct JwsHeader<'a> {
    /// What is signed.
    pub typ: &'a str,
    /// Which key signs. Never made up: servers refuse names they do not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<&'a str>,
    /// The thumbprint of the key's certificate.
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<&'a str>,
}

#[derive(Serialize)]
struct FullHeader<'a> {
    alg: &'static str,
    #[serde(flatten)]
    header: JwsHeader<'a>,
}

/// `HEADER.CLAIMS.SIGNATURE`
pub fn sign(key: &SigningKey, header: JwsHeader<'_>, claims: &impl Serialize) -> Zeroizing<String> {
    let alg = key.algorithm().name();
    let mut jws = encoded(&FullHeader { alg, header });
    jws.push('.');
    jws.push_str(&encoded(claims));
    let signature = key.sign(jws.as_bytes());
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
    Zeroizing::new(jws)
}

/// A `jti` that is used once (RFC 7519 section 4.1.7): 128 random bits, base64url.
pub fn unique_id() -> String {
    let mut random = [0; 16];
    rand::fill(&mut random).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(random)
}

fn encoded(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("headers and claims are maps with text for keys");
    URL_SAFE_NO_PAD.encode(json)
}
