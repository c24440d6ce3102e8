//! Whether a token is bound to what its client holds (RFC 7800 section 3.1, RFC 8705 section 3.1,
//! RFC 9449 section 6.1).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::{Config, Credential};
use crate::jose::Certificate;
use crate::oauth::{TokenEndpoint, TokenResponse};
use crate::redact::Redactor;

/// More than any thumbprint has, in characters.
const LONGEST_SHOWN: usize = 64;

/// What a client can confirm a token with.
#[derive(Debug, Default)]
pub struct ConfirmationKeys {
    /// `jkt` of the key that the token was asked for with.
    pub key: Option<String>,
    /// `x5t#S256` of the client's certificate.
    pub certificate: Option<String>,
    /// Cleans what the token says.
    pub redactor: Arc<Redactor>,
    /// An upstream presents the certificate because its tokens are bound to it.
    pub must_name_certificate: bool,
}

impl ConfirmationKeys {
    /// Those of `credential`, as they were when `token` came from `endpoint`.
    pub fn of(
        config: &Config,
        credential: &Credential,
        endpoint: &dyn TokenEndpoint,
        token: &TokenResponse,
    ) -> Self {
        let file = credential.tls.certificate_file.as_ref();
        let pem = file.and_then(|file| file.read().ok());
        let certificate = pem.and_then(|pem| Certificate::from_pem(&pem));
        let key = token.proof_key.as_ref();
        Self {
            redactor: endpoint.redactor(),
            key: key.map(|key| key.thumbprint().to_owned()),
            certificate: certificate.map(|certificate| certificate.thumbprint().to_owned()),
            must_name_certificate: config
                .certificate_bound_credentials()
                .contains(credential.name.as_str()),
        }
    }

    /// What a token with these claims is bound to, or why that is not ours. `None` for a token that is not bound, and
    /// that anyone who has it can use.
    pub fn confirm(&self, claims: Option<&Map<String, Value>>) -> Option<Result<String, String>> {
        let confirmation = claims.and_then(|claims| claims.get("cnf"));
        let named = |member| confirmation?.get(member)?.as_str();
        let ours = [
            ("DPoP key", "jkt", &self.key),
            ("certificate", "x5t#S256", &self.certificate),
        ];
        let found: Vec<_> = ours
            .into_iter()
            .filter_map(|(what, member, ours)| {
                Some(self.compare(what, member, named(member)?, ours.as_deref()))
            })
            .collect();
        if let Some(wrong) = found.iter().find(|found| found.is_err()) {
            return Some(wrong.clone());
        }
        let unbound = self.must_name_certificate && named("x5t#S256").is_none();
        match (confirmation, claims) {
            (_, Some(_)) if unbound => Some(Err(
                "to no certificate, though an upstream presents this credential's".to_owned(),
            )),
            (Some(_), _) if found.is_empty() => {
                Some(Err("by a cnf that means nothing here".to_owned()))
            }
            (Some(_), _) => {
                let all: Vec<_> = found.into_iter().flatten().collect();
                Some(Ok(all.join("; ")))
            }
            (None, _) => self.key.as_ref().map(|_| {
                Ok("to our DPoP key, by its type; the token itself names no key".to_owned())
            }),
        }
    }
}

impl ConfirmationKeys {
    fn compare(
        &self,
        what: &str,
        member: &str,
        named: &str,
        ours: Option<&str>,
    ) -> Result<String, String> {
        // A claim may hold anything, and goes to a terminal.
        let shown = self.redactor.clean_to(LONGEST_SHOWN, named);
        match ours {
            Some(ours) if ours == named => Ok(format!("to our {what}: cnf.{member} matches")),
            Some(ours) => Err(format!(
                "to another {what}: cnf.{member} is {shown}, ours is {ours}"
            )),
            None => Err(format!(
                "to a {what} (cnf.{member} is {shown}) that requests with this token do not show"
            )),
        }
    }
}

/// The readable parts of a signed JWT.
pub(super) struct Jwt {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

/// The two readable parts of a signed JWT (RFC 7519), unverified.
pub(super) fn decode(token: &str) -> Option<Jwt> {
    let part = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let mut parts = token.split('.');
    let (header, claims) = (parts.next()?, parts.next()?);
    let (Some(_signature), None) = (parts.next(), parts.next()) else {
        return None;
    };
    Some(Jwt {
        header: part(header)?,
        claims: part(claims)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn confirm(keys: &ConfirmationKeys, claims: Value) -> Option<Result<String, String>> {
        keys.confirm(claims.as_object())
    }

    #[test]
    fn a_token_is_confirmed_by_what_the_client_holds() {
        let keys = ConfirmationKeys {
            key: Some("K".to_owned()),
            certificate: Some("C".to_owned()),
            ..ConfirmationKeys::default()
        };
        let bound = ConfirmationKeys {
            certificate: Some("C".to_owned()),
            must_name_certificate: true,
            ..ConfirmationKeys::default()
        };
        let none = ConfirmationKeys::default();
        for (keys, claims, expected) in [
            (
                &keys,
                json!({"cnf": {"jkt": "K"}}),
                Some(Ok("to our DPoP key: cnf.jkt matches")),
            ),
            (
                &keys,
                json!({"cnf": {"jkt": "k"}}),
                Some(Err("to another DPoP key: cnf.jkt is k, ours is K")),
            ),
            (
                &none,
                json!({"cnf": {"jkt": "K"}}),
                Some(Err(
                    "to a DPoP key (cnf.jkt is K) that requests with this token do not show",
                )),
            ),
            (
                &keys,
                json!({"cnf": {"x5t#S256": "C"}}),
                Some(Ok("to our certificate: cnf.x5t#S256 matches")),
            ),
            (
                &keys,
                json!({"cnf": {"x5t#S256": "\u{1b}[2J"}}),
                Some(Err(
                    "to another certificate: cnf.x5t#S256 is ?[2J, ours is C",
                )),
            ),
            (
                &keys,
                json!({"cnf": {"jkt": "K", "x5t#S256": "C"}}),
                Some(Ok(
                    "to our DPoP key: cnf.jkt matches; to our certificate: cnf.x5t#S256 matches",
                )),
            ),
            (
                &keys,
                json!({"cnf": {"jkt": "K", "x5t#S256": "c"}}),
                Some(Err("to another certificate: cnf.x5t#S256 is c, ours is C")),
            ),
            (
                &none,
                json!({"cnf": {"kid": "K"}}),
                Some(Err("by a cnf that means nothing here")),
            ),
            (
                &keys,
                json!({}),
                Some(Ok(
                    "to our DPoP key, by its type; the token itself names no key",
                )),
            ),
            (&none, json!({}), None),
            (
                &bound,
                json!({}),
                Some(Err(
                    "to no certificate, though an upstream presents this credential's",
                )),
            ),
            (
                &bound,
                json!({"cnf": {"x5t#S256": "C"}}),
                Some(Ok("to our certificate: cnf.x5t#S256 matches")),
            ),
        ] {
            let expected = expected.map(|it| it.map(str::to_owned).map_err(str::to_owned));
            assert_eq!(confirm(keys, claims.clone()), expected, "{claims}");
        }
        assert!(
            keys.confirm(None).is_some_and(|bound| bound.is_ok()),
            "opaque"
        );
        assert_eq!(none.confirm(None), None);
        assert_eq!(bound.confirm(None), None, "an opaque one may be bound");
    }
}
