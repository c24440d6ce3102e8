//! Assertions: JWTs by which a client says who it is (RFC 7523 section 3), its own and those that
//! someone else writes for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{TokenError, TokenErrorKind};
use crate::config::{Secret, SecretSource};
use crate::jose::{JwsHeader, SigningKey, sign, unique_id};

/// How long an assertion of ours can be used: as long as a slow request may be under way, so that
/// one which leaks is soon worth nothing.
const LIFETIME: Duration = Duration::from_secs(60);

/// A token whose `nbf` is in the future is sent all the same if it is no more than this many seconds ahead: the clock
/// that decides is that of the server, which may be the one that wrote the token.
const MAX_CLOCK_DIFFERENCE: i64 = 60;

/// What an assertion of ours says, and about whom.
pub(super) struct OwnAssertion<'a> {
    pub(super) client_id: &'a str,
    pub(super) audience: &'a str,
    pub(super) key_id: Option<&'a str>,
    /// Of the certificate whose key signs.
    pub(super) thumbprint: Option<&'a str>,
    /// Whether it says from when on it is good.
    pub(super) not_before: bool,
}

#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    /// One string: servers differ on what an array means.
    aud: &'a str,
    iat: u64,
    /// A server whose clock is behind would refuse it; `exp` alone bounds its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    exp: u64,
    jti: String,
}

impl OwnAssertion<'_> {
    /// An assertion that is good once, made at `issued_at`, in seconds since the Unix epoch.
    pub(super) fn sign(&self, key: &SigningKey, issued_at: u64) -> Zeroizing<String> {
        let claims = AssertionClaims {
            iss: self.client_id,
            sub: self.client_id,
            aud: self.audience,
            iat: issued_at,
            nbf: self.not_before.then_some(issued_at),
            exp: issued_at + LIFETIME.as_secs(),
            jti: unique_id(),
        };
        let header = JwsHeader {
            typ: "JWT",
            kid: self.key_id.or(key.id()),
            x5t_s256: self.thumbprint,
        };
        sign(key, header, &claims)
    }
}

/// When a JWT is good, as far as it says so.
#[derive(Deserialize)]
struct Validity {
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// A JWT of someone else, as it can be sent now. Its signature is for the server to judge.
///
/// # Errors
/// It is not a JWT, it has expired, or it is not valid yet: the program that should renew it does not.
pub(super) fn checked_jwt<'a>(
    jwt: &'a Secret,
    source: &SecretSource,
    now: SystemTime,
) -> Result<&'a str, TokenError> {
    check_jwt(jwt, now).map_err(|what| local(source, &what))
}

/// A token of someone else, which may be anything. If it says when it ends, that counts.
pub(super) fn checked_token<'a>(
    token: &'a Secret,
    source: &SecretSource,
    now: SystemTime,
) -> Result<&'a str, TokenError> {
    check_token(token, now).map_err(|what| local(source, &what))
}

/// As [`checked_jwt`]; the error is what is wrong, beginning with "it".
pub(super) fn check_jwt(jwt: &Secret, now: SystemTime) -> Result<&str, String> {
    let text = jwt.expose().trim();
    match validity(text) {
        Some(validity) => check(&validity, now)?,
        None if is_encrypted(text) => {}
        None => return Err("it holds something that is no JWT".to_owned()),
    }
    Ok(text)
}

/// As [`checked_token`]; the error is what is wrong, beginning with "it".
pub(super) fn check_token(token: &Secret, now: SystemTime) -> Result<&str, String> {
    let text = token.expose().trim();
    if let Some(validity) = validity(text) {
        check(&validity, now)?;
    }
    Ok(text)
}

fn validity(jwt: &str) -> Option<Validity> {
    serde_json::from_slice(&claims(jwt)?).ok()
}

/// What a JWT says, as JSON that nobody has read yet.
fn claims(jwt: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = jwt.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let whole = parts.next().is_none() && claims.trim_ascii_start().starts_with(b"{");
    whole.then_some(claims)
}

/// Whom a token of someone else is about: the subject and the issuer that it names (RFC 7519 section 4.1), so that
/// a renewed one is equal. One that shows none is about nobody but itself.
pub(super) fn subject(token: &Secret) -> String {
    let token = token.expose().trim();
    let named = claims(token).and_then(|claims| {
        let mut claims = serde_json::from_slice::<Value>(&claims).ok()?;
        let subject = claims.get_mut("sub")?.take();
        let issuer = claims.get_mut("iss").map(Value::take);
        Some(Value::from(vec![subject, issuer.unwrap_or_default()]).to_string())
    });
    named.unwrap_or_else(|| token.to_owned())
}

