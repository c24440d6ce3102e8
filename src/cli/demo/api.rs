//! The protected API of the demo: it accepts requests with a valid token (RFC 6750), and answers who called.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::json;

use super::authorization_server::{AUDIENCE, AccessTokenClaims, unix_time};
use super::service::{self, Answer};
use crate::cli::output::CommandError;

pub(super) struct Api {
    key: DecodingKey,
    validation: Validation,
}

impl Api {
    /// Trusts the tokens that `issuer` signed with `key` for [`AUDIENCE`].
    pub(super) fn new(issuer: &str, key: &Jwk) -> Result<Self, CommandError> {
        let key = DecodingKey::from_jwk(key).map_err(|error| {
            CommandError::Failed(format!("cannot use the signing key: {error}"))
        })?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.leeway = 0;
        // RFC 7519 section 4.1.4: not accepted *on* or after that second.
        validation.reject_tokens_expiring_in_less_than = 1;
        Ok(Self { key, validation })
    }

    /// Answers one request.
    pub(super) fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        match self.caller(&head.headers) {
            Ok(claims) => service::json(
                StatusCode::OK,
                &json!({
                    "hello": claims.sub,
                    "method": head.method.as_str(),
                    "path": head.uri.path(),
                    "body_bytes": body.len(),
                    "authorization": "this request arrived with a valid token; \
                                      if you sent none, sidebearer injected it",
                    "token": {
                        "id": claims.jti,
                        "scope": claims.scope,
                        "remaining_seconds": claims.exp.saturating_sub(unix_time()),
                    },
                }),
            ),
            Err(refusal) => refusal.answer(),
        }
    }

    fn caller(&self, headers: &HeaderMap) -> Result<AccessTokenClaims, TokenRefusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().ok_or(TokenRefusal::NoToken)?;
        if values.next().is_some() {
            return Err(TokenRefusal::Request(
                "there is more than one Authorization",
            ));
        }
        let token = match value.to_str().unwrap_or_default().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(TokenRefusal::NoToken),
        };
        jsonwebtoken::decode(token, &self.key, &self.validation)
            .map(|token| token.claims)
            .map_err(|error| {
                TokenRefusal::Token(match error.kind() {
                    ErrorKind::ExpiredSignature => "the token has expired",
                    ErrorKind::InvalidAudience => "the token is for another audience",
                    ErrorKind::InvalidIssuer => "the token is from another issuer",
                    ErrorKind::InvalidSignature => "the signature of the token is wrong",
                    _ => "the token is malformed",
                })
            })
    }
}

enum TokenRefusal {
    /// Nothing that this API could check was sent.
    NoToken,
    /// `invalid_token`
    Token(&'static str),
    /// `invalid_request`
    Request(&'static str),
}

impl TokenRefusal {
    /// RFC 6750 section 3: without a token, no error code.
    fn answer(self) -> Answer {
        let (status, error, challenge) = match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "a Bearer token is required",
                "Bearer realm=\"demo\"".to_owned(),
            ),
            Self::Token(why) => (
                StatusCode::UNAUTHORIZED,
                why,
                format!(
                    "Bearer realm=\"demo\", error=\"invalid_token\", error_description=\"{why}\""
                ),
            ),
            Self::Request(why) => (
                StatusCode::BAD_REQUEST,
                why,
                format!(
                    "Bearer realm=\"demo\", error=\"invalid_request\", error_description=\"{why}\""
                ),
            ),
        };
        let mut answer = service::json(status, &json!({ "error": error }));
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}
