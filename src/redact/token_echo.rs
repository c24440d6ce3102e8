//! A token that comes back in the headers of a response, and what is put in its place.
//!
//! It is found as it was sent, with any of its characters percent-encoded (RFC 3986 section 2.1), and in base64 text of
//! both alphabets, whatever stands around it there. In the name of a header it is found as it was sent, in capital or small
//! letters. Each occurrence is found whole or not at all: a piece of a token, or another spelling of it, stays.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memmem};
use smallvec::SmallVec;

use super::decode::sextet;

/// Shorter tokens stand in other text by chance.
pub const SHORTEST_MASKED: usize = 16;
/// So many bytes of a token lead to it, where it is not searched for as a whole: enough to be rare.
const HEAD: usize = 12;
/// The same in base64.
const ENCODED_HEAD: usize = HEAD / 3 * 4;

/// How often a byte sequence of so many bytes can end short of a whole group of base64, in characters.
const CHARACTERS_OF_REST: [usize; 3] = [0, 2, 3];

type Ranges = SmallVec<[Range<usize>; 2]>;

/// Puts `*` in the place of every character of `token` in the values of `headers`, and tells which headers had it. Headers
/// whose names have it are removed: no other name would mean anything. A token of less than [`SHORTEST_MASKED`] bytes is
/// left.
pub fn mask_headers(headers: &mut HeaderMap, token: &str, mut found: impl FnMut(EchoPlace<'_>)) {
    let Some(echo) = TokenEcho::of(token) else {
        return;
    };
    let named: SmallVec<[HeaderName; 1]> = headers
        .keys()
        .filter(|name| echo.is_in_name(name))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
        found(EchoPlace::Name);
    }
    for (name, value) in headers {
        if let Some(masked) = echo.mask(value.as_bytes())
            && let Ok(masked) = HeaderValue::from_maybe_shared(masked)
        {
            *value = masked;
            found(EchoPlace::ValueOf(name));
        }
    }
}

/// The same for another text of the response's head; `None` where the token is not in it.
pub fn mask_text(text: &[u8], token: &str) -> Option<Vec<u8>> {
    let masked = TokenEcho::of(token)?.mask(text)?;
    Some(masked.into())
}

/// Where the token was.
#[derive(Debug, PartialEq, Eq)]
pub enum EchoPlace<'h> {
    /// In the name of a header, which is not to be told any further.
    Name,
    /// In a value of this header.
    ValueOf(&'h HeaderName),
}

/// What is looked for.
struct TokenEcho<'t> {
    token: &'t [u8],
    /// Made when a text is long enough to have it.
    encoded: std::cell::OnceCell<SmallVec<[EncodedHead; 6]>>,
}

/// How base64 of a token begins that stands behind other text.
struct EncodedHead {
    /// So many bytes of the token share a group with what stands before it.
    skipped: usize,
    text: [u8; ENCODED_HEAD],
}

impl<'t> TokenEcho<'t> {
    fn of(token: &'t str) -> Option<Self> {
        (token.len() >= SHORTEST_MASKED).then_some(Self {
            token: token.as_bytes(),
            encoded: std::cell::OnceCell::new(),
        })
    }

    /// Whether it is in a name, in which case does not count: HTTP/2 has small letters alone.
    fn is_in_name(&self, name: &HeaderName) -> bool {
        let mut windows = name.as_str().as_bytes().windows(self.token.len());
        windows.any(|window| window.eq_ignore_ascii_case(self.token))
    }

    fn mask(&self, text: &[u8]) -> Option<bytes::Bytes> {
        // No form is shorter.
        if text.len() < self.token.len() {
            return None;
        }
        let found = if memchr(b'%', text).is_some() {
            self.find_decoding(text)
        } else {
            self.find(text)
        };
        if found.is_empty() {
            return None;
        }
        let mut masked = text.to_vec();
        found.into_iter().for_each(|range| masked[range].fill(b'*'));
        Some(masked.into())
    }

    /// Where it stands in a text without percent-encoding.
    fn find(&self, text: &[u8]) -> Ranges {
        let mut found: Ranges = memmem::find_iter(text, self.token)
            .map(|at| at..at + self.token.len())
            .collect();
        // Shorter texts have no room for it: two bytes of the token may stand outside of whole groups.
        if text.len() < (self.token.len() - 2) / 3 * 4 {
            return found;
        }
        for head in self.encoded_heads() {
            let candidates = memmem::find_iter(text, &head.text);
            found.extend(candidates.filter_map(|at| self.encoded_at(text, at, head)));
        }
        found
    }

