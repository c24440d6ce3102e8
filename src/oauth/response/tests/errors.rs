//! Answers that bring no token: what kind of failure they are, and what is said of them.

use super::*;
use http::header::RETRY_AFTER;

#[test]
fn an_empty_refusal_of_what_the_encodings_write_differently_is_a_refusal() {
    for status in [401, 403] {
        let auth = basic(BasicEncoding::Form);
        let asked = RequestContext {
            encodings_differ: true,
            ..asked(&auth)
        };
        let error = answer(status, " ").judge(asked, UNIX_EPOCH).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Refused, "{error}");
        assert!(
            error.message.contains("basic_encoding = \"raw\""),
            "{error}"
        );
        let error = judge(answer(status, "")).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse, "{error}");
        assert!(!error.message.contains("basic_encoding"), "{error}");
    }
}

#[test]
fn a_success_with_an_error_is_no_token() {
    for error in [json!("invalid_client"), json!({"code": 1}), json!(1)] {
        let message = fault(with("error", error));
        assert!(!message.contains("basic_encoding"), "{message}");
    }
    judge(answer(200, with("error", Value::Null))).unwrap();
}

#[test]
fn the_status_and_the_error_decide_what_kind_of_failure_it_is() {
    use TokenErrorKind::*;
    let oauth = r#"{"error":"invalid_client"}"#;
    let busy = r#"{"error":"temporarily_unavailable"}"#;
    let broken = r#"{"error":"server_error"}"#;
    let object = r#"{"error":{"code":403,"message":"denied"}}"#;
    let token = with("expires_in", json!(60));
    for (status, body, kind) in [
        (400, oauth, Refused),
        (401, oauth, Refused),
        (403, oauth, Refused),
        (408, oauth, ServerError),
        (425, oauth, ServerError),
        (429, oauth, Throttled),
        (429, "slow down", Throttled),
        (400, busy, ServerError),
        (400, broken, ServerError),
        (500, oauth, ServerError),
        (503, "<html>", ServerError),
        (503, busy, ServerError),
        (400, "<html>", BadResponse),
        (404, "", BadResponse),
        (403, object, BadResponse),
        (400, &token, BadResponse),
        (302, &token, BadResponse),
        (307, oauth, BadResponse),
        (304, "", BadResponse),
    ] {
        let error = judge(answer(status, body)).unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}");
        assert_eq!(error.kind.is_permanent(), kind == Refused);
        let text = format!("https://as.example/token answered {status}");
        let redirect = error.message.contains(&format!("redirects ({status})"));
        assert!(error.message.starts_with(&text) || redirect, "{error}");
    }
}

#[test]
fn a_refusal_says_what_to_check() {
    let post = ClientAuth::SecretPost {
        secret: SecretSource::Literal(Secret::new(SECRET)),
    };
    let (form, raw) = (basic(BasicEncoding::Form), basic(BasicEncoding::Raw));
    for (auth, code, hint) in [
        (&form, "invalid_client", "basic_encoding = \"raw\""),
        (&raw, "invalid_client", "basic_encoding = \"form\""),
        (&post, "invalid_client", "\"client_secret_basic\""),
        (&form, "invalid_scope", "check scopes"),
        (&form, "invalid_target", "check resources and audience"),
        (
            &form,
            "unauthorized_client",
            "client_credentials grant for this client",
        ),
    ] {
        let body = json!({"error": code, "error_description": "No, really."});
        let error = judge_as(auth, answer(400, body.to_string())).unwrap_err();
        let start = format!("https://as.example/token answered 400 {code} (No, really.); ");
        assert!(error.message.starts_with(&start), "{error}");
        assert!(error.message.contains(hint), "{error}");
    }
}

#[test]
fn what_the_server_says_is_cleaned() {
    let description = format!("bad\n{SECRET} \u{1b}[31m{}", "x".repeat(500));
    let body = json!({"error": format!("e{SECRET}"), "error_description": description});
    let error = judge(answer(400, body.to_string())).unwrap_err();
    assert!(!error.message.contains(SECRET), "{error}");
    assert!(
        error
            .message
            .contains("e[redacted] (bad?[redacted] ?[31mxxx"),
        "{error}"
    );
    assert!(error.message.len() < 300, "{error}");

    let body = json!({"error": "x", "access_token": "tok-123", "error_description": "<tok-123>"});
    let error = judge(answer(200, body.to_string())).unwrap_err();
    assert!(error.message.contains("(<[redacted]>)"), "{error}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
    for (value, seconds) in [
        ("120", Some(120)),
        ("0", Some(0)),
        ("99999999999999999999", Some(u64::MAX)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        let mut answer = answer(429, "");
        answer.headers.insert(RETRY_AFTER, value.parse().unwrap());
        assert_eq!(
            answer.retry_after(now),
            seconds.map(Duration::from_secs),
            "{value}"
        );
        assert_eq!(
            judge(answer).unwrap_err().retry_after.is_some(),
            seconds.is_some()
        );
    }
}