/// Whether it is a JWE (RFC 7516 section 3.1), whose claims cannot be read here.
fn is_encrypted(jwt: &str) -> bool {
    let header = jwt.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    jwt.split('.').count() == 5 && header.starts_with(b"{")
}

fn check(validity: &Validity, now: SystemTime) -> Result<(), String> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // From f64 to whole seconds: a cast rounds down and stops at the type's limits.
    let ago = |at: f64| (now.as_secs() as i64).saturating_sub(at as i64);
    if let Some(exp) = validity.exp.filter(|exp| ago(*exp) >= 0) {
        let ago = ago(exp);
        return Err(format!(
            "it holds a token that expired {ago} s ago; has what renews it stopped?"
        ));
    }
    if let Some(nbf) = validity.nbf.filter(|nbf| ago(*nbf) < -MAX_CLOCK_DIFFERENCE) {
        let ahead = -ago(nbf);
        return Err(format!(
            "it holds a token that is not valid for another {ahead} s; is this machine's clock \
             right?"
        ));
    }
    Ok(())
}

fn local(source: &SecretSource, what: &str) -> TokenError {
    TokenError::new(TokenErrorKind::Local, format!("{source:?}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn jwt(claims: &str) -> Secret {
        Secret::new(format!("e30.{}.c2ln\n", URL_SAFE_NO_PAD.encode(claims)))
    }

    fn file() -> SecretSource {
        SecretSource::File("/run/token".into())
    }

    fn judged(claims: &str) -> Result<(), String> {
        let (jwt, now) = (jwt(claims), UNIX_EPOCH + Duration::from_secs(NOW));
        let strict = checked_jwt(&jwt, &file(), now).map(|text| assert!(text.ends_with(".c2ln")));
        let strict = strict.map_err(|e| {
            assert_eq!(e.kind, TokenErrorKind::Local);
            e.message
        });
        let lenient = checked_token(&jwt, &file(), now).map(|_| ());
        assert_eq!(strict, lenient.map_err(|e| e.message), "{claims}");
        strict
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        for good in [
            "{}".to_owned(),
            format!(r#"{{"exp":{}}}"#, NOW + 1),
            format!(r#"{{"exp":{}.5,"nbf":{NOW}}}"#, NOW + 1),
            format!(r#"{{"nbf":{},"exp":null}}"#, NOW + 60),
            r#"{"exp":1e300,"nbf":-1e300}"#.to_owned(),
        ] {
            judged(&good).unwrap();
        }
        for (exp, ago) in [(NOW, 0), (NOW - 300, 300)] {
            let expected = format!(
                "file /run/token: it holds a token that expired {ago} s ago; has what renews it stopped?"
            );
            assert_eq!(judged(&format!(r#"{{"exp":{exp}}}"#)), Err(expected));
        }
        judged(r#"{"exp":-1e300}"#).unwrap_err();
    }

    #[test]
    fn a_token_from_the_future_is_not_shown() {
        let early = judged(&format!(r#"{{"nbf":{}}}"#, NOW + 61)).unwrap_err();
        assert!(early.contains("not valid for another 61 s"), "{early}");
    }

    #[test]
    fn an_encrypted_jwt_is_taken_as_it_is() {
        let (jwe, now) = (Secret::new("e30.a.b.c.d"), SystemTime::now());
        assert_eq!(checked_jwt(&jwe, &file(), now).unwrap(), "e30.a.b.c.d");
    }

    #[test]
    fn what_is_no_jwt_is_refused_where_one_is_needed() {
        let array = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode("[1]"));
        for text in [
            "opaque",
            "a.b.c",
            "e30.e30",
            "e30.e30.e30.e30",
            "a.b.c.d.e",
            "",
            &array,
        ] {
            let (text, now) = (Secret::new(text), SystemTime::now());
            let error = checked_jwt(&text, &file(), now).unwrap_err();
            assert_eq!(
                error.message,
                "file /run/token: it holds something that is no JWT"
            );
            checked_token(&text, &file(), now).unwrap();
        }
    }
}
