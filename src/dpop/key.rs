//! The key, and what is signed with it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use serde::{Serialize, Serializer};

use crate::jose::{Algorithm, KeyError, PublicJwk, SigningKey, unique_id};

/// The key of one client (RFC 9449 section 2); tokens are bound to its thumbprint.
pub struct ProofKey {
    key: SigningKey,
    /// The same for every proof: encoded, with the dot behind it.
    header: String,
    thumbprint: String,
}

/// What a proof is about (RFC 9449 section 4.2).
#[derive(Debug, Clone, Copy)]
pub struct ProofClaims<'a> {
    /// `htm`: the request's method.
    pub method: &'a str,
    /// `htu`, its parts: scheme, authority in the form that is sent, and path; no query.
    pub target: [&'a str; 3],
    /// `iat`, in seconds since the Unix epoch.
    pub issued_at: u64,
    /// `ath`: see [`ProofKey::token_hash`]; absent at the token endpoint.
    pub token_hash: Option<&'a str>,
    /// The server's own nonce.
    pub nonce: Option<&'a str>,
}

#[derive(Serialize)]
struct ProofHeader<'a> {
    typ: &'static str,
    alg: &'static str,
    jwk: &'a PublicJwk,
}

#[derive(Serialize)]
struct Payload<'a> {
    jti: &'a str,
    htm: &'a str,
    #[serde(serialize_with = "joined")]
    htu: [&'a str; 3],
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl ProofKey {
    /// A new key, which nobody else has and which is written nowhere.
    pub fn generate() -> Self {
        Self::new(SigningKey::generate_es256()).expect("a key of one's own has a public half")
    }

    /// A key on P-256 out of PEM or a JWK.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let key = SigningKey::read(text, Some(Algorithm::ES256))?;
        Self::new(key).ok_or(KeyError::NoKey)
    }

    /// `jkt` of the tokens bound to it (RFC 9449 section 6.1).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// `ath`: how a proof names the token that it goes with.
    pub fn token_hash(token: &str) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
    }

    /// A proof for one request, never used for another: its `jti` is unique. Costs one signature.
    pub fn prove(&self, claims: ProofClaims<'_>) -> HeaderValue {
        let proof = self.signed(&unique_id(), claims);
        let value = HeaderValue::from_maybe_shared(Bytes::from(proof));
        let mut value = value.expect("base64url and dots fit into a header");
        value.set_sensitive(true);
        value
    }

    fn signed(&self, id: &str, claims: ProofClaims<'_>) -> String {
        let payload = Payload {
            jti: id,
            htm: claims.method,
            htu: claims.target,
            iat: claims.issued_at,
            ath: claims.token_hash,
            nonce: claims.nonce,
        };
        let payload = serde_json::to_vec(&payload).expect("a map with text for keys");
        /// Of 64 bytes.
        const SIGNATURE: usize = 86;
        let encoded = payload.len().div_ceil(3) * 4;
        let mut proof = String::with_capacity(self.header.len() + encoded + 1 + SIGNATURE);
        proof.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(payload, &mut proof);
        let signature = self.key.sign(proof.as_bytes());
        proof.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut proof);
        proof
    }

    fn new(key: SigningKey) -> Option<Self> {
        let jwk = key.public_jwk()?;
        let header = ProofHeader {
            typ: "dpop+jwt",
            alg: key.algorithm().name(),
            jwk: &jwk,
        };
        let header = serde_json::to_vec(&header).expect("a map with text for keys");
        Some(Self {
            header: URL_SAFE_NO_PAD.encode(header) + ".",
            thumbprint: jwk.thumbprint(),
            key,
        })
    }
}

/// The same key, wherever it was read.
impl PartialEq for ProofKey {
    fn eq(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKey({})", self.thumbprint)
    }
}

