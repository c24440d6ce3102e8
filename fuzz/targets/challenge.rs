//! Challenges: nothing is reported that is not in the text, everything well-formed is, and the time
//! is linear.

#![no_main]

use std::borrow::Cow;

use arbitrary::{Arbitrary, Unstructured};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sidebearer::oauth::challenge::{Challenge, challenges, rejects_token};
use sidebearer_fuzz::measure;

fuzz_target!(|data: &[u8]| {
    is_in_the_text(data);
    is_linear(data);
    decides_by_challenges(data);
    if let Ok(written) = Vec::<Written>::arbitrary_take_rest(Unstructured::new(data)) {
        is_read_as_written(&written);
    }
});

fn is_in_the_text(line: &[u8]) {
    let all = line.as_ptr_range();
    let within = |part: &[u8]| {
        let part = part.as_ptr_range();
        all.start <= part.start && part.end <= all.end
    };
    let mut last = all.start;
    let mut whole = true;
    for challenge in challenges(line) {
        assert!(whole, "read on after what was malformed");
        whole = challenge.whole;
        let scheme = challenge.scheme.as_ptr_range();
        assert!(within(challenge.scheme) && !challenge.scheme.is_empty());
        assert!(last <= scheme.start, "read backwards");
        last = scheme.end;
        match &challenge.error {
            Some(Cow::Borrowed(error)) => assert!(within(error)),
            Some(Cow::Owned(error)) => {
                let mut text = line.iter();
                assert!(error.iter().all(|byte| text.any(|other| other == byte)));
            }
            None => {}
        }
    }
    assert!(challenges(line).count() <= line.len());
}

/// Even when it goes on and on.
fn is_linear(line: &[u8]) {
    const LONG: usize = 16 * 1024;
    if line.is_empty() {
        return;
    }
    let long: Vec<u8> = line.iter().copied().cycle().take(LONG).collect();
    let (_, cost) = measure(|| challenges(&long).for_each(drop));
    assert!(cost.millis < 100, "{cost:?}");
    assert!(cost.peak <= 4 * LONG && cost.taken <= 16 * LONG, "{cost:?}");
}

/// The errors that say nothing against the token (RFC 6750 section 3.1, RFC 9449 sections 7.1 and 9).
const OTHERWISE: [&str; 4] = [
    "insufficient_scope",
    "invalid_request",
    "invalid_dpop_proof",
    "use_dpop_nonce",
];

fn decides_by_challenges(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    let values = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    let (mut rejected, mut otherwise) = (false, false);
    for value in values {
        for Challenge { scheme, error, .. } in challenges(value.as_bytes()) {
            if let Some(error) = error.filter(|_| scheme.eq_ignore_ascii_case(b"bearer")) {
                let said = String::from_utf8_lossy(&error).to_ascii_lowercase();
                let said =
                    said.trim_matches(|c: char| c.is_ascii_whitespace() || "\"'".contains(c));
                rejected |= said == "invalid_token";
                otherwise |= OTHERWISE.contains(&said);
            }
        }
        headers.append(WWW_AUTHENTICATE, value);
    }
    let rejected = rejected || !otherwise;
    assert_eq!(rejects_token(&headers, &["Bearer"]), rejected);
}

/// A challenge, and how it is written.
#[derive(Debug, Arbitrary)]
struct Written {
    scheme: Token,
    kind: Kind,
    /// Empty elements before it.
    commas: u8,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Bare,
    Token68(Token, u8),
    Parameters(Parameter, Vec<Parameter>),
}

#[derive(Debug, Arbitrary)]
struct Parameter {
    is_error: bool,
    name: Token,
    value: Value,
    spaces: [u8; 3],
}

#[derive(Debug, Arbitrary)]
enum Value {
    Plain(Token),
    /// Bytes that are escaped if they have to be, or if their flag says so.
    Quoted(Vec<(u8, bool)>),
}

#[derive(Debug, Arbitrary)]
struct Token(Vec<u8>);

impl Token {
    fn text(&self) -> Vec<u8> {
        const CHARACTERS: &[u8] = b"ABCXYZabcxyz0189-._~+/";
        let characters = self.0.iter().take(16);
        let mut text = vec![b'T'];
        text.extend(characters.map(|byte| CHARACTERS[usize::from(*byte) % 20]));
        text
    }
}

impl Parameter {
    fn write(&self, out: &mut Vec<u8>) -> Option<Vec<u8>> {
        let spaces = |count: u8| vec![b" \t"[usize::from(count / 4 % 2)]; usize::from(count % 3)];
        out.extend_from_slice(&if self.is_error {
            b"Error".to_vec()
        } else {
            self.name.text()
        });
        out.extend(spaces(self.spaces[0]));
        out.push(b'=');
        out.extend(spaces(self.spaces[1]));
        let value = match &self.value {
            Value::Plain(token) => {
                out.extend(token.text());
                token.text()
            }
            Value::Quoted(bytes) => {
                out.push(b'"');
                for (byte, escape) in bytes {
                    if *escape || b"\"\\".contains(byte) {
                        out.push(b'\\');
                    }
                    out.push(*byte);
                }
                out.push(b'"');
                bytes.iter().map(|(byte, _)| *byte).collect()
            }
        };
        out.extend(spaces(self.spaces[2]));
        self.is_error.then_some(value)
    }
}

fn is_read_as_written(written: &[Written]) {
    let mut line = Vec::new();
    let mut expected = Vec::new();
    for challenge in written.iter().take(8) {
        line.extend(b", ".repeat(usize::from(challenge.commas % 3)));
        let scheme = challenge.scheme.text();
        line.extend_from_slice(&scheme);
        let mut error = None;
        match &challenge.kind {
            Kind::Bare => {}
            Kind::Token68(token, padding) => {
                line.push(b' ');
                line.extend(token.text());
                line.extend(b"=".repeat(usize::from(padding % 3)));
            }
            Kind::Parameters(first, more) => {
                line.push(b' ');
                error = first.write(&mut line);
                for parameter in more.iter().take(4) {
                    line.extend(b" ,\t");
                    let value = parameter.write(&mut line);
                    error = error.or(value);
                }
            }
        }
        line.push(b',');
        expected.push((scheme, error, true));
    }
    let read = challenges(&line).map(|challenge| {
        let error = challenge.error.map(Cow::into_owned);
        (challenge.scheme.to_vec(), error, challenge.whole)
    });
    let read: Vec<_> = read.collect();
    assert_eq!(read, expected, "{}", String::from_utf8_lossy(&line));
}
