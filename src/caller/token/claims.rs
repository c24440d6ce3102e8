//! What a token claims (RFC 7519 section 4.1), before anything of it is believed.

use std::time::Duration;

use serde_json::{Map, Value};

/// By how much the clocks of an issuer and of this machine may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// The claims of one token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Claims<'a> {
    /// `iss`
    pub(super) fn issuer(self) -> Option<&'a str> {
        self.text("iss")
    }

    /// `sub`
    pub(super) fn subject(self) -> Option<&'a str> {
        self.text("sub")
    }

    /// Since the Unix epoch, when the token ends to be good: `exp` with what the clocks may differ by.
    ///
    /// # Errors
    /// It has no end.
    pub(super) fn end(self) -> Result<Duration, &'static str> {
        let end = self.0.get("exp").ok_or("the token has no end (exp)")?;
        let end = date(end).ok_or("the end of the token is no date (exp)")?;
        Ok(end + LEEWAY)
    }

    /// Since the Unix epoch, when the token ends to be good, which it is now.
    ///
    /// # Errors
    /// Why it is not good now.
    pub(super) fn good_until(self, now: Duration) -> Result<Duration, &'static str> {
        let end = self.end()?;
        if now >= end {
            return Err("the token has expired");
        }
        if let Some(begin) = self.0.get("nbf") {
            let begin = date(begin).ok_or("the beginning of the token is no date (nbf)")?;
            if now.saturating_add(LEEWAY) < begin {
                return Err("the token is not valid yet (nbf)");
            }
        }
        Ok(end)
    }

    /// Whether it is meant for `audience`: `aud` is that, or a list of texts with it.
    pub(super) fn is_for(self, audience: &str) -> bool {
        self.has("aud", audience)
    }

    /// Whether a claim is exactly this text, or a list of texts with it.
    pub(super) fn has(self, name: &str, value: &str) -> bool {
        self.texts(name).any(|text| text == value)
    }

    /// What a claim says that is a text, or a list of nothing but texts.
    pub(super) fn texts(self, name: &str) -> impl Iterator<Item = &'a str> {
        let items = match self.0.get(name) {
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => &items[..],
            Some(text @ Value::String(_)) => std::slice::from_ref(text),
            _ => &[],
        };
        items.iter().filter_map(Value::as_str)
    }

    /// The service account in Kubernetes that it is a token of, as `NAMESPACE:NAME`. `sub` has to say the same as what
    /// is under `kubernetes.io`.
    pub(super) fn service_account(self) -> Option<&'a str> {
        let about = self.0.get("kubernetes.io")?;
        let namespace = about.get("namespace")?.as_str()?;
        let name = about.get("serviceaccount")?.get("name")?.as_str()?;
        let account = self.subject()?.strip_prefix("system:serviceaccount:")?;
        (account.split_once(':')? == (namespace, name)).then_some(account)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }
}

/// The first second that is no date any more: RFC 7519 section 2 takes dates from RFC 3339, whose years have four digits.
const END_OF_DATES: u64 = 253_402_300_800;

