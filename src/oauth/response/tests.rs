use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{BasicEncoding, SecretSource};

const SECRET: &str = "known-secret";

fn answer(status: u16, body: impl AsRef<[u8]>) -> EndpointResponse {
    EndpointResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Ok(Zeroizing::new(body.as_ref().to_vec())),
        nonce: None,
        peer: None,
    }
}

fn judge_as(auth: &ClientAuth, answer: EndpointResponse) -> Result<TokenResponse, TokenError> {
    answer.judge(asked(auth), UNIX_EPOCH)
}

fn asked(auth: &ClientAuth) -> RequestContext<'_> {
    RequestContext {
        endpoint: "https://as.example/token".to_owned(),
        possession: None,
        max_token: 16 << 10,
        auth,
        grant: &Grant::ClientCredentials,
        redactor: Redactor::new([SECRET]).into(),
        default_token_type: None,
        encodings_differ: false,
    }
}

fn judge(answer: EndpointResponse) -> Result<TokenResponse, TokenError> {
    judge_as(&basic(BasicEncoding::Form), answer)
}

fn basic(encoding: BasicEncoding) -> ClientAuth {
    let secret = SecretSource::Literal(Secret::new(SECRET));
    ClientAuth::SecretBasic { secret, encoding }
}

/// What is wrong with a 200 whose JSON is `body`.
fn fault(body: impl AsRef<[u8]>) -> String {
    let error = judge(answer(200, body)).unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::BadResponse, "{error}");
    error.message
}

fn with(member: &str, value: Value) -> String {
    let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60});
    body[member] = value;
    body.to_string()
}

#[test]
fn the_example_of_rfc_6749_is_a_token() {
    let body = r#"{
        "access_token":"2YotnFZFEjr1zCsicMWpAA", "token_type":"example",
        "expires_in":3600, "example_parameter":"example_value"
    }"#;
    assert!(fault(body).ends_with("a token_type that is neither Bearer nor DPoP"));
    let token = judge(answer(200, body.replace("\"example\"", "\"bearer\""))).unwrap();
    assert_eq!(token.access_token.expose(), "2YotnFZFEjr1zCsicMWpAA");
    assert_eq!(token.token_type, "Bearer");
    assert_eq!(token.expires_in, Some(Duration::from_secs(3600)));
}

#[test]
fn only_visible_ascii_up_to_max_token_bytes_is_an_access_token() {
    let good = |token: &str| judge(answer(200, with("access_token", token.into())));
    for token in ["t", "!~", "a.b-c_d/e+f==", &"x".repeat(16 * 1024)] {
        assert_eq!(good(token).unwrap().access_token.expose(), token);
    }
    let long = "x".repeat(16 * 1024 + 1);
    for token in [
        "",
        " ",
        "a b",
        "a\tb",
        "a\r\nX: y",
        "a\u{7f}",
        "\u{e9}",
        "\0",
        &long,
    ] {
        let error = good(token).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse);
        assert!(!error.message.contains("X: y"), "{error}");
    }
    for value in [Value::Null, json!(1), json!(["t"]), json!({"a": 1})] {
        assert!(fault(with("access_token", value)).ends_with("no access_token"));
    }
    assert!(fault(r#"{"token_type":"Bearer"}"#).ends_with("no access_token"));
}

#[test]
fn bearer_is_a_token_type_in_any_case_and_dpop_where_it_was_asked_for() {
    for name in ["Bearer", "bearer", "BEARER", "BearerToken", "bearertoken"] {
        let token = judge(answer(200, with("token_type", name.into())));
        assert_eq!(token.unwrap().token_type, "Bearer");
    }
    for other in [json!("mac"), json!(" bearer"), json!("dpop "), json!(1)] {
        assert!(fault(with("token_type", other)).ends_with("neither Bearer nor DPoP"));
    }
    let unasked = fault(with("token_type", "DPoP".into()));
    assert!(unasked.contains("nobody asked for"), "{unasked}");
    for (required, name, expected) in [
        (true, "DPoP", Ok("DPoP")),
        (true, "dpop", Ok("DPoP")),
        (
            true,
            "Bearer",
            Err("dpop = true asks for one that is bound"),
        ),
        (false, "dPoP", Ok("DPoP")),
        (false, "bearer", Ok("Bearer")),
    ] {
        let dpop = Dpop {
            required,
            key: None,
        };
        let key = Arc::new(ProofKey::generate());
        let possession = Some((&dpop, key.clone()));
        let auth = basic(BasicEncoding::Form);
        let asked = RequestContext {
            possession,
            ..asked(&auth)
        };
        let token = answer(200, with("token_type", name.into())).judge(asked, UNIX_EPOCH);
        match (token, expected) {
            (Ok(token), Ok(expected)) => {
                assert_eq!(token.token_type, expected);
                let bound = token
                    .proof_key
                    .is_some_and(|bound| Arc::ptr_eq(&bound, &key));
                assert_eq!(bound, expected == "DPoP");
            }
            (Err(error), Err(expected)) => {
                assert_eq!(error.kind, TokenErrorKind::BadResponse);
                assert!(error.message.contains(expected), "{error}");
            }
            (token, _) => panic!("{required} {name}: {token:?}"),
        }
    }
    for nameless in [
        with("token_type", Value::Null),
        with("token_type", "".into()),
        r#"{"access_token":"t"}"#.to_owned(),
    ] {
        let told = fault(nameless.clone());
        assert!(
            told.contains("no token_type; default_token_type = "),
            "{told}"
        );
        let auth = basic(BasicEncoding::Form);
        let asked = RequestContext {
            default_token_type: Some("Bearer"),
            ..asked(&auth)
        };
        let token = answer(200, nameless).judge(asked, UNIX_EPOCH).unwrap();
        assert_eq!(token.token_type, "Bearer");
    }
}

#[test]
fn a_server_that_wants_proofs_where_none_are_configured_refuses() {
    for code in ["use_dpop_nonce", "invalid_dpop_proof"] {
        let body = format!(r#"{{"error":"{code}"}}"#);
        let error = judge(answer(400, &body)).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Refused, "{code}");
        assert!(error.message.ends_with("set dpop = true"), "{error}");
    }
}

#[test]
fn a_lifetime_is_a_number_of_at_least_one_and_zero_is_none() {
    let lifetime = |value: &str| {
        let body = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{value}}}"#);
        judge(answer(200, body)).map(|token| token.expires_in)
    };
    let huge = u64::from(u32::MAX);
    for (value, seconds) in [
        ("1", 1),
        ("3600", 3600),
        ("\"3600\"", 3600),
        ("\" 60 \"", 60),
        ("3600.0", 3600),
        ("\"3599.5\"", 3599),
        ("1.999", 1),
        ("1e3", 1000),
        ("99999999999", huge),
        ("18446744073709551616", huge),
        ("1e300", huge),
        ("\"99999999999999999999999999\"", huge),
    ] {
        let found = lifetime(value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(found, Some(Duration::from_secs(seconds)), "{value}");
    }
    for unknown in ["null", "0", "0.0", "\"0\"", "\"\"", "\" \""] {
        assert_eq!(lifetime(unknown).unwrap(), None, "{unknown}");
    }
    let absent = answer(200, r#"{"access_token":"t","token_type":"bearer"}"#);
    assert_eq!(judge(absent).unwrap().expires_in, None);
    for value in [
        "-1", "0.9", "-0.0", "\"-5\"", "\"-\"", "\"1h\"", "\"inf\"", "\"NaN\"", "\".\"", "true",
        "[60]", "{}", "1e999", "\"0x10\"",
    ] {
        let error = lifetime(value).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse, "{value}");
    }
}

