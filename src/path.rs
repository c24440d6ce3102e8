//! One spelling for every path, or none: what is matched is what is forwarded.

use std::borrow::Cow;

/// Why a path or query is refused: two parsers could read it differently, or nobody could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("a path begins with \"/\"")]
    NotAbsolute,
    /// A space, a control, a byte above 0x7E, `\` or `#`.
    #[error("a path or query is visible ASCII without \"\\\" and \"#\"; percent-encode the rest")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("\"%\" needs two hexadecimal digits after it")]
    Escape,
    /// `%00` to `%1F`, `%7F` or `%5C` in a path, `%00` in a query.
    #[error("encoded controls and \"%5C\" are not allowed in a path, nor is \"%00\" in a query")]
    EncodedControl,
    /// A segment `.` or `..` in any spelling.
    #[error("the segments \".\" and \"..\" are not allowed in a path")]
    DotSegment,
}

/// The canonical form of a path without query: unreserved characters unescaped, hexadecimal
/// digits in upper case (RFC 3986 sections 6.2.2.1 and 6.2.2.2). Everything else stays as it came,
/// `%2F` included. Borrows when the path is canonical already; the result of this function is.
///
/// # Errors
///
/// What two parsers could read differently.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let (mut escapes, mut dots, mut previous) = (false, false, b'/');
    for &byte in bytes {
        match byte {
            b'%' => escapes = true,
            b'.' => dots |= previous == b'/',
            _ if !may_stand(byte) => return Err(PathError::Character),
            _ => {}
        }
        previous = byte;
    }
    let canonical = if escapes {
        unescape_unreserved(path)?
    } else {
        Cow::Borrowed(path)
    };
    if (escapes || dots) && has_dot_segment(&canonical) {
        return Err(PathError::DotSegment);
    }
    Ok(canonical)
}

/// Checks a query, which is forwarded as it came. Its escapes are data (a search for a backslash
/// or a text of several lines is legitimate) but `%00`, which ends strings in some parsers.
///
/// # Errors
///
/// A character that may not stand there, or `%00`.
pub fn check_query(query: &str) -> Result<(), PathError> {
    for (index, &byte) in query.as_bytes().iter().enumerate() {
        if !may_stand(byte) {
            return Err(PathError::Character);
        }
        if byte == b'%' && query.as_bytes()[index..].starts_with(b"%00") {
            return Err(PathError::EncodedControl);
        }
    }
    Ok(())
}

/// What may stand literally in a request-target. The HTTP library refuses more, but lets UTF-8
/// through.
fn may_stand(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && byte != b'\\' && byte != b'#'
}

fn unescape_unreserved(path: &str) -> Result<Cow<'_, str>, PathError> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = path[at..].find('%') {
        at += found;
        let digits = path
            .as_bytes()
            .get(at + 1..at + 3)
            .ok_or(PathError::Escape)?;
        let byte = hex(digits[0])? << 4 | hex(digits[1])?;
        if byte.is_ascii_control() || byte == b'\\' {
            return Err(PathError::EncodedControl);
        }
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || digits.iter().any(u8::is_ascii_lowercase) {
            out.push_str(&path[copied..at]);
            if unreserved {
                out.push(char::from(byte));
            } else {
                out.push('%');
                out.extend(digits.iter().map(|d| char::from(d.to_ascii_uppercase())));
            }
            copied = at + 3;
        }
        at += 3;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(path));
    }
    out.push_str(&path[copied..]);
    Ok(Cow::Owned(out))
}

fn hex(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::Escape),
    }
}