    /// Where it stands in a text with percent-encoding.
    fn find_decoding(&self, text: &[u8]) -> Ranges {
        let mut found = Ranges::new();
        for at in 0..text.len() {
            if let Some(end) = end_of(text, at, self.token) {
                found.push(at..end);
            }
            for head in self.encoded_heads() {
                if end_of(text, at, &head.text).is_some() {
                    found.extend(self.encoded_at(text, at, head));
                }
            }
        }
        found
    }

    /// Where its base64 stands, if what begins here with `head` is all of it.
    fn encoded_at(&self, text: &[u8], at: usize, head: &EncodedHead) -> Option<Range<usize>> {
        let token = &self.token[head.skipped..];
        let (groups, rest) = token.as_chunks::<3>();
        let mut end = at;
        for group in groups {
            let mut bits = 0;
            for _ in 0..4 {
                let (byte, next) = decoded(text, end)?;
                bits = bits << 6 | sextet(byte)?;
                end = next;
            }
            let [_, bytes @ ..] = u32::to_be_bytes(bits);
            if bytes != *group {
                return None;
            }
        }
        // The bytes at both ends share characters with their neighbours.
        let is_encoded = |byte: &&u8| sextet(**byte).is_some();
        let before = text[..at].iter().rev().take_while(is_encoded);
        let before = before.take(CHARACTERS_OF_REST[head.skipped]).count();
        let after = text[end..].iter().take_while(is_encoded);
        let after = after.take(CHARACTERS_OF_REST[rest.len()]).count();
        Some(at - before..end + after)
    }

    fn encoded_heads(&self) -> &[EncodedHead] {
        self.encoded.get_or_init(|| {
            let mut heads = SmallVec::new();
            for skipped in 0..3 {
                let bytes = &self.token[skipped..skipped + HEAD];
                let standard = encoded_head(skipped, bytes, STANDARD);
                let url_safe = encoded_head(skipped, bytes, URL_SAFE);
                if url_safe.text != standard.text {
                    heads.push(url_safe);
                }
                heads.push(standard);
            }
            heads
        })
    }
}

const STANDARD: &[u8; 2] = b"+/";
const URL_SAFE: &[u8; 2] = b"-_";

fn encoded_head(skipped: usize, bytes: &[u8], last: &[u8; 2]) -> EncodedHead {
    let mut text = [0; ENCODED_HEAD];
    for (group, encoded) in bytes
        .as_chunks::<3>()
        .0
        .iter()
        .zip(text.as_chunks_mut::<4>().0)
    {
        let [a, b, c] = group.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for (at, to) in encoded.iter_mut().enumerate() {
            let value = (bits >> (18 - 6 * at) & 63) as u8;
            *to = match value {
                0..26 => b'A' + value,
                26..52 => b'a' + value - 26,
                52..62 => b'0' + value - 52,
                _ => last[usize::from(value) - 62],
            };
        }
    }
    EncodedHead { skipped, text }
}

/// Where `wanted` ends, if it begins at `at`; any of its characters may be percent-encoded.
fn end_of(text: &[u8], mut at: usize, wanted: &[u8]) -> Option<usize> {
    for &wanted in wanted {
        // Itself, where the token has a percent sign of its own.
        let (byte, next) = match text.get(at)? {
            &byte if byte == wanted => (byte, at + 1),
            _ => decoded(text, at)?,
        };
        if byte != wanted {
            return None;
        }
        at = next;
    }
    Some(at)
}

