//! Answers of a token endpoint: a token is what the answer says and nothing else, and a failure
//! never says what is secret.
//!
//! The first line is a status, a space, and `Retry-After`, or whether the token is to be bound to a
//! key: `R`equired or `O`ptional; the rest is the body.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arbitrary::{Arbitrary, Unstructured};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use sidebearer::config::{BasicEncoding, ClientAuth, Dpop, Grant, Secret, SecretSource};
use sidebearer::dpop::ProofKey;
use sidebearer::oauth::response::{EndpointResponse, RequestContext};
use sidebearer::oauth::{TokenError, TokenErrorKind, TokenResponse};
use sidebearer::redact::Redactor;
use sidebearer_fuzz::{SECRET, measure};
use zeroize::Zeroizing;

static KEY: LazyLock<Arc<ProofKey>> = LazyLock::new(|| Arc::new(ProofKey::generate()));
const ENDPOINT: &str = "https://as.example/token";
const MEMBERS: [&str; 6] = [
    "access_token",
    "token_type",
    "issued_token_type",
    "expires_in",
    "error",
    "error_description",
];
const MAX_TOKEN: usize = 16 * 1024;

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Ok(changes) = Vec::<Change>::arbitrary_take_rest(Unstructured::new(data)) {
        check(changed(&changes).as_bytes());
    }
});

/// Members that a good answer has instead of its own, or beside them.
#[derive(Debug, Arbitrary)]
struct Change {
    name: u8,
    value: Shape,
    beside: bool,
}

#[derive(Debug, Arbitrary)]
enum Shape {
    Known(u8),
    Number(i32),
    Fraction(f32),
    Text(String),
    List(Vec<bool>),
}

const KNOWN: [&str; 21] = [
    "null",
    "0",
    "1",
    "1e3",
    "4294967296",
    "18446744073709551616",
    "\"0\"",
    "\" 60 \"",
    "\"1.5\"",
    "\"Bearer\"",
    "\"bearerTOKEN\"",
    "\"dPoP\"",
    "\"N_A\"",
    "\"t\"",
    "\"a b\"",
    "\"\"",
    "\"invalid_client\"",
    "\"temporarily_unavailable\"",
    "\"hunter2\"",
    "\"client hunter2 is unknown\"",
    "\"urn:ietf:params:oauth:token-type:refresh_token\"",
];

fn changed(changes: &[Change]) -> String {
    let mut members: Vec<(&str, String)> = vec![
        ("access_token", "\"t\"".to_owned()),
        ("token_type", "\"Bearer\"".to_owned()),
        ("expires_in", "60".to_owned()),
    ];
    let mut status = "200";
    for change in changes.iter().take(6) {
        let value = match &change.value {
            Shape::Known(index) => KNOWN[usize::from(*index) % KNOWN.len()].to_owned(),
            Shape::Number(number) => number.to_string(),
            Shape::Fraction(number) => Value::from(*number).to_string(),
            Shape::Text(text) => Value::from(text.as_str()).to_string(),
            Shape::List(list) => Value::from(list.as_slice()).to_string(),
        };
        let Some(name) = MEMBERS.get(usize::from(change.name) % 8) else {
            status = ["400", "401", "429", "503", "302"][value.len() % 5];
            continue;
        };
        if !change.beside {
            members.retain(|(other, _)| other != name);
        }
        members.push((name, value));
    }
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    let binding = ["", "R", "O"][changes.len() % 3];
    format!("{status} {binding}\n{{{}}}", members.join(","))
}

fn check(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (head, body) = (&data[..end], &data[end + 1..]);
    let space = head
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(head.len());
    let Ok(status) = StatusCode::from_bytes(&head[..space]) else {
        return;
    };
    let mut headers = HeaderMap::new();
    let retry_after = HeaderValue::from_bytes(head.get(space + 1..).unwrap_or_default());
    if let Ok(value) = retry_after {
        headers.insert(RETRY_AFTER, value);
    }
    let answer = EndpointResponse {
        status,
        headers,
        body: Ok(Zeroizing::new(body.to_vec())),
        nonce: None,
        peer: None,
    };
    let auth = ClientAuth::SecretBasic {
        secret: SecretSource::Literal(Secret::new(SECRET)),
        encoding: BasicEncoding::Form,
    };
    let required = match head.get(space + 1) {
        Some(b'R') => Some(true),
        Some(b'O') => Some(false),
        _ => None,
    };
    let dpop = required.map(|required| Dpop {
        required,
        key: None,
    });
    let asked = RequestContext {
        endpoint: ENDPOINT.to_owned(),
        max_token: MAX_TOKEN,
        possession: dpop.as_ref().zip(required.map(|_| KEY.clone())),
        auth: &auth,
        grant: &Grant::ClientCredentials,
        redactor: Redactor::new([SECRET]).into(),
        default_token_type: None,
        encodings_differ: false,
        requester: None,
    };
    let (result, cost) = measure(|| answer.judge(asked, SystemTime::now()));
    assert!(cost.peak <= 128 * data.len() + 64 * 1024, "{cost:?}");
    assert!(!format!("{result:?}").contains(SECRET), "{result:?}");
    let members = members(body);
    match result {
        Ok(token) => {
            good(&token, status, &members.expect("a token of no object"));
            let bound = token.token_type == "DPoP";
            assert_eq!(token.proof_key.is_some(), bound);
            assert!(!bound || required.is_some(), "nobody asked for it");
            assert!(bound || required != Some(true), "it is not bound");
        }
        Err(error) => {
            refused(&error, status);
            if let Some(members) = members {
                assert!(
                    required == Some(true) || !plain(status, &members),
                    "a good token was refused: {error}"
                );
            }
        }
    }
}

