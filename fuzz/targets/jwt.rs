//! Tokens of callers and sets of keys: whatever they are, nothing panics, memory is bounded, and no token that nobody
//! signed is taken for a signed one.
//!
//! The input is a token, or a set of keys; and once more the parts of a token that is nearly right.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use sidebearer::jose::{Algorithm, KeySet, UnverifiedJwt};
use sidebearer_fuzz::measure;

/// Keys of RFC 7638, RFC 9449 and RFC 8037. Whatever the fuzzer finds, it cannot sign with them.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let set = br#"{"keys":[
        {"kty":"RSA","kid":"r","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"},
        {"kty":"EC","crv":"P-256","kid":"e","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"},
        {"kty":"OKP","crv":"Ed25519","kid":"o","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    ]}"#;
    KeySet::read(set).expect("a set of three keys")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    token(&text);
    keys(data);
    if let Ok(shaped) = Shaped::arbitrary_take_rest(Unstructured::new(data)) {
        let shaped = shaped.text();
        token(&shaped);
        // What was signed is not in the header.
        token(&format!("{shaped}."));
    }
});

/// A token that is nearly right.
#[derive(Debug, Arbitrary)]
struct Shaped {
    algorithm: u8,
    kid: u8,
    more: String,
    claims: String,
    signature: Vec<u8>,
}

impl Shaped {
    fn text(&self) -> String {
        const ALGORITHMS: [&str; 9] = [
            "RS256", "PS256", "ES256", "ES384", "EdDSA", "none", "HS256", "RS512", "",
        ];
        let alg = ALGORITHMS[usize::from(self.algorithm) % ALGORITHMS.len()];
        let kid = ["r", "e", "o", "x"][usize::from(self.kid) % 4];
        let header = format!("{{\"alg\":\"{alg}\",\"kid\":\"{kid}\"{}}}", self.more);
        let claims = format!("{{\"sub\":\"a\"{}}}", self.claims);
        let parts = [header.as_bytes(), claims.as_bytes(), &self.signature];
        parts.map(base64url).join(".")
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for digit in 0..=three.len() {
            let at = word >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[at as usize]));
        }
    }
    text
}

fn token(text: &str) {
    let (read, cost) = measure(|| UnverifiedJwt::parse(text));
    assert!(
        cost.peak <= 128 * text.len().min(UnverifiedJwt::MAX_BYTES) + 64 * 1024,
        "{cost:?}"
    );
    let jwt = match read {
        Ok(jwt) => jwt,
        Err(why) => {
            assert!(why.len() < 100, "{why}");
            return;
        }
    };
    assert!(text.len() <= UnverifiedJwt::MAX_BYTES);
    assert_eq!(text.split('.').count(), 3);
    assert!(Algorithm::ASYMMETRIC.contains(&jwt.algorithm));
    for key in &KEYS.keys {
        assert!(!key.verifies(&jwt), "nobody has signed {text}");
    }
}

fn keys(data: &[u8]) {
    let (read, cost) = measure(|| KeySet::read(data));
    assert!(cost.peak <= 128 * data.len() + 64 * 1024, "{cost:?}");
    match read {
        Ok(set) => assert!((1..=KeySet::MAX_KEYS).contains(&set.keys.len())),
        Err(why) => assert!(why.len() < 200 && why.is_ascii(), "{why}"),
    }
}
