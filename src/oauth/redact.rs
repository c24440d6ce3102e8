//! Cleaning of text that a server supplied, before it may reach a log or an error.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::form::form_encode;

/// Longest text taken over from a server, in characters.
const LIMIT: usize = 200;
/// Shorter pieces of base64 are in every text by chance, and give nothing away.
const SHORTEST_BASE64: usize = 4;
/// What is shorter is no signature, and may be in every text.
const SHORTEST_SIGNATURE: usize = 16;
const REDACTED: &str = "[redacted]";
/// Stands for [`REDACTED`] until all secrets are found, or they would be found in it.
const MARK: char = '\0';

/// Knows what must not be shown.
pub struct Redactor {
    secrets: Vec<Zeroizing<String>>,
    /// Every form in which a server may echo a secret.
    echoes: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// Knows `secrets`; empty ones are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut redactor = Self {
            secrets: Vec::new(),
            echoes: Vec::new(),
        };
        for secret in secrets {
            redactor.add(secret);
        }
        redactor
    }

    /// Knows one more.
    pub fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let mut percent = Zeroizing::new(String::with_capacity(3 * secret.len()));
        form_encode(secret, &mut percent);
        let form = byte_serialize(secret.as_bytes()).collect::<String>();
        let plain = Zeroizing::new(secret.to_owned());
        for text in [plain.clone(), percent, Zeroizing::new(form)] {
            self.echoes.extend(within_base64(text.as_bytes()));
            self.echoes.push(text);
        }
        self.secrets.push(plain);
    }

    /// Knows a JWT, and its signature: what stands before that proves nothing alone.
    pub fn add_jwt(&mut self, jwt: &str) {
        self.add(jwt);
        let signature = jwt.rsplit_once('.').map(|(_, signature)| signature);
        if let Some(signature) = signature.filter(|s| s.len() >= SHORTEST_SIGNATURE) {
            self.add(signature);
        }
    }

    /// `text` as visible ASCII and spaces, at most 200 characters, every known secret replaced:
    /// raw, percent-encoded, form-encoded and in base64, alone or within something longer.
    pub fn clean(&self, text: &str) -> String {
        let masked = self.mask(text);
        if self.hides_in_escapes(&masked) {
            return REDACTED.to_owned();
        }
        let pieces: Vec<String> = masked.split(MARK).map(visible).collect();
        let mut clean = pieces.join(REDACTED);
        if clean.len() > LIMIT {
            clean.truncate(LIMIT - 3);
            clean.push_str("...");
        }
        clean
    }

    /// `text` with a [`MARK`] for each stretch of secrets.
    fn mask(&self, text: &str) -> String {
        let mut secret = vec![false; text.len()];
        for echo in &self.echoes {
            for at in find_all(text.as_bytes(), echo.as_bytes()) {
                secret[at..at + echo.len()].fill(true);
            }
        }
        let mut masked = String::with_capacity(text.len());
        let mut inside = false;
        for (at, character) in text.char_indices() {
            // A match in the middle of a character hides all of it.
            let hide = secret[at..at + character.len_utf8()].contains(&true);
            match (hide, inside) {
                (true, false) => masked.push(MARK),
                (true, true) => {}
                (false, _) => masked.push(character),
            }
            inside = hide;
        }
        masked
    }

    /// Whether a secret shows once escapes are undone: someone escaped more, or less, than we do.
    fn hides_in_escapes(&self, text: &str) -> bool {
        let spaced = Zeroizing::new(text.replace('+', " "));
        [text, &spaced].into_iter().any(|text| {
            let decoded = Zeroizing::new(percent_decode_str(text).collect::<Vec<u8>>());
            let mut secrets = self.secrets.iter();
            secrets.any(|secret| find_all(&decoded, secret.as_bytes()).next().is_some())
        })
    }
}

/// Everything but visible ASCII and spaces replaced, so that no log is forged or broken.
pub(super) fn visible(text: &str) -> String {
    let shown = |c: char| matches!(c, ' '..='~');
    text.chars()
        .map(|c| if shown(c) { c } else { '?' })
        .collect()
}

/// Where `needle` begins, whatever the case: hexadecimal escapes may be in either.
fn find_all(text: &[u8], needle: &[u8]) -> impl Iterator<Item = usize> {
    text.windows(needle.len())
        .enumerate()
        .filter(move |(_, window)| window.eq_ignore_ascii_case(needle))
        .map(|(at, _)| at)
}

