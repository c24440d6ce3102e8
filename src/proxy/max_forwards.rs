//! `Max-Forwards` of OPTIONS (RFC 9110 section 7.6.2), which tells how many proxies may pass a request on. TRACE has it
//! too, and is never passed on.

use http::header::MAX_FORWARDS;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::error::ProxyError;
use super::response::UpstreamResponse;
use super::response_body::ResponseBody;

/// The most that is passed on.
const MOST: u32 = u32::MAX;

/// Whether a request is not to be passed on, so that it is answered here. Else one less may pass it on after this.
///
/// # Errors
/// `bad_request` if it is not one number.
pub fn ends_here(head: &mut Parts) -> Result<bool, ProxyError> {
    if head.method != Method::OPTIONS {
        return Ok(false);
    }
    let mut values = head.headers.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else {
        return Ok(false);
    };
    let left = number(value).filter(|_| values.next().is_none());
    let left = left.ok_or_else(|| {
        ProxyError::bad_request("Max-Forwards of OPTIONS must be one whole number, sent once")
    })?;
    let Some(left) = left.checked_sub(1) else {
        return Ok(true);
    };
    head.headers.insert(MAX_FORWARDS, left.into());
    Ok(false)
}

/// The answer to one that ends here.
pub fn answer() -> UpstreamResponse {
    let mut answer = UpstreamResponse::new(ResponseBody::ended());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// One beyond what is passed on counts as the most.
fn number(value: &HeaderValue) -> Option<u32> {
    let digits = value.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(MOST))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn ends(method: Method, values: &[&str]) -> (Option<bool>, Vec<String>) {
        let (mut head, ()) = Request::builder()
            .method(method)
            .body(())
            .unwrap()
            .into_parts();
        for value in values {
            head.headers.append(MAX_FORWARDS, value.parse().unwrap());
        }
        let ends = ends_here(&mut head).ok();
        let left = head.headers.get_all(MAX_FORWARDS).iter();
        let left = left.map(|value| value.to_str().unwrap().to_owned());
        (ends, left.collect())
    }

    #[test]
    fn options_is_passed_on_as_often_as_it_says() {
        let most = (MOST - 1).to_string();
        for (value, expected) in [
            ("0", (Some(true), "0")),
            ("000", (Some(true), "000")),
            ("1", (Some(false), "0")),
            ("010", (Some(false), "9")),
            ("99999999999999999999999", (Some(false), &*most)),
            ("", (None, "")),
            ("-1", (None, "-1")),
            ("1, 2", (None, "1, 2")),
        ] {
            let (ends, left) = ends(Method::OPTIONS, &[value]);
            assert_eq!(
                (ends, left.as_slice()),
                (expected.0, &[expected.1.to_owned()][..]),
                "{value}"
            );
        }
        assert_eq!(ends(Method::OPTIONS, &[]), (Some(false), Vec::new()));
        assert_eq!(ends(Method::OPTIONS, &["1", "1"]).0, None);
        // Of other methods it may be ignored.
        assert_eq!(
            ends(Method::GET, &["0"]),
            (Some(false), vec!["0".to_owned()])
        );
    }
}