/// The character at `at`, percent-encoded or not, and where the next one begins.
fn decoded(text: &[u8], at: usize) -> Option<(u8, usize)> {
    match text.get(at..)? {
        [b'%', high, low, ..] => {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let byte = digit(*high)? << 4 | digit(*low)?;
            Some((byte as u8, at + 3))
        }
        [byte, ..] => Some((*byte, at + 1)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "kM9+x/Zq~w.e_r-t7yU1ioP==";

    fn masked(text: &str, token: &str) -> Option<String> {
        let masked = mask_text(text.as_bytes(), token)?;
        assert_eq!(masked.len(), text.len(), "lengths stay");
        Some(String::from_utf8(masked).unwrap())
    }

    #[test]
    fn a_token_is_masked_wherever_it_stands_and_the_rest_stays() {
        let stars = "*".repeat(TOKEN.len());
        for around in [
            ["", ""],
            ["Bearer ", ""],
            ["a=", "; b"],
            ["{\"t\":\"", "\"}"],
        ] {
            let text = around.join(TOKEN);
            assert_eq!(masked(&text, TOKEN), Some(around.join(&stars)), "{text}");
        }
        let twice = format!("{TOKEN},{TOKEN}");
        assert_eq!(masked(&twice, TOKEN), Some(format!("{stars},{stars}")));
    }

    #[test]
    fn what_is_not_all_of_it_stays() {
        let almost = TOKEN.replace("==", "=-=");
        for text in [
            "",
            "Tue, 15 Nov 1994 08:12:31 GMT",
            &TOKEN[1..],
            &almost,
            "%",
            "%2",
            "100%",
        ] {
            assert_eq!(masked(text, TOKEN), None, "{text}");
        }
        let short = &TOKEN[..SHORTEST_MASKED - 1];
        assert_eq!(masked(short, short), None);
        let longer = &TOKEN[..SHORTEST_MASKED];
        assert_eq!(masked(longer, longer), Some("*".repeat(SHORTEST_MASKED)));
    }

    #[test]
    fn every_header_that_has_it_is_named() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", "none"),
            ("x-b", TOKEN),
            ("set-cookie", "a=1"),
            ("set-cookie", TOKEN),
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut named = Vec::new();
        mask_headers(&mut headers, TOKEN, |place| match place {
            EchoPlace::Name => named.push("a name".to_owned()),
            EchoPlace::ValueOf(name) => named.push(name.to_string()),
        });
        assert_eq!(named, ["x-b", "set-cookie"]);
        assert!(!format!("{headers:?}").contains(TOKEN));
        assert_eq!(headers["x-a"], "none");
        assert_eq!(headers["set-cookie"], "a=1");
    }

    #[test]
    fn a_header_whose_name_has_it_is_removed_and_the_others_stay() {
        const TOKEN: &str = "Abc-dEf.gHi_jKl~M";
        let with = |before: &str, after: &str| {
            let mut headers = HeaderMap::new();
            let name = format!("{before}{TOKEN}{after}").parse::<HeaderName>();
            headers.append(name.unwrap(), HeaderValue::from_static("1"));
            for (name, value) in [("x-a", "1"), ("x-abc-def.ghi_jkl~", "2"), ("x-a", TOKEN)] {
                let name = HeaderName::from_static(name);
                headers.append(name, HeaderValue::from_static(value));
            }
            headers
        };
        for (before, after) in [("", ""), ("x-name-", ""), ("", "-x"), ("x-", "-y")] {
            let mut headers = with(before, after);
            let (mut names, mut values) = (0, 0);
            mask_headers(&mut headers, TOKEN, |place| match place {
                EchoPlace::Name => names += 1,
                EchoPlace::ValueOf(_) => values += 1,
            });
            assert_eq!((names, values), (1, 1), "{headers:?}");
            let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, ["x-a", "x-abc-def.ghi_jkl~"]);
        }
    }

    fn token() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[A-Za-z0-9._~+/-]{16,90}={0,2}").unwrap()
    }

    proptest! {
        #[test]
        fn no_percent_encoding_hides_it(
            token in token(),
            encoded in proptest::collection::vec(any::<(bool, bool)>(), 92),
        ) {
            let write = |(byte, (encode, lower)): (u8, &(bool, bool))| match (encode, lower) {
                (false, _) => char::from(byte).to_string(),
                (true, true) => format!("%{byte:02x}"),
                (true, false) => format!("%{byte:02X}"),
            };
            let text: String = token.bytes().zip(&encoded).map(write).collect();
            let stars = "*".repeat(text.len());
            let around = format!("100%25 {text}%");
            prop_assert_eq!(masked(&around, &token), Some(format!("100%25 {stars}%")));
        }

        #[test]
        fn no_base64_hides_it(
            token in token(),
            before in proptest::collection::vec(any::<u8>(), 0..7),
            after in proptest::collection::vec(any::<u8>(), 0..7),
        ) {
            let whole = [&before[..], token.as_bytes(), &after].concat();
            for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole), STANDARD_NO_PAD.encode(&whole)] {
                let written = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
                for text in [text, written] {
                    let text = format!("basic {text}");
                    let masked = masked(&text, &token).unwrap();
                    let left = masked.replace('*', "");
                    // Of the token nothing is left: only what stands around it, and the padding.
                    let most = "basic ".len() + (before.len() + after.len()).div_ceil(3) * 4 * 3 + 8;
                    prop_assert!(left.len() <= most, "{} in {}", left, text);
                    prop_assert!(masked.contains(&"*".repeat(ENCODED_HEAD)));
                }
            }
        }

        #[test]
        fn nothing_else_is_touched(text in "[ -~]{0,200}", token in token()) {
            prop_assert_eq!(masked(&text, &token), None);
        }
    }
}