fn joined<S: Serializer>(target: &[&str; 3], serializer: S) -> Result<S::Ok, S::Error> {
    let [scheme, authority, path] = target;
    serializer.collect_str(&format_args!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use serde_json::{Value, json};

    use super::*;

    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

    fn at_token_endpoint() -> ProofClaims<'static> {
        ProofClaims {
            method: "POST",
            target: ["https", "server.example.com", "/token"],
            issued_at: 1_562_262_616,
            token_hash: None,
            nonce: None,
        }
    }

    /// Verifies a proof as a server would, with the key that it brings along.
    fn verified(proof: &str) -> (Jwk, Value) {
        let header = decode_header(proof).unwrap();
        assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
        assert_eq!(header.alg, jsonwebtoken::Algorithm::ES256);
        let jwk = header.jwk.unwrap();
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        (
            jwk,
            decode::<Value>(proof, &key, &validation).unwrap().claims,
        )
    }

    fn payload(proof: &str) -> String {
        let payload = proof.split('.').nth(1).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn the_hash_of_a_token_is_the_example_of_rfc_9449_section_7_1() {
        assert_eq!(
            ProofKey::token_hash(TOKEN),
            "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
        );
    }

    #[test]
    fn the_claims_are_the_examples_of_rfc_9449() {
        let key = ProofKey::generate();
        // Section 4.2
        assert_eq!(
            payload(&key.signed("-BwC3ESc6acc2lTc", at_token_endpoint())),
            r#"{"jti":"-BwC3ESc6acc2lTc","htm":"POST","htu":"https://server.example.com/token","iat":1562262616}"#
        );
        // Section 7.1
        let hash = ProofKey::token_hash(TOKEN);
        let protected = ProofClaims {
            method: "GET",
            target: ["https", "resource.example.org", "/protectedresource"],
            issued_at: 1_562_262_618,
            token_hash: Some(&hash),
            nonce: None,
        };
        assert_eq!(
            payload(&key.signed("e1j3V_bKic8-LAEB", protected)),
            r#"{"jti":"e1j3V_bKic8-LAEB","htm":"GET","htu":"https://resource.example.org/protectedresource","iat":1562262618,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}"#
        );
    }

    #[test]
    fn another_library_verifies_a_proof_with_the_key_in_it() {
        let made = ProofKey::generate();
        let read = ProofKey::read(include_str!("../../tests/keys/p256.pkcs8.pem")).unwrap();
        for key in [made, read] {
            let claims = ProofClaims {
                target: ["http", "[::1]:8080", "/a\"b/%2F"],
                nonce: Some("eyJ7S_zG.eyJH0-Z.HX4w-7v"),
                ..at_token_endpoint()
            };
            let proof = key.prove(claims);
            assert!(proof.is_sensitive());
            let (jwk, claims) = verified(proof.to_str().unwrap());
            let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
            assert_eq!(thumbprint.unwrap(), key.thumbprint());
            assert_eq!(claims["htu"], "http://[::1]:8080/a\"b/%2F");
            assert_eq!(claims["nonce"], "eyJ7S_zG.eyJH0-Z.HX4w-7v");
            assert_eq!(claims.get("ath"), None);
            let header = decode_header(proof.to_str().unwrap()).unwrap();
            let members = serde_json::to_value(header.jwk).unwrap();
            assert_eq!(members.get("d"), None, "the private half stays here");
        }
    }

    #[test]
    fn no_two_proofs_are_the_same() {
        let key = ProofKey::generate();
        let id = || {
            let proof = key.prove(at_token_endpoint());
            let claims: Value = serde_json::from_str(&payload(proof.to_str().unwrap())).unwrap();
            claims["jti"].as_str().unwrap().to_owned()
        };
        let ids: std::collections::HashSet<_> = std::iter::repeat_with(id).take(100).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 22));
    }

    #[test]
    fn only_a_key_on_p256_is_taken_from_a_file() {
        for other in [
            include_str!("../../tests/keys/rsa.jwk"),
            include_str!("../../tests/keys/p384.pkcs8.pem"),
            include_str!("../../tests/keys/ed25519.jwk"),
        ] {
            let error = ProofKey::read(other).unwrap_err();
            assert!(error.to_string().starts_with("ES256 needs"), "{error}");
        }
    }

    #[test]
    fn debug_shows_the_public_half_at_most() {
        let key = ProofKey::generate();
        assert_eq!(
            format!("{key:?}"),
            format!("ProofKey({})", key.thumbprint())
        );
        let claims = json!(payload(&key.signed("id", at_token_endpoint())));
        assert!(!claims.to_string().contains("jwk"));
    }
}