/// What base64 of any text that holds `secret` must contain: three alignments, less the characters
/// that depend on the neighbours.
fn within_base64(secret: &[u8]) -> Vec<Zeroizing<String>> {
    let mut pieces = Vec::new();
    for offset in 0..3 {
        let mut shifted = Zeroizing::new(vec![0; offset]);
        shifted.reserve_exact(secret.len());
        shifted.extend_from_slice(secret);
        let (start, end) = ((offset * 8).div_ceil(6), shifted.len() * 8 / 6);
        if end < start + SHORTEST_BASE64 {
            continue;
        }
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(&*shifted));
            pieces.push(Zeroizing::new(encoded[start..end].to_owned()));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3: @%+/&=~\u{e9}t";

    fn percent(text: &str, lower: bool) -> String {
        let mut out = String::new();
        for byte in text.bytes() {
            match lower {
                true => write!(out, "%{byte:02x}").unwrap(),
                false => write!(out, "%{byte:02X}").unwrap(),
            }
        }
        out
    }

    #[test]
    fn an_echoed_secret_is_replaced_in_every_encoding() {
        let redactor = Redactor::new([SECRET]);
        let mut encoded = String::new();
        form_encode(SECRET, &mut encoded);
        let form: String = byte_serialize(SECRET.as_bytes()).collect();
        let echoes = [
            SECRET.to_owned(),
            SECRET.to_ascii_uppercase(),
            encoded.clone(),
            encoded.to_ascii_lowercase(),
            form,
            STANDARD.encode(SECRET),
            URL_SAFE.encode(SECRET),
        ];
        for echo in echoes {
            let cleaned = redactor.clean(&format!("bad secret <{echo}> given"));
            let ends_hidden = cleaned.starts_with("bad secret <[redacted]")
                && cleaned.ends_with("> given")
                && cleaned.len() <= "bad secret <[redacted]??=> given".len();
            assert!(ends_hidden, "{echo}: {cleaned}");
        }
        for odd in [percent(SECRET, true), percent(SECRET, false)] {
            assert_eq!(redactor.clean(&format!("got {odd}")), REDACTED);
        }
    }

    #[test]
    fn a_secret_within_basic_credentials_is_replaced() {
        let redactor = Redactor::new([SECRET]);
        let mut encoded = String::new();
        form_encode(SECRET, &mut encoded);
        for id in ["a", "ab", "abc", "billing"] {
            for secret in [SECRET, &encoded] {
                let header = STANDARD.encode(format!("{id}:{secret}"));
                let cleaned = redactor.clean(&format!("Authorization: Basic {header}"));
                assert!(cleaned.contains(REDACTED), "{cleaned}");
                let left = cleaned.len() - "Authorization: Basic [redacted]".len();
                assert!(left <= 4 * (id.len() / 3 + 1) + 4, "{cleaned}");
            }
        }
    }

    #[test]
    fn several_secrets_and_a_short_one_leave_nothing() {
        let redactor = Redactor::new(["abcdef", "cdefgh", "e", ""]);
        assert_eq!(redactor.clean("x abcdefgh y"), "x [redacted] y");
        assert_eq!(redactor.clean("eeee"), "[redacted]");
    }

    #[test]
    fn text_is_visible_ascii_of_200_characters() {
        let redactor = Redactor::new([]);
        assert_eq!(redactor.clean("a\nb\u{1b}[31mc\u{e9}"), "a?b?[31mc?");
        let long = redactor.clean(&"x".repeat(1000));
        assert_eq!(long.len(), 200);
        assert!(long.ends_with("x..."));
        // A secret at the cut is replaced before the cut.
        let redactor = Redactor::new(["topsecret"]);
        let cut = redactor.clean(&format!("{}topsecret", "x".repeat(195)));
        assert!(!cut.contains("top"), "{cut}");
    }

    proptest! {
        #[test]
        fn no_secret_survives_whatever_surrounds_it(
            before in ".{0,40}", secret in "[ -~]{4,40}", after in ".{0,40}",
        ) {
            let redactor = Redactor::new([secret.as_str()]);
            let mut encoded = String::new();
            form_encode(&secret, &mut encoded);
            for echo in [&secret, &encoded] {
                let cleaned = redactor.clean(&format!("{before}{echo}{after}"));
                let rest = cleaned.replace(REDACTED, "\u{0}");
                prop_assert!(!rest.contains(&secret), "{cleaned}");
                prop_assert!(!rest.contains(&encoded), "{cleaned}");
            }
        }
    }
}
