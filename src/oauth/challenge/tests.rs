//! What challenges are read as.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn rejects(lines: &[&str]) -> bool {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
    }
    rejects_token(&headers, &["Bearer"])
}

fn read(line: &str) -> Vec<(&str, Option<String>, bool)> {
    challenges(line.as_bytes())
        .map(|challenge| {
            let scheme = std::str::from_utf8(challenge.scheme).unwrap();
            let error = challenge
                .error
                .map(|e| String::from_utf8_lossy(&e).into_owned());
            (scheme, error, challenge.whole)
        })
        .collect()
}

#[test]
fn a_401_without_challenge_rejects_the_token() {
    assert!(rejects(&[]));
}

#[test]
fn a_challenge_of_our_scheme_without_error_or_with_invalid_token_rejects_it() {
    for line in [
        "Bearer",
        "bearer",
        "BEARER realm=\"x\"",
        "Bearer error=\"invalid_token\"",
        "Bearer error=invalid_token",
        "Bearer ERROR = \"invalid_token\" , realm=x",
        "Bearer realm=\"a, error=\\\"insufficient_scope\\\"\", error=\"invalid_token\"",
        "Bearer error=\"invalid\\_token\"",
        "Bearer ,, realm=x,",
        "Basic realm=\"a, b\", Bearer error=\"invalid_token\"",
        "Negotiate, Bearer",
        "Negotiate YII=, Bearer realm=x",
        "Bearer realm=\"x\", Basic realm=\"y\", error=\"insufficient_scope\"",
        ", ,Bearer",
        "Bearer\terror=\"invalid_token\"",
        "Bearer authorization_uri=https://login.example.com/a?b=c, error=invalid_token",
        "Bearer error=\"invalid_token\", error_description=The token expired",
        "Bearer error=\"invalid_token\" error_description=\"no comma\"",
        "Bearer error=\"invalid_token\", error_description=\"unterminated",
    ] {
        assert!(rejects(&[line]), "{line}");
    }
    assert!(rejects(&["Basic realm=x", "Bearer"]));
    assert!(rejects(&[
        "Bearer error=\"insufficient_scope\"",
        "Bearer error=\"invalid_token\""
    ]));
    assert!(rejects(&["\"garbage", "Bearer"]));
}

#[test]
fn a_challenge_of_another_scheme_or_a_broken_one_does_not_say_otherwise() {
    for line in [
        "Basic realm=\"x\"",
        "Basic realm=\"Bearer\"",
        "Basic realm=\"x, Bearer error=\\\"insufficient_scope\\\"\"",
        "OAuth realm=\"x\", error=\"invalid_token\"",
        "OAuth error=\"insufficient_scope\"",
        "JWT",
        "Token",
        "DPoP error=\"invalid_token\"",
        "BearerX error=\"insufficient_scope\"",
        "Basic Bearer",
        "",
        ",",
        "\"Bearer\"",
        "Bearer error=\"\"",
        "Bearer realm=\"unterminated",
        "Bearer: realm=x",
        "Bearer realm x",
        "Bearer/x",
        "Bearer realm=\"x\" trailing",
        "=Bearer",
    ] {
        assert!(rejects(&[line]), "{line}");
    }
}

#[test]
fn an_error_that_no_rfc_has_for_something_else_rejects_the_token_however_it_is_written() {
    for line in [
        "Bearer error='invalid_token'",
        "Bearer error=\"Invalid_Token\"",
        "Bearer error=\"invalid_token \"",
        "Bearer error=\"'invalid_token'\"",
        "Bearer error=\"token_expired\"",
        "Bearer error=\"expired_token\"",
        "Bearer error=\"unauthorized\"",
        "Bearer error=\" \"",
        "Bearer error=\"'\"",
        "Bearer error=\"insufficient\"",
        "Bearer error=\"insufficient_scope_or_so\"",
    ] {
        assert!(rejects(&[line]), "{line}");
    }
    assert!(rejects(&[
        "Bearer error=\"insufficient_scope\"",
        "Bearer error='INVALID_TOKEN'"
    ]));
}

#[test]
fn a_challenge_of_our_scheme_with_another_error_passes_through() {
    for line in [
        "Bearer error='insufficient_scope'",
        "Bearer error=\"Insufficient_Scope\"",
        "Bearer error=\" invalid_request\"",
        "Bearer error=\"invalid_dpop_proof\"",
        "Bearer error=\"insufficient_scope\", scope=\"a b\"",
        "Bearer scope=\"error=invalid_token\", error=\"insufficient_scope\"",
        "Bearer error=\"invalid_request\"",
        "Bearer error=\"insufficient_scope\", error=\"invalid_token\"",
        "Bearer error=\"insufficient_scope\" trailing",
        "Bearer, error=\"insufficient_scope\"",
        "Bearer , error=\"insufficient_scope\"",
        "Basic realm=x, Bearer error=insufficient_scope",
    ] {
        assert!(!rejects(&[line]), "{line}");
    }
    assert!(!rejects(&["Bearer", "Bearer error=\"insufficient_scope\""]));
}

