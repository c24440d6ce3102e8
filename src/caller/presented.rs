//! What a client presents in a header, to show who it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use smallvec::SmallVec;

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

/// What stands behind the first colon; whose name stands before it says nothing.
fn password(credentials: &str) -> Result<SmallVec<[u8; 256]>, &'static str> {
    const MALFORMED: &str = "the credentials of Basic are malformed";
    let mut decoded: SmallVec<[u8; 256]> = SmallVec::new();
    decoded.resize(base64::decoded_len_estimate(credentials.len()), 0);
    let length = STANDARD.decode_slice(credentials, &mut decoded);
    decoded.truncate(length.map_err(|_| MALFORMED)?);
    let colon = decoded.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(MALFORMED)?;
    decoded.drain(..=colon);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
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
}