#[test]
fn an_answer_must_be_one_json_object() {
    for (body, what) in [
        ("", "without a body"),
        (" \r\n", "without a body"),
        ("<!doctype html>", "with HTML or XML instead of JSON"),
        (
            "access_token=t&token_type=bearer",
            "with something other than a JSON object",
        ),
        (
            r#"["t","Bearer",60]"#,
            "with something other than a JSON object",
        ),
        ("null", "with something other than a JSON object"),
        (r#"{"access_token":"t","token_type":"#, "cut off"),
        (
            r#"{"access_token":"t","token_type":"bearer"} x"#,
            "malformed",
        ),
        (
            r#"{"access_token":"a","token_type":"bearer","access_token":"b"}"#,
            "repeats a member",
        ),
    ] {
        let message = fault(body);
        assert!(message.contains(what), "{body}: {message}");
    }
    fault(b"{\"access_token\":\"\xff\",\"token_type\":\"bearer\"}");
    let mut oversized = answer(200, "");
    oversized.body = Err("with more than max_response_bytes");
    assert!(
        judge(oversized)
            .unwrap_err()
            .message
            .ends_with("200 with more than max_response_bytes")
    );
}

#[test]
fn an_empty_error_beside_a_token_is_none() {
    let token = judge(answer(200, with("error", "".into()))).unwrap();
    assert_eq!(token.access_token.expose(), "t");
    // Nor is it an answer that says what is wrong.
    let error = judge(answer(400, r#"{"error":""}"#)).unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::BadResponse);
    assert!(error.message.contains("without an OAuth error"), "{error}");
}

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

proptest! {
    #[test]
    fn bytes_never_panic(status in 100u16..=999, body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(token) = judge(answer(status, body)) {
            prop_assert!(token.access_token.expose().bytes().all(|b| b.is_ascii_graphic()));
        }
    }

    #[test]
    fn a_token_with_forbidden_characters_is_never_accepted(
        token in "([!-~]{0,5}|.{0,5}){0,3}", kind in "(?i)bearer", lifetime in any::<f64>(),
    ) {
        let body = json!({"access_token": token, "token_type": kind, "expires_in": lifetime});
        let good = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        match judge(answer(200, body.to_string())) {
            Ok(found) => {
                prop_assert!(good);
                prop_assert_eq!(found.access_token.expose(), token);
                prop_assert!(found.expires_in.is_none_or(|t| t >= Duration::from_secs(1)));
            }
            Err(error) => {
                prop_assert!(!good || lifetime < 1.0, "{}", error);
                prop_assert!(error.message.bytes().all(|b| matches!(b, b' '..=b'~')));
            }
        }
    }
}
