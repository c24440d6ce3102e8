//! `sidebearer token`: what a token says about itself.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::confirmation::{ConfirmationKeys, Jwt, decode};
use super::output::{CommandError, block_on, print};
use super::{check, online};
use crate::config::{Config, ConfigOrigin, Credential};
use crate::oauth::{TokenEndpoint, TokenResponse};
use crate::redact::{Redactor, is_seen};

/// The whole command.
pub(super) fn run(origin: ConfigOrigin, name: &str, reveal: bool) -> Result<(), CommandError> {
    let loaded = check::offline(origin)?;
    let credential = credential(&loaded.config, name)?;
    let client = online::client(&loaded.config, credential).map_err(CommandError::Failed)?;
    block_on(show(&client, &loaded.config, credential, reveal))?
}

/// The credential of that name.
///
/// # Errors
/// Names those that there are.
pub fn credential<'c>(config: &'c Config, name: &str) -> Result<&'c Credential, CommandError> {
    config.credentials.get(name).ok_or_else(|| {
        let names: Vec<_> = config.credentials.keys().map(String::as_str).collect();
        CommandError::Usage(match names.as_slice() {
            [] => format!("there is no credential {name:?}: the configuration has none"),
            names => format!(
                "there is no credential {name:?}; there are: {}",
                names.join(", ")
            ),
        })
    })
}

/// Fetches one token of `credential` from its `endpoint` and prints what it says.
///
/// # Errors
/// Why there is no token.
pub async fn show(
    endpoint: &dyn TokenEndpoint,
    config: &Config,
    credential: &Credential,
    reveal: bool,
) -> Result<(), CommandError> {
    let timeout = credential.fetch_timeout;
    let token = tokio::time::timeout(timeout, endpoint.request())
        .await
        .map_err(|_| format!("no answer within {timeout:?}"))
        .and_then(|answer| answer.map_err(|error| error.message))
        .map_err(|reason| {
            CommandError::Failed(format!("credential {:?}: {reason}", credential.name))
        })?;
    let keys = ConfirmationKeys::of(config, credential, endpoint, &token);
    print(describe(&token, &keys, SystemTime::now(), reveal))?;
    let jwt = decode(token.access_token.expose());
    match keys.confirm(jwt.as_ref().map(|jwt| &jwt.claims)) {
        Some(Err(wrong)) => Err(CommandError::Failed(format!("the token is bound {wrong}"))),
        _ => Ok(()),
    }
}

/// Type, lifetime and decoded content, for reading; the value itself only when `reveal` is set.
pub fn describe(
    token: &TokenResponse,
    keys: &ConfirmationKeys,
    now: SystemTime,
    reveal: bool,
) -> String {
    let mut text = format!("type      {}\n", token.token_type);
    let lifetime = token.expires_in.map(human);
    let lifetime = lifetime.unwrap_or_else(|| "not said: default_lifetime applies".to_owned());
    line(&mut text, "lifetime", &lifetime);
    let jwt = decode(token.access_token.expose());
    let claims = jwt.as_ref().map(|jwt| &jwt.claims);
    match keys.confirm(claims) {
        Some(Ok(bound)) => line(&mut text, "bound", &bound),
        Some(Err(wrong)) => line(&mut text, "BOUND", &wrong),
        None => {}
    }
    match &jwt {
        Some(Jwt { header, claims }) => {
            line(&mut text, "header", &pretty(header, &keys.redactor));
            line(&mut text, "claims", &pretty(claims, &keys.redactor));
            for claim in ["iat", "nbf", "exp"] {
                if let Some(date) = claims.get(claim).and_then(Value::as_f64) {
                    line(&mut text, claim, &when(date, now));
                }
            }
            line(
                &mut text,
                "note",
                "decoded only; the signature was not verified",
            );
        }
        None => line(
            &mut text,
            "content",
            "opaque token: not a JWT, nothing to decode",
        ),
    }
    if reveal {
        line(&mut text, "token", token.access_token.expose());
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name:<9} {value}");
}

/// Indented JSON that cannot steer a terminal and holds no secret: a claim may hold anything. What
/// does not show is escaped.
fn pretty(object: &Map<String, Value>, redactor: &Redactor) -> String {
    let object = hide(&Value::Object(object.clone()), redactor);
    let mut text = String::new();
    for character in format!("{object:#}").chars() {
        if matches!(character, ' ' | '\n') || is_seen(character) {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

fn hide(value: &Value, redactor: &Redactor) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) => {
            let number = number.to_string();
            match redactor.hide(&number) {
                hidden if hidden != number => Value::String(hidden),
                _ => value.clone(),
            }
        }
        Value::String(text) => Value::String(redactor.hide(text)),
        Value::Array(all) => all.iter().map(|value| hide(value, redactor)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (redactor.hide(name), hide(value, redactor)))
            .collect(),
    }
}

