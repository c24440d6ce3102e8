//! What a client presents in a header, to show who it is.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderValue;
use smallvec::SmallVec;

use crate::config::Caller;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many words of a value are looked at: credentials come in few.
const MOST_WORDS: usize = 16;

/// A key or token, as it stands in a header.
pub struct PresentedSecret<'h>(SecretForm<'h>);

#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one look, and an allocation would cost more"
)]
enum SecretForm<'h> {
    Written(&'h str),
    /// The password of `Basic`; most fit here without an allocation.
    Decoded(SmallVec<[u8; 256]>),
}

impl<'h> PresentedSecret<'h> {
    /// Reads `Bearer SECRET` (RFC 6750 section 2.1), `Basic` with the secret as its password (RFC 7617), or in a
    /// header that is not defined for credentials (`bare`) the secret alone.
    ///
    /// # Errors
    /// Why there is none, without a value.
    pub fn read(value: &'h HeaderValue, bare: bool) -> Result<Self, &'static str> {
        // As `to_str` has it, which looks at one byte after another.
        let text = str::from_utf8(value.as_bytes()).ok();
        let text = text.filter(|text| text.is_ascii());
        let text = text.ok_or("the header holds other characters than visible ASCII")?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            Ok(Self(SecretForm::Written(rest)))
        } else if scheme.eq_ignore_ascii_case("basic") && !rest.is_empty() {
            password(rest).map(|password| Self(SecretForm::Decoded(password)))
        } else if bare {
            Ok(Self(SecretForm::Written(text)))
        } else {
            Err("the header has neither the scheme Bearer nor Basic")
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn expose(&self) -> Result<&str, &'static str> {
        match &self.0 {
            SecretForm::Written(secret) => Ok(secret),
            SecretForm::Decoded(secret) => {
                str::from_utf8(secret).map_err(|_| "the password is not UTF-8")
            }
        }
    }
}

/// Shows everything in a value of `Authorization` that could be a key or token to `look`, however it is written and
/// whatever its scheme is: each word, without quotes and commas around it, what stands behind `=` in it, and both parts of
/// `Basic`. What is shorter than any key is none.
///
/// # Errors
/// Those of `look`.
pub fn each_candidate<E>(
    value: &HeaderValue,
    mut look: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut look = |candidate: &str| match candidate.len() {
        ..Caller::SHORTEST_KEY => Ok(()),
        _ => look(candidate),
    };
    let words = value.as_bytes().split(|byte| !byte.is_ascii_graphic());
    let words = words.filter(|word| !word.is_empty());
    let mut is_basic = false;
    for word in words
        .filter_map(|word| str::from_utf8(word).ok())
        .take(MOST_WORDS)
    {
        look(word)?;
        let bare = word.trim_matches(AROUND);
        if bare != word {
            look(bare)?;
        }
        if let Some((_, parameter)) = bare.split_once('=') {
            look(parameter.trim_matches(AROUND))?;
        }
        if is_basic && let Some(credentials) = decode(word) {
            // Without a colon all of it is the user.
            let parts = credentials.splitn(2, |byte| *byte == b':');
            parts
                .filter_map(|part| str::from_utf8(part).ok())
                .try_for_each(&mut look)?;
        }
        is_basic = word.eq_ignore_ascii_case("basic");
    }
    Ok(())
}

/// What may stand around a word.
const AROUND: [char; 4] = ['"', '\'', ',', ';'];

/// What stands behind the first colon; whose name stands before it says nothing.
fn password(credentials: &str) -> Result<SmallVec<[u8; 256]>, &'static str> {
    const MALFORMED: &str = "the credentials of Basic are malformed";
    let mut decoded = decode(credentials).ok_or(MALFORMED)?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(MALFORMED)?;
    decoded.drain(..=colon);
    Ok(decoded)
}

