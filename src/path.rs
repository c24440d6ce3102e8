//! One meaning for every path, or none: it is matched in its canonical form and forwarded as it came.

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
    /// A character in more bytes of UTF-8 than it needs: some decode `%C0%AE` to `.`.
    #[error("a path holds no overlong UTF-8, such as \"%C0%AE\" for \".\"")]
    Overlong,
    /// A segment `.` or `..` in any spelling.
    #[error("the segments \".\" and \"..\" are not allowed in a path")]
    DotSegment,
}

/// The path of a request, in two spellings that mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'p> {
    /// As it came, less segments that are a lone `.` (RFC 3986 section 5.2.4). This is sent, since
    /// signatures hold for one spelling only.
    pub written: Cow<'p, str>,
    /// The canonical form of it. This is matched.
    pub canonical: Cow<'p, str>,
}

impl<'p> Path<'p> {
    /// `*`, which asks a server as a whole (RFC 9110 section 7.1) and is matched as its `/`.
    pub const ASTERISK: Self = Self {
        written: Cow::Borrowed("*"),
        canonical: Cow::Borrowed("/"),
    };

    /// Reads a path without query. Borrows what needs no change.
    ///
    /// # Errors
    ///
    /// What two parsers could read differently.
    pub fn read(path: &'p str) -> Result<Self, PathError> {
        let found = scan(path)?;
        let written = match found.escapes || found.dots {
            true => without_lone_dots(path),
            false => Cow::Borrowed(path),
        };
        let canonical = match &written {
            Cow::Borrowed(written) => canonical(written, found)?,
            Cow::Owned(written) => Cow::Owned(canonical(written, found)?.into_owned()),
        };
        Ok(Self { written, canonical })
    }

    /// Whether it is `*`.
    pub fn is_asterisk(&self) -> bool {
        self.written == "*"
    }

    /// How many bytes of `written` are the first `length` of `canonical`.
    pub fn written_len(&self, length: usize) -> usize {
        if self.written.len() == self.canonical.len() {
            return length;
        }
        let bytes = self.written.as_bytes();
        let (mut at, mut reached) = (0, 0);
        while reached < length && at < bytes.len() {
            let (written, canonical) = match escape(bytes, at) {
                Ok(Some(byte)) if is_unreserved(byte) => (3, 1),
                Ok(Some(_)) => (3, 3),
                _ => (1, 1),
            };
            at += written;
            reached += canonical;
        }
        at
    }
}

/// The canonical form of a path without query: unreserved characters unescaped, hexadecimal
/// digits in upper case (RFC 3986 sections 6.2.2.1 and 6.2.2.2). Everything else stays as it came,
/// `%2F` included. Borrows when the path is canonical already; the result of this function is.
///
/// # Errors
///
/// What two parsers could read differently, and every dot segment.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    canonical(path, scan(path)?)
}

/// What a path holds.
#[derive(Clone, Copy)]
struct Found {
    /// `%`.
    escapes: bool,
    /// A segment that begins with `.`.
    dots: bool,
}

fn scan(path: &str) -> Result<Found, PathError> {
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
    Ok(Found { escapes, dots })
}

fn canonical(path: &str, found: Found) -> Result<Cow<'_, str>, PathError> {
    let canonical = match found.escapes {
        true => unescape_unreserved(path)?,
        false => Cow::Borrowed(path),
    };
    if (found.escapes || found.dots) && has_dot_segment(&canonical) {
        return Err(PathError::DotSegment);
    }
    Ok(canonical)
}

/// The path without its segments that are a lone `.`. One at the end leaves its slash.
fn without_lone_dots(path: &str) -> Cow<'_, str> {
    let is_dot = |segment: &str| matches!(segment, "." | "%2E" | "%2e");
    let segments = || path.split('/').skip(1);
    if !segments().any(is_dot) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = segments().peekable();
    while let Some(segment) = segments.next() {
        match is_dot(segment) {
            true if segments.peek().is_some() => {}
            true => out.push('/'),
            false => out.extend(["/", segment]),
        }
    }
    Cow::Owned(out)
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
    let bytes = path.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    // The byte that an escape stands for which ends here.
    let mut before = None;
    while let Some(found) = path[at..].find('%') {
        before = before.filter(|_| found == 0);
        at += found;
        let byte = escape(bytes, at)?.ok_or(PathError::Escape)?;
        if byte.is_ascii_control() || byte == b'\\' {
            return Err(PathError::EncodedControl);
        }
        if before.is_some_and(|before| is_overlong(before, byte)) {
            return Err(PathError::Overlong);
        }
        let digits = &path[at + 1..at + 3];
        let unreserved = is_unreserved(byte);
        if unreserved || digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            out.push_str(&path[copied..at]);
            if unreserved {
                out.push(char::from(byte));
            } else {
                out.push('%');
                out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
            copied = at + 3;
        }
        before = Some(byte);
        at += 3;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(path));
    }
    out.push_str(&path[copied..]);
    Ok(Cow::Owned(out))
}

