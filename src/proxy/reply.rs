//! The one place that turns errors into responses.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::error::{ErrorKind, ProxyError};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// Of a gRPC answer (or its trailers), in digits.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What is not sent literally in `grpc-message`: everything but 0x20 to 0x7E without `%`.
const GRPC_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A 405 names what is allowed (RFC 9110 section 15.5.6).
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The response that tells a client about an error: a problem document (RFC 9457), or for gRPC a
/// response of trailers only. Both carry `Proxy-Status` (RFC 9209), so that it is never mistaken
/// for the upstream's.
pub fn problem_response(error: &ProxyError, grpc: bool) -> Response<Bytes> {
    let mut response = if grpc {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, error.kind.grpc_status().into());
        let message = utf8_percent_encode(&error.detail, GRPC_ESCAPED).to_string();
        insert(headers, GRPC_MESSAGE, &message);
        response
    } else {
        let mut response = Response::new(document(error).into());
        *response.status_mut() = error.status();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    };
    describe(error, response.headers_mut());
    response
}

/// The same as a whole HTTP/1.1 message, for what is refused before there is a
/// request; with `close` it says that the connection ends.
pub fn problem_bytes_http1(error: &ProxyError, close: bool) -> Vec<u8> {
    let response = problem_response(error, false);
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in response.headers() {
        // Every value here is made above, of visible ASCII.
        let value = value.to_str().unwrap_or_default();
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if close {
        head.push_str("connection: close\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", response.body().len());
    let mut message = head.into_bytes();
    message.extend_from_slice(response.body());
    message
}

/// RFC 9457 section 3.1, in the order people read it.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

fn document(error: &ProxyError) -> Vec<u8> {
    let problem = Problem {
        r#type: format!("urn:sidebearer:error:{}", error.kind.code()),
        title: error.kind.title(),
        status: error.status().as_u16(),
        detail: &error.detail,
    };
    serde_json::to_vec(&problem).unwrap_or_default()
}

/// The headers that both forms have.
fn describe(error: &ProxyError, headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = format!(
        "sidebearer; error={}; details={}",
        error.kind.proxy_status(),
        sf_string(&error.detail)
    );
    insert(headers, PROXY_STATUS, &status);
    if let Some(after) = error.retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(after).into());
    }
    if let Some(challenge) = &error.challenge {
        let name = if challenge.of_proxy {
            PROXY_AUTHENTICATE
        } else {
            WWW_AUTHENTICATE
        };
        for scheme in &*challenge.schemes {
            headers.append(&name, scheme.clone());
        }
    }
    if error.kind == ErrorKind::BrowserRequest {
        // A browser that shows the refusal takes it for a page of ours, and would ask for its icon as
        // such a page may.
        let policy = HeaderValue::from_static("default-src 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if error.kind == ErrorKind::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    }
}

/// `value` is visible ASCII and spaces, so that it always fits a header.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A structured-field string (RFC 8941 section 3.3.3); what it cannot hold becomes `?`.
fn sf_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// `Retry-After` has whole seconds: rounded up, and never 0, which would mean "at once".
fn whole_seconds(duration: Duration) -> u64 {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    rounded.max(1)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn json(response: &Response<Bytes>) -> serde_json::Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    fn error(detail: impl Into<std::borrow::Cow<'static, str>>) -> ProxyError {
        ProxyError::new(ErrorKind::UpstreamConnect, detail)
    }

    #[test]
    fn a_problem_document_says_all_there_is_to_say() {
        let error = ProxyError::new(ErrorKind::TokenUnavailable, "wait \"a\" bit \\ \u{e9}\n")
            .retry_after(Duration::from_millis(1500));
        let response = problem_response(&error, false);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(headers[RETRY_AFTER], "2");
        assert_eq!(
            headers[PROXY_STATUS],
            r#"sidebearer; error=proxy_internal_error; details="wait \"a\" bit \\ ??""#
        );
        assert_eq!(
            json(&response),
            serde_json::json!({
                "type": "urn:sidebearer:error:token_unavailable",
                "title": "There is no usable token",
                "status": 503,
                "detail": "wait \"a\" bit \\ \u{e9}\n",
            })
        );
    }

    #[test]
    fn every_kind_names_itself_in_the_document_and_the_status() {
        for kind in ErrorKind::ALL {
            let response = problem_response(&ProxyError::new(kind, "x"), false);
            assert_eq!(response.status(), kind.status());
            let document = json(&response);
            assert_eq!(document["status"], kind.status().as_u16());
            assert_eq!(
                document["type"],
                format!("urn:sidebearer:error:{}", kind.code())
            );
            let status = response.headers()[PROXY_STATUS].to_str().unwrap();
            let expected = format!("sidebearer; error={}; details=\"x\"", kind.proxy_status());
            assert_eq!(status, expected);
        }
    }

    #[test]
    fn grpc_gets_trailers_only_and_no_body() {
        let response = problem_response(&error("50% done, \u{e9}\n"), true);
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        assert_eq!(headers[GRPC_STATUS], "14");
        assert_eq!(headers[GRPC_MESSAGE], "50%25 done, %C3%A9%0A");
        assert!(headers.contains_key(PROXY_STATUS));
        assert!(response.body().is_empty());
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (millis, expected) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let error = error("x").retry_after(Duration::from_millis(millis));
            let response = problem_response(&error, false);
            assert_eq!(response.headers()[RETRY_AFTER], expected, "{millis}");
        }
        assert!(
            !problem_response(&error("x"), false)
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }

    #[test]
    fn a_refused_method_is_told_which_are_allowed() {
        let response = problem_response(&ProxyError::new(ErrorKind::MethodNotAllowed, "x"), false);
        let allowed = response.headers()[ALLOW].to_str().unwrap();
        assert!(allowed.contains("GET") && !allowed.contains("TRACE"));
    }

    #[test]
    fn the_raw_form_is_one_whole_http1_message() {
        let error = ProxyError::new(ErrorKind::HeaderTooLarge, "send fewer cookies");
        let raw = String::from_utf8(problem_bytes_http1(&error, true)).unwrap();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        assert_eq!(
            lines.next(),
            Some("HTTP/1.1 431 Request Header Fields Too Large")
        );
        let lines: Vec<_> = lines.collect();
        let length = format!("content-length: {}", body.len());
        for line in [
            "content-type: application/problem+json",
            "cache-control: no-store",
            "connection: close",
            length.as_str(),
        ] {
            assert!(lines.contains(&line), "{line} in {lines:?}");
        }
        assert_eq!(body.as_bytes(), problem_response(&error, false).body());
        let open = String::from_utf8(problem_bytes_http1(&error, false)).unwrap();
        assert!(!open.contains("connection: close"));
    }

    proptest! {
        #[test]
        fn no_detail_breaks_out_of_the_form(detail in any::<String>()) {
            let error = error(detail.clone());
            let response = problem_response(&error, false);
            prop_assert_eq!(&json(&response)["detail"], detail.as_str());
            let raw = problem_bytes_http1(&error, true);
            let end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            prop_assert_eq!(&raw[end + 4..], &response.body()[..]);
            prop_assert_eq!(String::from_utf8_lossy(&raw[..end]).lines().count(), 6);
            let grpc = problem_response(&error, true);
            let message = grpc.headers()[GRPC_MESSAGE].to_str().unwrap();
            let decoded = percent_encoding::percent_decode_str(message).decode_utf8().unwrap();
            prop_assert_eq!(decoded, detail);
        }
    }
}
