//! Whether a token is bound to what its client holds (RFC 7800 section 3.1, RFC 8705 section 3.1,
//! RFC 9449 section 6.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::Credential;
use crate::jose::Certificate;
use crate::oauth::TokenResponse;

/// What a client can confirm a token with.
#[derive(Debug, Default)]
pub struct Means {
    /// `jkt` of the key that the token was asked for with.
    pub key: Option<String>,
    /// `x5t#S256` of the client's certificate.
    pub certificate: Option<String>,
}

impl Means {
    /// Those of `credential`, as they were when `token` came.
    pub fn of(credential: &Credential, token: &TokenResponse) -> Self {
        let file = credential.tls.certificate_file.as_ref();
        let pem = file.and_then(|file| std::fs::read(file).ok());
        let certificate = pem.and_then(|pem| Certificate::from_pem(&pem));
        let key = token.proof_key.as_ref();
        Self {
            key: key.map(|key| key.thumbprint().to_owned()),
            certificate: certificate.map(|certificate| certificate.thumbprint().to_owned()),
        }
    }

    /// What a token with these claims is bound to, or why that is not ours; `None` for one that
    /// whoever has it can use.
    pub fn confirm(&self, claims: Option<&Map<String, Value>>) -> Option<Result<String, String>> {
        let confirmation = claims.and_then(|claims| claims.get("cnf"));
        let named = |member| confirmation?.get(member)?.as_str();
        if let Some(jkt) = named("jkt") {
            return Some(compare("DPoP key", "cnf.jkt", jkt, self.key.as_deref()));
        }
        if let Some(thumbprint) = named("x5t#S256") {
            let ours = self.certificate.as_deref();
            return Some(compare("certificate", "cnf.x5t#S256", thumbprint, ours));
        }
        match confirmation {
            Some(_) => Some(Err("by a cnf that means nothing here".to_owned())),
            None => self.key.as_ref().map(|_| {
                Ok("to our DPoP key, by its type; the token itself names no key".to_owned())
            }),
        }
    }
}

fn compare(what: &str, claim: &str, named: &str, ours: Option<&str>) -> Result<String, String> {
    // A claim may hold anything, and goes to a terminal.
    let named: String = named
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    match ours {
        Some(ours) if ours == named => Ok(format!("to our {what}: {claim} matches")),
        Some(ours) => Err(format!(
            "to another {what}: {claim} is {named}, ours is {ours}"
        )),
        None => Err(format!(
            "to a {what} ({claim} is {named}), and this credential has none"
        )),
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

    fn confirm(means: &Means, claims: Value) -> Option<Result<String, String>> {
        means.confirm(claims.as_object())
    }

    #[test]
    fn a_token_is_confirmed_by_what_the_client_holds() {
        let means = Means {
            key: Some("K".to_owned()),
            certificate: Some("C".to_owned()),
        };
        let none = Means::default();
        for (means, claims, expected) in [
            (
                &means,
                json!({"cnf": {"jkt": "K"}}),
                Some(Ok("to our DPoP key: cnf.jkt matches")),
            ),
            (
                &means,
                json!({"cnf": {"jkt": "k"}}),
                Some(Err("to another DPoP key: cnf.jkt is k, ours is K")),
            ),
            (
                &none,
                json!({"cnf": {"jkt": "K"}}),
                Some(Err(
                    "to a DPoP key (cnf.jkt is K), and this credential has none",
                )),
            ),
            (
                &means,
                json!({"cnf": {"x5t#S256": "C"}}),
                Some(Ok("to our certificate: cnf.x5t#S256 matches")),
            ),
            (
                &means,
                json!({"cnf": {"x5t#S256": "\u{1b}[2J"}}),
                Some(Err(
                    "to another certificate: cnf.x5t#S256 is [2J, ours is C",
                )),
            ),
            (
                &none,
                json!({"cnf": {"kid": "K"}}),
                Some(Err("by a cnf that means nothing here")),
            ),
            (
                &means,
                json!({}),
                Some(Ok(
                    "to our DPoP key, by its type; the token itself names no key",
                )),
            ),
            (&none, json!({}), None),
        ] {
            let expected = expected.map(|it| it.map(str::to_owned).map_err(str::to_owned));
            assert_eq!(confirm(means, claims.clone()), expected, "{claims}");
        }
        assert!(
            means.confirm(None).is_some_and(|bound| bound.is_ok()),
            "opaque"
        );
        assert_eq!(none.confirm(None), None);
    }
}
