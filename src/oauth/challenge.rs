//! What a 401 says about our token: `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750
//! section 3).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::dpop;

#[cfg(test)]
mod tests;

/// One challenge, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The authentication scheme, as written.
    pub scheme: &'a [u8],
    /// The first parameter called `error`.
    pub error: Option<Cow<'a, [u8]>>,
    /// The first parameter called `error_description`.
    pub description: Option<Cow<'a, [u8]>>,
    /// Whether it was well-formed to its end; if not, nothing after it is read.
    pub whole: bool,
}

/// What a challenge says that does not reject the token: that it has too little scope, or that the request is
/// wrong (RFC 6750 section 3.1), or its proof (RFC 9449 section 7.1).
const OTHERWISE: [&str; 4] = [
    "insufficient_scope",
    "invalid_request",
    INVALID_PROOF,
    dpop::USE_NONCE,
];

const INVALID_PROOF: &str = "invalid_dpop_proof";

/// Whether a 401 with these headers rejects a token that was sent with one of `schemes`: unless a
/// challenge of such a scheme says otherwise, with one of the errors that the RFCs have for that. One that wants
/// another nonce in the proof ([`wants_nonce`]) says nothing about the token.
///
/// Many APIs answer an expired token with a challenge of another scheme, with one that is
/// malformed, or with an error of their own (`token_expired`), so that none of them says otherwise.
pub fn rejects_token(headers: &HeaderMap, schemes: &[&str]) -> bool {
    let mut otherwise = false;
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    for challenge in lines.flat_map(|line| challenges(line.as_bytes())) {
        let of_scheme = |scheme: &&str| challenge.scheme.eq_ignore_ascii_case(scheme.as_bytes());
        let Some(error) = challenge.error.as_deref() else {
            continue;
        };
        if schemes.iter().any(of_scheme) {
            if is_error(error, "invalid_token") {
                return !(schemes.contains(&dpop::SCHEME) && wants_nonce(headers));
            }
            otherwise |= OTHERWISE.iter().any(|known| is_error(error, known));
        }
    }
    !otherwise
}

/// Whether a challenge means `known`, in whatever case, and between blanks and quotation marks of any kind.
fn is_error(said: &[u8], known: &str) -> bool {
    let around = |byte: &u8| !(byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\''));
    let start = said.iter().position(around).unwrap_or(said.len());
    let end = said.iter().rposition(around).map_or(start, |last| last + 1);
    said[start..end].eq_ignore_ascii_case(known.as_bytes())
}

/// Why a token was rejected, in the words of the API: they may hold anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// `error` (RFC 6750 section 3); empty if the challenge has none.
    pub error: String,
    /// `error_description`; empty if there is none.
    pub description: String,
}

/// What a 401 with these headers says about a token that was sent with one of `schemes`; failing
/// that, what it says in a challenge of another scheme.
pub fn reason(headers: &HeaderMap, schemes: &[&str]) -> Reason {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let all = lines.flat_map(|line| challenges(line.as_bytes()));
    let telling = all.filter(|it| it.error.is_some() || it.description.is_some());
    let text = |bytes: Option<Cow<'_, [u8]>>| {
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let of_scheme = |scheme: &[u8]| {
        let ours = |ours: &&str| scheme.eq_ignore_ascii_case(ours.as_bytes());
        schemes.iter().any(ours)
    };
    let best = telling.min_by_key(|challenge| !of_scheme(challenge.scheme));
    best.map_or_else(Reason::default, |challenge| Reason {
        error: text(challenge.error),
        description: text(challenge.description),
    })
}

/// Whether a 401 with these headers wants a nonce of the server's own in the proof (RFC 9449
/// section 9).
pub fn wants_nonce(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let wants = |challenge: Challenge<'_>| {
        challenge
            .scheme
            .eq_ignore_ascii_case(dpop::SCHEME.as_bytes())
            && (challenge.error.as_deref()).is_some_and(|error| is_error(error, dpop::USE_NONCE))
    };
    lines
        .flat_map(|line| challenges(line.as_bytes()))
        .any(wants)
}

/// Whether a 401 with these headers refuses the proof itself (RFC 9449 section 7.1), as a server does
/// that finds it dated in the future.
pub fn refuses_proof(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    lines
        .flat_map(|line| challenges(line.as_bytes()))
        .filter_map(|challenge| challenge.error)
        .any(|error| is_error(&error, INVALID_PROOF))
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
            description: None,
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
        challenge.whole = self.parameters(spaced, &mut challenge).is_some();
        if !challenge.whole {
            self.rest = &[];
        }
        Some(challenge)
    }

    /// Consumes the parameters up to the next challenge or the end; `None` when malformed. Without
    /// a comma what follows the scheme is a parameter, and `spaced` from it.
    fn parameters(&mut self, spaced: bool, challenge: &mut Challenge<'a>) -> Option<()> {
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
            let wanted = if name.eq_ignore_ascii_case(b"error") {
                Some(&mut challenge.error)
            } else if name.eq_ignore_ascii_case(b"error_description") {
                Some(&mut challenge.description)
            } else {
                None
            };
            if let Some(first @ None) = wanted {
                *first = Some(value);
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
