use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{BasicEncoding, SecretSource};

mod errors;

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
        requester: None,
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
fn another_encoding_costs_nobody_a_token_that_is_whole() {
    let bearer = b"\"access_token\":\"t\",\"token_type\":\"bearer\"";
    for other in [
        &b"\"sc\xf6pe\":1"[..],
        b"\"scope\":\"\xf6\"",
        b"\"\xff\":{\"\xff\":[\"\xff\"]}",
    ] {
        let token = judge(answer(200, [b"{", other, b",", bearer, b"}"].concat())).unwrap();
        assert_eq!(token.access_token.expose(), "t");
    }
    let message = fault(b"{\"access_token\":\"\xff\",\"token_type\":\"bearer\"}");
    assert!(
        message.contains("characters that no header may hold"),
        "{message}"
    );
    let error = b"{\"error\":\"invalid_client\",\"error_description\":\"g\xe9n\xe9ral\"}";
    let error = judge(answer(401, error)).unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Refused);
    assert!(error.message.contains("401 invalid_client"), "{error}");
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