/// Everything of a token is in the answer, which has no second meaning.
fn good(token: &TokenResponse, status: StatusCode, members: &[(String, Value)]) {
    assert!(status.is_success());
    let member = |name: &str| {
        let mut values = members
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value);
        let only = values.next().filter(|value| !value.is_null());
        assert!(values.next().is_none(), "{name} is there twice");
        only
    };
    let value = token.access_token.expose();
    assert_eq!(member("access_token").and_then(Value::as_str), Some(value));
    assert!((1..=MAX_TOKEN).contains(&value.len()));
    assert!(value.bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
    assert!(member("error").is_none_or(|error| *error == ""));
    let named = member("token_type").and_then(Value::as_str).unwrap();
    let expected = match &*named.to_ascii_lowercase() {
        "bearer" | "bearertoken" => "Bearer",
        "dpop" => "DPoP",
        other => panic!("{other} is no type of token"),
    };
    assert_eq!(token.token_type, expected);
    let issued = member("issued_token_type").and_then(Value::as_str);
    assert_ne!(
        issued,
        Some("urn:ietf:params:oauth:token-type:refresh_token")
    );
    let most = f64::from(u32::MAX);
    match (member("expires_in"), token.expires_in) {
        (None, lifetime) => assert_eq!(lifetime, None),
        (Some(said), lifetime) => {
            let text = said.as_str().map(str::trim);
            let said = said.as_f64().or_else(|| text?.parse().ok());
            let said = said.unwrap_or_else(|| {
                assert_eq!(text, Some(""));
                0.0
            });
            assert!(said == 0.0 || said >= 1.0);
            let expected = Duration::from_secs(said.min(most) as u64);
            assert_eq!(lifetime, Some(expected).filter(|_| said > 0.0), "{said}");
        }
    }
}

/// What has to be taken: nothing unusual in it.
fn plain(status: StatusCode, members: &[(String, Value)]) -> bool {
    let [(first, token), (second, kind), (third, lifetime)] = members else {
        return false;
    };
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let token = text(token);
    [&**first, second, third] == ["access_token", "token_type", "expires_in"]
        && status == StatusCode::OK
        && (1..=MAX_TOKEN).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic())
        && text(kind).eq_ignore_ascii_case("bearer")
        && lifetime.as_u64().is_some_and(|seconds| seconds > 0)
}

fn refused(error: &TokenError, status: StatusCode) {
    let message = &error.message;
    assert!(message.len() <= 1024, "{message}");
    assert!(
        message.bytes().all(|byte| (0x20..=0x7E).contains(&byte)),
        "{message}"
    );
    assert!(!message.to_ascii_lowercase().contains(SECRET), "{message}");
    assert!(message.starts_with(ENDPOINT));
    let expected = match status.as_u16() {
        429 => vec![TokenErrorKind::Throttled],
        408 | 425 | 500..=599 => vec![TokenErrorKind::ServerError],
        400..=499 => vec![
            TokenErrorKind::Refused,
            TokenErrorKind::ServerError,
            TokenErrorKind::BadResponse,
        ],
        _ => vec![TokenErrorKind::BadResponse],
    };
    assert!(expected.contains(&error.kind), "{error:?}");
}

/// The members of a JSON object that count, in their order, repeated ones too. The others need only
/// be well-formed: what a server says there in another encoding costs nobody a token.
fn members(body: &[u8]) -> Option<Vec<(String, Value)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                if MEMBERS.contains(&&*name) {
                    members.push((name, map.next_value()?))
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(members)
        }
    }
    let text = String::from_utf8_lossy(body);
    let mut json = serde_json::Deserializer::from_str(&text);
    let members = json.deserialize_map(Members).ok()?;
    json.end().ok()?;
    Some(members)
}
