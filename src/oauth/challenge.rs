//! What a 401 says about our token: `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750
//! section 3).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::dpop;

/// One challenge, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The authentication scheme, as written.
    pub scheme: &'a [u8],
    /// The first parameter called `error`.
    pub error: Option<Cow<'a, [u8]>>,
    /// Whether it was well-formed to its end; if not, nothing after it is read.
    pub whole: bool,
}

/// Whether a 401 with these headers rejects a token that was sent with one of `schemes`: unless a
/// challenge of such a scheme says otherwise, with an `error` that is not `invalid_token`
/// (RFC 6750 section 3.1). One that wants another nonce in the proof ([`wants_nonce`]) says nothing
/// about the token.
///
/// Many APIs answer an expired token with a challenge of another scheme, or with one that is
/// malformed, so that neither says otherwise.
pub fn rejects_token(headers: &HeaderMap, schemes: &[&str]) -> bool {
    let mut otherwise = false;
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    for challenge in lines.flat_map(|line| challenges(line.as_bytes())) {
        let of_scheme = |scheme: &&str| challenge.scheme.eq_ignore_ascii_case(scheme.as_bytes());
        let Some(error) = challenge.error.as_deref() else {
            continue;
        };
        if schemes.iter().any(of_scheme) {
            if error == b"invalid_token" {
                return !(schemes.contains(&dpop::SCHEME) && wants_nonce(headers));
            }
            // An empty one says nothing.
            otherwise |= !error.is_empty();
        }
    }
    !otherwise
}

/// Whether a 401 with these headers wants a nonce of the server's own in the proof (RFC 9449
/// section 9).
pub fn wants_nonce(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let wants = |challenge: Challenge<'_>| {
        challenge
            .scheme
            .eq_ignore_ascii_case(dpop::SCHEME.as_bytes())
            && challenge.error.as_deref() == Some(dpop::USE_NONCE.as_bytes())
    };
    lines
        .flat_map(|line| challenges(line.as_bytes()))
        .any(wants)
}

/// The challenges of one header line. Linear in its length, whatever it holds.
///
/// Unquoted parameter values may hold what a token may not, URLs for one; many servers send them.
pub fn challenges(line: &[u8]) -> impl Iterator<Item = Challenge<'_>> {
    let mut scanner = Scanner { rest: line };
    std::iter::from_fn(move || scanner.challenge())
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn challenge(&mut self) -> Option<Challenge<'a>> {
        self.skip(|byte| is_space(byte) || byte == b',');
        let mut challenge = Challenge {
            scheme: self.take(is_token),
            error: None,
            whole: true,
        };
        if challenge.scheme.is_empty() {
            self.rest = &[];
            return None;
        }
        let spaced = !self.take(is_space).is_empty();
        if spaced && self.token68() {
            return Some(challenge);
        }
        challenge.whole = self.parameters(spaced, &mut challenge.error).is_some();
        if !challenge.whole {
            self.rest = &[];
        }
        Some(challenge)
    }

    /// Consumes the parameters up to the next challenge or the end; `None` when malformed. Without
    /// a comma what follows the scheme is a parameter, and `spaced` from it.
    fn parameters(&mut self, spaced: bool, error: &mut Option<Cow<'a, [u8]>>) -> Option<()> {
        let mut due = !self.at_end_of_element();
        if due && !spaced {
            return None;
        }
        loop {
            self.skip(|byte| is_space(byte) || byte == b',');
            let before = self.rest;
            let name = self.take(is_token);
            self.skip(is_space);
            if name.is_empty() || !self.eat(b'=') {
                self.rest = before;
                return (!due).then_some(());
            }
            due = false;
            self.skip(is_space);
            let value = self.value()?;
            if error.is_none() && name.eq_ignore_ascii_case(b"error") {
                *error = Some(value);
            }
            self.skip(is_space);
            if !self.at_end_of_element() {
                return None;
            }
        }
    }

    fn value(&mut self) -> Option<Cow<'a, [u8]>> {
        if self.eat(b'"') {
            return self.quoted();
        }
        let plain = self.take(|byte| !is_space(byte) && !matches!(byte, b',' | b'"'));
        (!plain.is_empty()).then_some(Cow::Borrowed(plain))
    }

    /// The rest of a quoted string, unescaped; `None` without its end.
    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut value = Cow::Borrowed(self.take(|byte| !matches!(byte, b'"' | b'\\')));
        loop {
            if self.eat(b'"') {
                return Some(value);
            }
            let [b'\\', escaped, rest @ ..] = self.rest else {
                return None;
            };
            self.rest = rest;
            let value = value.to_mut();
            value.push(*escaped);
            value.extend_from_slice(self.take(|byte| !matches!(byte, b'"' | b'\\')));
        }
    }

    /// Consumes a token68 if that is all there is of this element.
    fn token68(&mut self) -> bool {
        let before = self.rest;
        let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let some = !self.take(is_token68).is_empty();
        self.skip(|byte| byte == b'=');
        self.skip(is_space);
        if some && self.at_end_of_element() {
            return true;
        }
        self.rest = before;
        false
    }

    fn at_end_of_element(&self) -> bool {
        matches!(self.rest, [] | [b',', ..])
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !belongs(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, belongs: impl Fn(u8) -> bool) {
        self.take(belongs);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
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
    fn a_challenge_of_our_scheme_with_another_error_passes_through() {
        for line in [
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
}