fn decode(credentials: &str) -> Option<SmallVec<[u8; 256]>> {
    let mut decoded: SmallVec<[u8; 256]> = SmallVec::new();
    decoded.resize(base64::decoded_len_estimate(credentials.len()), 0);
    let length = BASE64.decode_slice(credentials, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn read(value: &str, bare: bool) -> Result<String, &'static str> {
        let value = HeaderValue::from_str(value).unwrap();
        let read = PresentedSecret::read(&value, bare)?;
        read.expose().map(str::to_owned)
    }

    #[test]
    fn a_secret_is_read_in_every_form() {
        for bare in [false, true] {
            assert_eq!(read("Bearer abc", bare).unwrap(), "abc");
            assert_eq!(read("bearer  abc", bare).unwrap(), "abc");
            // "me:a:b" and ":abc"
            assert_eq!(read("Basic bWU6YTpi", bare).unwrap(), "a:b");
            assert_eq!(read("BASIC OmFiYw==", bare).unwrap(), "abc");
            assert_eq!(read("Basic OmFiYw", bare).unwrap(), "abc");
        }
        assert_eq!(read("abc", true).unwrap(), "abc");
        assert_eq!(read("a b c", true).unwrap(), "a b c");
        assert_eq!(read("Bearer", true).unwrap(), "Bearer");
    }

    #[test]
    fn what_holds_no_secret_is_none() {
        for value in [
            "",
            "abc",
            "Bearer",
            "Bearer ",
            "Digest abc",
            "Basic",
            "Basic ?",
            "Basic bWU=",
        ] {
            assert!(read(value, false).is_err(), "{value}");
        }
        for other in [&b"Bearer abc\xff"[..], "Bearer äöü".as_bytes()] {
            let value = HeaderValue::from_bytes(other).unwrap();
            assert!(PresentedSecret::read(&value, true).is_err(), "{value:?}");
        }
        // ":\xff"
        assert!(read("Basic Ov8=", false).is_err());
        let longest = format!(
            "Basic {}",
            STANDARD.encode(format!("me:{}", "x".repeat(9000)))
        );
        assert_eq!(read(&longest, false).unwrap().len(), 9000);
    }

    #[test]
    fn a_secret_is_a_candidate_however_it_is_written() {
        let key = "0123456789abcdef0123456789abcdef";
        let basic = |credentials: String| format!("basic {}", STANDARD.encode(credentials));
        for value in [
            key.to_owned(),
            format!("Bearer {key}"),
            format!("bearer   {key}"),
            format!("Bearer\t{key}"),
            format!("Bearer {key},"),
            format!("Bearer x, Bearer {key}"),
            format!("Token token=\"{key}\", nonce=1"),
            format!("Digest '{key}'"),
            basic(format!(":{key}")),
            basic(format!("x:{key}")).replace('=', ""),
            basic(format!("{key}:")),
            basic(format!("{key}:x")),
            basic(key.to_owned()),
            format!("Bearer x {}", basic(key.to_owned())),
        ] {
            let mut found = false;
            let value = HeaderValue::from_str(&value).unwrap();
            each_candidate(&value, |candidate| {
                found |= candidate == key;
                Ok::<_, ()>(())
            })
            .unwrap();
            assert!(found, "{value:?}");
        }
        let broken = [b"Bearer\xff", key.as_bytes()].concat();
        let broken = HeaderValue::from_bytes(&broken).unwrap();
        let found = each_candidate(&broken, |word| Err(word.to_owned()));
        assert_eq!(found, Err(key.to_owned()));
    }

    #[test]
    fn few_words_are_looked_at_and_none_that_is_too_short() {
        let mut looks = 0;
        for word in ["0123456789abcdef0123456789abcdef ", "0123456789abcdef "] {
            let many = HeaderValue::from_str(&word.repeat(1000)).unwrap();
            each_candidate(&many, |_| {
                looks += 1;
                Ok::<_, ()>(())
            })
            .unwrap();
        }
        assert_eq!(looks, MOST_WORDS);
    }
}