/// A NumericDate (RFC 7519 section 2) as a date, and how far away it is.
fn when(date: f64, now: SystemTime) -> String {
    /// The end of the year 9999, where the date format ends too.
    const END: f64 = 253_402_300_800.0;
    if !(0.0..END).contains(&date) {
        return format!("{date}, which is no date");
    }
    let date = UNIX_EPOCH + Duration::from_secs(date as u64);
    let distance = match date.duration_since(now) {
        Ok(ahead) => format!("in {}", human(ahead)),
        Err(behind) => format!("{} ago", human(behind.duration())),
    };
    format!("{} ({distance})", httpdate::fmt_http_date(date))
}

/// `1d 2h 3m 4s`, without the units that are zero.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts: Vec<_> = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::config::Secret;

    const NOW: u64 = 1_800_000_000;

    fn described(access_token: &str, reveal: bool) -> String {
        let token = TokenResponse {
            access_token: Secret::new(access_token),
            token_type: "Bearer",
            proof_key: None,
            requester: None,
            expires_in: Some(Duration::from_secs(3723)),
        };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        describe(&token, &ConfirmationKeys::default(), now, reveal)
    }

    fn jwt(claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        format!("{header}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_jwt_is_decoded_with_dates_for_people() {
        let claims = format!(
            r#"{{"sub":"billing","iat":{},"exp":{}.5}}"#,
            NOW - 3,
            NOW + 90
        );
        let text = described(&jwt(&claims), false);
        let expected = "\
type      Bearer
lifetime  1h 2m 3s
header    {
  \"alg\": \"ES256\"
}
claims    {
  \"exp\": 1800000090.5,
  \"iat\": 1799999997,
  \"sub\": \"billing\"
}
iat       Fri, 15 Jan 2027 07:59:57 GMT (3s ago)
exp       Fri, 15 Jan 2027 08:01:30 GMT (in 1m 30s)
note      decoded only; the signature was not verified
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_a_token_is_bound_to_is_told_and_whether_that_is_ours() {
        let key = std::sync::Arc::new(crate::dpop::ProofKey::generate());
        let claims = |jkt: &str| format!(r#"{{"cnf":{{"jkt":"{jkt}"}}}}"#);
        let described = |claims: &str| {
            let token = TokenResponse {
                access_token: Secret::new(jwt(claims)),
                token_type: "DPoP",
                proof_key: Some(key.clone()),
                requester: None,
                expires_in: None,
            };
            let keys = ConfirmationKeys {
                key: Some(key.thumbprint().to_owned()),
                ..ConfirmationKeys::default()
            };
            describe(&token, &keys, UNIX_EPOCH, false)
        };
        let text = described(&claims(key.thumbprint()));
        assert!(text.starts_with("type      DPoP\n"), "{text}");
        assert!(
            text.contains("\nbound     to our DPoP key: cnf.jkt matches\n"),
            "{text}"
        );
        let text = described(&claims("other"));
        assert!(
            text.contains("\nBOUND     to another DPoP key: cnf.jkt is other"),
            "{text}"
        );
    }

    #[test]
    fn the_value_is_shown_only_when_asked_for() {
        for token in [jwt("{}"), "opaque-value-of-a-token".to_owned()] {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!described(&token, false).contains(signature));
            assert!(described(&token, true).ends_with(&format!("\ntoken     {token}\n")));
        }
    }

    #[test]
    fn what_is_no_jwt_is_called_opaque() {
        let twice = format!("{0}.{0}", jwt("{}"));
        for token in ["plain", "a.b.c", "e30.e30", "e30.WzFd.x", &twice] {
            let text = described(token, false);
            assert!(text.contains("opaque token"), "{token}: {text}");
        }
    }

    #[test]
    fn claims_cannot_steer_the_terminal() {
        let text = described(&jwt("{\"sub\":\"a\u{9b}2Jb\u{7f}\"}"), false);
        assert!(text.contains("a\\u009b2Jb\\u007f"), "{text}");
        let text = described(
            &jwt("{\"sub\":\"J\u{fc}rgen \u{202e}\u{200b}\u{e0041}\"}"),
            false,
        );
        assert!(
            text.contains("J\u{fc}rgen \\u202e\\u200b\\udb40\\udc41\""),
            "{text}"
        );
    }

    #[test]
    fn claims_do_not_show_what_the_client_proves_itself_with() {
        let claims = r#"{"correct-horse-battery":["x correct-horse y",{"a":4711471147114711}]}"#;
        let token = TokenResponse {
            access_token: Secret::new(jwt(claims)),
            token_type: "Bearer",
            proof_key: None,
            requester: None,
            expires_in: None,
        };
        let keys = ConfirmationKeys {
            redactor: Redactor::new(["correct-horse-battery", "4711471147114711"]).into(),
            ..ConfirmationKeys::default()
        };
        let text = describe(&token, &keys, UNIX_EPOCH, false);
        assert!(!text.contains("horse") && !text.contains("4711"), "{text}");
        assert_eq!(text.matches("[redacted]").count(), 3, "{text}");
    }

    #[test]
    fn absurd_dates_are_survived() {
        let text = described(&jwt(r#"{"exp":1e300,"nbf":-1}"#), false);
        assert_eq!(text.matches("which is no date").count(), 2, "{text}");
    }
}