/// The byte that the escape at this place stands for; `None`: there is no `%`.
fn escape(bytes: &[u8], at: usize) -> Result<Option<u8>, PathError> {
    match bytes[at..] {
        [b'%', high, low, ..] => Ok(Some(hex(high)? << 4 | hex(low)?)),
        [b'%', ..] => Err(PathError::Escape),
        _ => Ok(None),
    }
}

fn hex(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::Escape),
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether two bytes, one behind the other, begin a character that needs fewer (RFC 3629 section 3;
/// those of five and six bytes are of older decoders).
fn is_overlong(first: u8, second: u8) -> bool {
    matches!(
        (first, second),
        (0xC0 | 0xC1, 0x80..=0xBF)
            | (0xE0, 0x80..=0x9F)
            | (0xF0, 0x80..=0x8F)
            | (0xF8, 0x80..=0x87)
            | (0xFC, 0x80..=0x83)
    )
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

    #[test]
    fn overlong_utf_8_is_refused() {
        for path in [
            "/%C0%AE",
            "/%c0%ae%c0%ae/",
            "/%C0%AF",
            "/a%C1%81",
            "/%c1%9c",
            "/%E0%80%AE",
            "/%e0%9f%bf",
            "/%F0%80%80%AE",
            "/%f0%8f%bf%bf",
            "/%F8%80%80%80%AE",
            "/%FC%80%80%80%80%AE",
            "/%E4%C0%AE",
        ] {
            assert_eq!(canonical_path(path), Err(PathError::Overlong), "{path}");
            assert_eq!(Path::read(path), Err(PathError::Overlong), "{path}");
        }
        for path in [
            "/%C3%A9",
            "/%E0%A0%80",
            "/%F0%90%80%80",
            "/%EF%BF%BD",
            // Latin-1.
            "/%E4",
            "/%C0/%AE",
            "/%C0a%AE",
            "/%C1gua",
        ] {
            assert_eq!(canonical_path(path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn a_path_is_kept_as_it_came() {
        for (path, canonical) in [
            ("/%e4", "/%E4"),
            ("/%41", "/A"),
            ("/a%2fb/%7Euser", "/a%2Fb/~user"),
            ("/%2e%2e%2e", "/..."),
            ("/a/.b", "/a/.b"),
        ] {
            let read = Path::read(path).unwrap();
            assert_eq!((&*read.written, &*read.canonical), (path, canonical));
            assert!(matches!(read.written, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn a_lone_dot_is_taken_away_and_nothing_else_is() {
        for (path, written, canonical) in [
            ("/.", "/", "/"),
            ("/./", "/", "/"),
            ("/././.", "/", "/"),
            ("/repo/./Packages", "/repo/Packages", "/repo/Packages"),
            ("/a/.", "/a/", "/a/"),
            ("/a/%2e/%e4/%2E", "/a/%e4/", "/a/%E4/"),
            ("//./a", "//a", "//a"),
            ("/.//a", "//a", "//a"),
            ("/./%41", "/%41", "/A"),
        ] {
            let read = Path::read(path).unwrap();
            let spellings = (&*read.written, &*read.canonical);
            assert_eq!(spellings, (written, canonical), "{path}");
            assert_eq!(canonical_path(path), Err(PathError::DotSegment), "{path}");
        }
        for path in [
            "/..", "/a/../b", "/./..", "/%2e./a", "/a/.;x/b", "/a%2f./b", "/.%2Fa", "/a/.%3B",
        ] {
            assert_eq!(Path::read(path), Err(PathError::DotSegment), "{path}");
        }
    }

    #[test]
    fn what_is_matched_of_a_path_is_found_in_what_came() {
        let read = Path::read("/%63r%6D/%e4/./%2f%41").unwrap();
        assert_eq!(read.canonical, "/crm/%E4/%2FA");
        for (canonical, written) in [
            ("", ""),
            ("/", "/"),
            ("/crm", "/%63r%6D"),
            ("/crm/", "/%63r%6D/"),
            ("/crm/%E4", "/%63r%6D/%e4"),
            ("/crm/%E4/%2FA", "/%63r%6D/%e4/%2f%41"),
        ] {
            let length = read.written_len(canonical.len());
            assert_eq!(read.written[..length], *written);
        }
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
        fn what_is_sent_has_the_canonical_form_that_is_matched(path in "/([a-cA-C./]|%[0-9a-fA-F]{2}|%2[eEfF]){0,12}") {
            if let Ok(read) = Path::read(&path) {
                let again = canonical_path(&read.written);
                prop_assert_eq!(again.as_deref(), Ok(&*read.canonical));
                for (at, _) in read.canonical.match_indices('/') {
                    let length = read.written_len(at);
                    let before = format!("/{}", &read.written[..length]);
                    prop_assert_eq!(canonical_path(&before).unwrap(), format!("/{}", &read.canonical[..at]));
                    prop_assert!(read.written[length..].starts_with('/'));
                }
            }
        }

        #[test]
        fn arbitrary_text_never_panics(path in any::<String>()) {
            let _ = Path::read(&path);
            let _ = Path::read(&format!("/{path}"));
            let _ = check_query(&path);
        }
    }
}
