//! The authorization server of the demo: real answers, real signatures, one client.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::service::{self, Answer};
use crate::cli::output::CommandError;
use crate::config::Secret;

/// Life of a token, in seconds: short enough to watch it being renewed.
pub(super) const LIFETIME: u64 = 30;

/// The audience of tokens that were asked for without one.
pub(super) const AUDIENCE: &str = "https://api.demo.test";

const SCOPES: [&str; 2] = ["read", "write"];

/// The claims of a token (RFC 9068).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessTokenClaims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: String,
    pub(super) scope: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) jti: String,
}

pub(super) struct DemoAuthorizationServer {
    issuer: String,
    client_id: String,
    client_secret: Secret,
    key: EncodingKey,
    public_key: Jwk,
}

impl DemoAuthorizationServer {
    /// With a fresh key, for one client.
    pub(super) fn new(
        issuer: String,
        client_id: String,
        client_secret: Secret,
    ) -> Result<Self, CommandError> {
        let failed = |what: &dyn std::fmt::Display| {
            CommandError::Failed(format!("cannot make a signing key: {what}"))
        };
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
            .map_err(|error| failed(&error))?;
        let key = EncodingKey::from_ec_der(document.as_ref());
        let mut public_key =
            Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(|error| failed(&error))?;
        public_key.common.key_id = Some(random_text()?);
        public_key.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            issuer,
            client_id,
            client_secret,
            key,
            public_key,
        })
    }

    /// The key that its signatures are verified with.
    pub(super) fn public_key(&self) -> &Jwk {
        &self.public_key
    }

    /// The claims of a token for this audience and scope, issued at `iat` (Unix seconds).
    pub(super) fn claims(
        &self,
        audience: &str,
        scope: &str,
        iat: u64,
    ) -> Result<AccessTokenClaims, CommandError> {
        Ok(AccessTokenClaims {
            iss: self.issuer.clone(),
            sub: self.client_id.clone(),
            aud: audience.to_owned(),
            scope: scope.to_owned(),
            iat,
            exp: iat + LIFETIME,
            jti: random_text()?,
        })
    }

    /// A signed token.
    pub(super) fn sign(&self, claims: &AccessTokenClaims) -> Result<String, CommandError> {
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: self.public_key.common.key_id.clone(),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| CommandError::Failed(format!("cannot sign a token: {error}")))
    }

    /// Answers one request.
    pub(super) fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        let issuer = &self.issuer;
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/token") => self.token(&head.headers, body),
            (&Method::GET, "/jwks") => {
                let keys = vec![self.public_key.clone()];
                service::json(StatusCode::OK, &json!(JwkSet { keys }))
            }
            // RFC 8414 section 2.
            (&Method::GET, "/.well-known/oauth-authorization-server") => service::json(
                StatusCode::OK,
                &json!({
                    "issuer": issuer,
                    "token_endpoint": format!("{issuer}/token"),
                    "jwks_uri": format!("{issuer}/jwks"),
                    "response_types_supported": [],
                    "grant_types_supported": ["client_credentials"],
                    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                    "scopes_supported": SCOPES,
                }),
            ),
            (_, "/token") => {
                let mut answer = error(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "invalid_request",
                    "the token endpoint takes POST",
                );
                let headers = answer.headers_mut();
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
                answer
            }
            _ => service::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" })),
        }
    }

    /// RFC 6749 sections 4.4 and 5.
    fn token(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let bad = |code, description| error(StatusCode::BAD_REQUEST, code, description);
        if !self.knows(headers) {
            let mut answer = error(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "the client id or secret is wrong, or not sent as HTTP Basic",
            );
            answer.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"demo\""),
            );
            return answer;
        }
        let form = |name: &str| {
            let mut values = url::form_urlencoded::parse(body)
                .filter(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| value.into_owned());
            (values.next(), values.next().is_some())
        };
        let parameters = ["grant_type", "scope", "audience"].map(form);
        if parameters.iter().any(|(_, repeated)| *repeated) {
            return bad("invalid_request", "a parameter is repeated");
        }
        let [grant_type, scope, audience] = parameters.map(|(value, _)| value);
        match grant_type.as_deref() {
            Some("client_credentials") => {}
            Some(_) => return bad("unsupported_grant_type", "only client_credentials is"),
            None => return bad("invalid_request", "grant_type is missing"),
        }
        let scope = scope.unwrap_or_else(|| SCOPES[0].to_owned());
        if !scope.split(' ').all(|scope| SCOPES.contains(&scope)) {
            return bad("invalid_scope", "the scopes are: read, write");
        }
        let audience = audience.unwrap_or_else(|| AUDIENCE.to_owned());
        let token = self
            .claims(&audience, &scope, unix_time())
            .and_then(|claims| self.sign(&claims));
        match token {
            Ok(token) => service::json(
                StatusCode::OK,
                &json!({
                    "access_token": token,
                    "token_type": "Bearer",
                    "expires_in": LIFETIME,
                    "scope": scope,
                }),
            ),
            Err(failure) => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                &failure.to_string(),
            ),
        }
    }

    /// Whether the client authenticated itself (RFC 6749 section 2.3.1).
    fn knows(&self, headers: &HeaderMap) -> bool {
        let sent = || {
            let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
            let (scheme, value) = value.split_once(' ')?;
            let value = STANDARD.decode(value.trim()).ok()?;
            let (id, secret) = std::str::from_utf8(&value).ok()?.split_once(':')?;
            scheme
                .eq_ignore_ascii_case("basic")
                .then(|| (form_decode(id), form_decode(secret)))
        };
        sent().is_some_and(|(id, secret)| {
            let same = verify_slices_are_equal(&secret, self.client_secret.expose().as_bytes());
            id == self.client_id.as_bytes() && same.is_ok()
        })
    }
}

/// 128 random bits, base64url.
pub(super) fn random_text() -> Result<String, CommandError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| CommandError::Failed("the system has no random numbers".to_owned()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Seconds since the epoch, as JWTs count.
pub(super) fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// RFC 6749 section 5.2.
fn error(status: StatusCode, code: &str, description: &str) -> Answer {
    let body = json!({ "error": code, "error_description": description });
    service::json(status, &body)
}

fn form_decode(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}
