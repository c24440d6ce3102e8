//! The one form of a URL path that is matched and forwarded.

use std::borrow::Cow;

/// Why a path is refused. Two parsers could read it differently, or nobody could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("a path begins with \"/\"")]
    NotAbsolute,
    /// A space, a control, a byte above 0x7E, `\`, or the start of a query or fragment.
    #[error("a path is visible ASCII without \"\\\", \"?\" and \"#\"; percent-encode the rest")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("\"%\" needs two hexadecimal digits after it")]
    Escape,
    /// `%00` to `%1F`, `%7F` or `%5C`.
    #[error("encoded controls and \"%5C\" are not allowed in a path")]
    EncodedControl,
    /// A segment `.` or `..`, literal or encoded.
    #[error("the segments \".\" and \"..\" are not allowed in a path")]
    DotSegment,
}

/// Decodes escaped unreserved characters (RFC 3986 section 2.3) and writes the other escapes in
/// upper case. Allocates only when that changes something.
///
/// Segments split at `/` and `%2F` and end at `;` when dot segments are looked for, because
/// servers exist that read them so.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let forbidden = |byte: u8| !matches!(byte, 0x21..=0x7E) || matches!(byte, b'\\' | b'?' | b'#');
    if path.bytes().any(forbidden) {
        return Err(PathError::Character);
    }
    let path = if path.contains('%') {
        decode_unreserved(path)?
    } else {
        Cow::Borrowed(path)
    };
    let segments = path.split('/').flat_map(|segment| segment.split("%2F"));
    for segment in segments {
        let name = segment.split(';').next();
        if matches!(name, Some("." | "..")) {
            return Err(PathError::DotSegment);
        }
    }
    Ok(path)
}

fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, PathError> {
    let mut parts = path.split('%');
    let mut canonical = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hex = part.get(..2).ok_or(PathError::Escape)?;
        if !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Escape);
        }
        let byte = u8::from_str_radix(hex, 16).map_err(|_| PathError::Escape)?;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                canonical.push(char::from(byte));
            }
            0..=0x1F | 0x7F | b'\\' => return Err(PathError::EncodedControl),
            _ => {
                canonical.push('%');
                canonical.push_str(&hex.to_ascii_uppercase());
            }
        }
        canonical.push_str(&part[2..]);
    }
    if canonical == path {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(canonical))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unreserved_escapes_are_decoded_and_others_upper_cased() {
        for (path, canonical) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/%7euser/%61", "/~user/a"),
            ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
            ("/a%2Eb", "/a.b"),
            ("/%252e%252e", "/%252e%252e"),
            ("/...", "/..."),
            ("/.well-known", "/.well-known"),
            ("/a;v=..", "/a;v=.."),
            ("//a", "//a"),
        ] {
            assert_eq!(canonical_path(path).as_deref(), Ok(canonical), "{path}");
        }
    }

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in ["/a/b", "/a%2Fb", "/%25"] {
            assert!(
                matches!(canonical_path(path), Ok(Cow::Borrowed(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        use PathError::*;
        for (path, error) in [
            ("", NotAbsolute),
            ("a", NotAbsolute),
            ("*", NotAbsolute),
            ("/ä", Character),
            ("/a b", Character),
            ("/a\tb", Character),
            ("/a\\b", Character),
            ("/a\u{7f}", Character),
            ("/a?b", Character),
            ("/a#b", Character),
            ("/%", Escape),
            ("/%4", Escape),
            ("/%4g", Escape),
            ("/%+1", Escape),
            ("/%00", EncodedControl),
            ("/%0a", EncodedControl),
            ("/%7F", EncodedControl),
            ("/%5c", EncodedControl),
            ("/.", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("/..;/b", DotSegment),
            ("/..;a=b", DotSegment),
            ("/a%2f..%2Fb", DotSegment),
            ("/a/..%2f", DotSegment),
            ("/.;", DotSegment),
        ] {
            assert_eq!(canonical_path(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable(path in "/[ -~é]{0,20}|/([a.;/]|%2[ef5EF]|%5c|%c3){0,8}") {
            if let Ok(once) = canonical_path(&path) {
                prop_assert_eq!(canonical_path(&once), Ok(Cow::Borrowed(&*once)));
            }
        }
    }
}