/// Whether an upstream could read some segment as `.` or `..`: some decode `%2F` before they split,
/// and some drop everything from `;` on.
fn has_dot_segment(canonical: &str) -> bool {
    canonical
        .split('/')
        .flat_map(|segment| segment.split("%2F"))
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .map(|segment| segment.split("%3B").next().unwrap_or_default())
        .any(|name| matches!(name, "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in [
            "/",
            "//",
            "/crm/x",
            "/crm/",
            "/a%2Fb",
            "/a%20b",
            "/%C3%A9",
            "/a;b=c/d",
            "/a;v=..",
            "/.well-known/x",
            "/...",
            "//a",
            "/a./b../...",
            "/a/.b;c",
            "/~x/-_.!$&'()*+,;=:@|^\"{}",
            "/%252E%252E/",
            "/%252e",
        ] {
            match canonical_path(path) {
                Ok(Cow::Borrowed(canonical)) => assert_eq!(canonical, path),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn other_spellings_become_canonical() {
        for (path, canonical) in [
            ("/%61%2d%2E%5F%7e%39", "/a-._~9"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%a9", "/%C3%A9"),
            ("/%41%2f%42", "/A%2FB"),
            ("/x%2Ehtml", "/x.html"),
            ("/%7euser/%61", "/~user/a"),
            ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
            ("/%2e%2e%2e", "/..."),
            ("/%25%32%65", "/%252e"),
            ("/a%3bb", "/a%3Bb"),
        ] {
            assert_eq!(canonical_path(path).as_deref(), Ok(canonical), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        for path in [
            "/.",
            "/..",
            "/./",
            "/../",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a",
            "/a/..;/b",
            "/a/..;x=y/b",
            "/..;a=b",
            "/a/.;",
            "/a/..%2f",
            "/..%2f",
            "/..%2Fa",
            "/a%2f..",
            "/a%2f..%2fb",
            "/a%2F%2e%2e%2Fb",
            "/a/..%3b/b",
            "/a/%2e%2e%3Bx",
            "/a/..;%2fb",
            "//..",
        ] {
            assert_eq!(canonical_path(path), Err(PathError::DotSegment), "{path}");
        }
    }

    #[test]
    fn bytes_that_parsers_disagree_on_are_refused() {
        for path in [
            "/a\\b", "/\u{e9}", "/a b", "/a\tb", "/a\u{7f}", "/a#b", "/#", "/a\0", "/\u{80}",
            "/\u{e4}",
        ] {
            assert_eq!(canonical_path(path), Err(PathError::Character), "{path:?}");
        }
    }

    #[test]
    fn encoded_controls_and_backslashes_are_refused() {
        for path in [
            "/%00", "/a%5Cb", "/a%5cb", "/%0d%0a", "/%1F", "/%7f", "/%7F", "/%09",
        ] {
            assert_eq!(
                canonical_path(path),
                Err(PathError::EncodedControl),
                "{path}"
            );
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for path in [
            "/%", "/%4", "/%zz", "/%4g", "/%%41", "/%+1", "/a%u0041", "/% 1",
        ] {
            let expected = if path.contains(' ') {
                PathError::Character
            } else {
                PathError::Escape
            };
            assert_eq!(canonical_path(path), Err(expected), "{path}");
        }
    }

    #[test]
    fn only_what_begins_with_a_slash_is_a_path() {
        for path in ["", "*", "a", "?", "%2F"] {
            assert_eq!(canonical_path(path), Err(PathError::NotAbsolute), "{path}");
        }
    }

    #[test]
    fn a_query_passes_as_it_came_unless_its_bytes_are_ambiguous() {
        for query in [
            "",
            "a=b&c",
            "q=%5c%0A%zz%",
            "../..",
            "a=%2e%2e/",
            "x?y/z",
            "\"{}|^`",
        ] {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
        for query in ["a\\b", "\u{e9}", "a b", "a#b", "\u{7f}", "\n"] {
            assert_eq!(check_query(query), Err(PathError::Character), "{query:?}");
        }
        assert_eq!(check_query("a=%00"), Err(PathError::EncodedControl));
    }

    /// What a lenient upstream might do: decode everything, then split, then cut at `;`.
    fn climbs(path: &str) -> bool {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        decoded
            .split(['/', '\\'])
            .map(|segment| segment.split(';').next().unwrap_or_default())
            .any(|name| name == "." || name == "..")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_canonical_form_is_its_own(path in "/[ -~\u{e9}]{0,20}|/([a-z./;%]|%[0-9a-fA-F]{2}|%2[eEfF]|\\.\\.){0,12}") {
            if let Ok(once) = canonical_path(&path) {
                let twice = canonical_path(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                prop_assert!(matches!(twice, Ok(Cow::Borrowed(_))));
            }
        }

        #[test]
        fn no_accepted_path_climbs_once_decoded(path in "/(%2[eEfF]|%3[bB]|%5[cC]|[./;a]){0,8}") {
            if let Ok(canonical) = canonical_path(&path) {
                prop_assert!(!climbs(&canonical));
            }
        }

        #[test]
        fn the_canonical_form_means_the_same(path in "/([a-zA-Z0-9/_~-]|%[0-9a-fA-F]{2}){0,12}") {
            if let Ok(canonical) = canonical_path(&path) {
                let decode = |path: &str| -> Vec<u8> {
                    percent_encoding::percent_decode_str(path).collect()
                };
                prop_assert_eq!(decode(&canonical), decode(&path));
                prop_assert_eq!(canonical.matches('/').count(), path.matches('/').count());
            }
        }

        #[test]
        fn arbitrary_text_never_panics(path in any::<String>()) {
            let _ = canonical_path(&path);
            let _ = canonical_path(&format!("/{path}"));
            let _ = check_query(&path);
        }
    }
}
