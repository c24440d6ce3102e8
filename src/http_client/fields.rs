//! Header fields of a response that say when to ask again.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CACHE_CONTROL, RETRY_AFTER};

/// `Retry-After` as a delay from `now`; none if absent or malformed (RFC 9110 section 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = digits(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// For how long the response may be used without asking again, if it says so (RFC 9111 section 5.2.2).
pub fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let ages = directives.filter_map(|directive| match directive.split_once('=') {
        Some((name, age)) if name.eq_ignore_ascii_case("max-age") => {
            digits(age.trim_matches('"')).map(Duration::from_secs)
        }
        None if ["no-store", "no-cache"]
            .iter()
            .any(|no| directive.eq_ignore_ascii_case(no)) =>
        {
            Some(Duration::ZERO)
        }
        _ => None,
    });
    ages.min()
}

/// Of digits alone: more than a number holds is the largest one.
pub fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_age_counts() {
        for (values, expected) in [
            (&["max-age=600"][..], Some(600)),
            (&["public, Max-Age=\"60\", must-revalidate"], Some(60)),
            (&["max-age=600", "max-age=30"], Some(30)),
            (&["max-age=600, no-cache"], Some(0)),
            (&["NO-STORE"], Some(0)),
            (&["max-age=99999999999999999999999"], Some(u64::MAX)),
            (&["max-age=-1"], None),
            (&["max-age", "s-maxage=60", ""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(max_age(&headers), expected, "{values:?}");
        }
    }
}