/// A NumericDate, whole or not (RFC 7519 section 2).
fn date(value: &Value) -> Option<Duration> {
    let date = match value.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok()?,
    };
    (date.as_secs() < END_OF_DATES).then_some(date)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good_until(claims: Value, now: u64) -> Result<Duration, &'static str> {
        let members = claims.as_object().unwrap();
        Claims(members).good_until(Duration::from_secs(now))
    }

    #[test]
    fn a_token_is_good_from_nbf_to_exp_with_thirty_seconds_of_leeway() {
        let claims = json!({ "exp": 2000, "nbf": 1000 });
        for now in [970, 1000, 1999, 2029] {
            let until = good_until(claims.clone(), now).unwrap();
            assert_eq!(until, Duration::from_secs(2030), "{now}");
        }
        for now in [0, 969] {
            let error = good_until(claims.clone(), now).unwrap_err();
            assert!(error.contains("not valid yet"), "{error}");
        }
        for now in [2030, u64::MAX] {
            let error = good_until(claims.clone(), now).unwrap_err();
            assert!(error.contains("expired"), "{error}");
        }
    }

    #[test]
    fn a_token_without_an_end_is_refused() {
        for exp in [
            json!(null),
            json!("2000"),
            json!([2000]),
            json!(-1),
            json!({}),
        ] {
            good_until(json!({ "exp": exp }), 1000).unwrap_err();
        }
        good_until(json!({}), 1000).unwrap_err();
        good_until(json!({ "exp": 2000, "nbf": "1000" }), 1500).unwrap_err();
        good_until(json!({ "exp": 2000, "nbf": null }), 1500).unwrap_err();
    }

    #[test]
    fn a_date_may_be_a_fraction_and_is_none_that_rfc_3339_cannot_write() {
        good_until(json!({ "exp": 1000.5 }), 1030).unwrap();
        good_until(json!({ "exp": 1000.5 }), 1031).unwrap_err();
        // 9999-12-31T23:59:59Z
        good_until(json!({ "exp": 253_402_300_799_u64 }), 1000).unwrap();
        good_until(json!({ "exp": 253_402_300_799.5 }), 1000).unwrap();
        for far in [json!(253_402_300_800_u64), json!(u64::MAX), json!(1e300)] {
            let error = good_until(json!({ "exp": far }), 1000).unwrap_err();
            assert!(error.contains("no date"), "{far}: {error}");
            let error = good_until(json!({ "exp": 2000, "nbf": far }), 1000).unwrap_err();
            assert!(error.contains("no date"), "{far}: {error}");
        }
    }

    #[test]
    fn a_claim_is_its_text_or_a_list_of_texts_with_it_and_nothing_else() {
        let has = |value: Value| Claims(json!({ "aud": value }).as_object().unwrap()).is_for("a");
        for good in [json!("a"), json!(["a"]), json!(["b", "a"])] {
            assert!(has(good.clone()), "{good}");
        }
        for bad in [
            json!("A"),
            json!("a "),
            json!("ab"),
            json!(["b"]),
            json!([]),
            json!(["a", 1]),
            json!([["a"]]),
            json!({ "a": "a" }),
            json!(null),
        ] {
            assert!(!has(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn a_service_account_is_told_twice_and_the_same() {
        let account = |claims: Value| {
            let members = claims.as_object().unwrap();
            let account = Claims(members).service_account();
            account.map(str::to_owned)
        };
        let about = |namespace: &str, name: &str| {
            json!({
                "namespace": namespace,
                "serviceaccount": { "name": name, "uid": "1" },
            })
        };
        let good = json!({ "sub": "system:serviceaccount:billing:app", "kubernetes.io": about("billing", "app") });
        assert_eq!(account(good).as_deref(), Some("billing:app"));
        for bad in [
            json!({ "sub": "system:serviceaccount:billing:app" }),
            json!({ "kubernetes.io": about("billing", "app") }),
            json!({ "sub": "system:serviceaccount:billing:app", "kubernetes.io": about("billing", "other") }),
            json!({ "sub": "system:serviceaccount:billing:app", "kubernetes.io": about("other", "app") }),
            json!({ "sub": "billing:app", "kubernetes.io": about("billing", "app") }),
            json!({ "sub": "system:node:app", "kubernetes.io": about("billing", "app") }),
            json!({ "sub": "system:serviceaccount:billing:app", "kubernetes.io": "billing/app" }),
            // A token of before 1.21, which never ends.
            json!({ "sub": "system:serviceaccount:billing:app",
                    "kubernetes.io/serviceaccount/namespace": "billing",
                    "kubernetes.io/serviceaccount/service-account.name": "app" }),
        ] {
            assert_eq!(account(bad.clone()), None, "{bad}");
        }
    }
}