#[test]
fn the_scheme_that_a_prefix_names_is_ours_too() {
    let mut headers = HeaderMap::new();
    let insufficient = HeaderValue::from_static("JWT error=\"insufficient_scope\"");
    headers.insert(WWW_AUTHENTICATE, insufficient);
    assert!(rejects_token(&headers, &["Bearer"]));
    assert!(!rejects_token(&headers, &["Bearer", "jwt"]));
}

#[test]
fn a_server_that_wants_a_nonce_says_nothing_about_the_token() {
    let headers = |lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        headers
    };
    for wants in [
        &["DPoP error=\"use_dpop_nonce\""][..],
        &["Bearer, dpop algs=\"ES256\", error=use_dpop_nonce"],
        &["DPoP", "DPoP error=\"use_dpop_nonce\""],
        &["DPoP error='Use_DPoP_nonce '"],
        &[
            "DPoP error=\"use_dpop_nonce\"",
            "DPoP error=\"invalid_token\"",
        ],
    ] {
        let headers = headers(wants);
        assert!(wants_nonce(&headers), "{wants:?}");
        assert!(!rejects_token(&headers, &["DPoP"]), "{wants:?}");
    }
    for rejects in [
        &["DPoP"][..],
        &["DPoP algs=\"ES256\", error=\"invalid_token\""],
        &["Bearer error=\"use_dpop_nonce\", DPoP"],
        &[],
    ] {
        let headers = headers(rejects);
        assert!(!wants_nonce(&headers), "{rejects:?}");
        assert!(rejects_token(&headers, &["DPoP"]), "{rejects:?}");
    }
    let proof = headers(&["DPoP error=\"invalid_dpop_proof\""]);
    assert!(!wants_nonce(&proof) && !rejects_token(&proof, &["DPoP"]));
    let both = headers(&["Bearer error=\"invalid_token\", DPoP error=\"use_dpop_nonce\""]);
    assert!(
        rejects_token(&both, &["Bearer"]),
        "the token sent was another"
    );
}

#[test]
fn the_reason_is_that_of_our_scheme_or_else_of_another() {
    let said = |lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        let Reason { error, description } = reason(&headers, &["Bearer"]);
        (error, description)
    };
    let pair = |error: &str, description: &str| (error.to_owned(), description.to_owned());
    let both = "Bearer realm=x, error=\"invalid_token\", error_description=\"wrong audience\"";
    assert_eq!(said(&[both]), pair("invalid_token", "wrong audience"));
    assert_eq!(
        said(&["OAuth error=a", both]),
        pair("invalid_token", "wrong audience")
    );
    assert_eq!(said(&["OAuth error=a", "Basic realm=x"]), pair("a", ""));
    assert_eq!(said(&["Bearer", "Basic realm=x"]), pair("", ""));
    assert_eq!(said(&[]), pair("", ""));
}

#[test]
fn text_beyond_ascii_is_no_obstacle() {
    let line = b"Bearer error_description=\"expir\xe9\", error=\"invalid_token\"";
    let mut headers = HeaderMap::new();
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line).unwrap());
    assert!(rejects_token(&headers, &["Bearer"]));
}

#[test]
fn several_challenges_on_one_line_are_told_apart() {
    let line = "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\", \
                Basic realm=\"simple\", Neg abc==, Bearer error=a, Last";
    let a = Some("a".to_owned());
    assert_eq!(
        read(line),
        [
            ("Newauth", None, true),
            ("Basic", None, true),
            ("Neg", None, true),
            ("Bearer", a, true),
            ("Last", None, true),
        ]
    );
}

#[test]
fn nothing_is_read_after_what_is_malformed() {
    let line = "Bearer realm=\"x\" y, Bearer error=\"invalid_token\"";
    assert_eq!(read(line), [("Bearer", None, false)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_ends_and_yields_no_more_than_it_has_bytes(
        line in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b" ,=\"\\ab\t".to_vec())], 0..60),
    ) {
        prop_assert!(challenges(&line).count() <= line.len());
    }

    #[test]
    fn a_challenge_is_found_among_others(
        before in prop::collection::vec(
            "(Basic|Digest|Neg)( ([a-z]+=\"[^\"\\\\\r\n]{0,8}\"|[a-z0-9]+=))?", 0..4),
        realm in "[ -~]{0,12}",
    ) {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let mut all = before;
        all.push(format!("Bearer realm=\"{realm}\", error=\"invalid_token\""));
        let line = all.join(", ");
        let found = challenges(line.as_bytes()).any(|challenge| {
            challenge.scheme == b"Bearer" && challenge.error.as_deref() == Some(b"invalid_token")
        });
        prop_assert!(found, "{line}");
    }
}
