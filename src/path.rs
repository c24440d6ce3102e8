//! The paths of requests. A path has one meaning, or it is refused: it is matched in its canonical form, and
//! forwarded as it came.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Why a path or query is refused: two parsers could read it differently, or none could read it.
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
    /// As it came, without segments that are a lone `.` (RFC 3986 section 5.2.4). This is sent, since a
    /// signature is valid for one spelling only.
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
        let scan = scan(path)?;
        let written = if scan.escapes || scan.dots {
            without_lone_dots(path)
        } else {
            Cow::Borrowed(path)
        };
        let canonical = match &written {
            Cow::Borrowed(written) => canonical(written, scan)?,
            Cow::Owned(written) => Cow::Owned(canonical(written, scan)?.into_owned()),
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

/// What was found in a path.
#[derive(Clone, Copy)]
struct Scan {
    /// It holds a `%`.
    escapes: bool,
    /// It has a segment that begins with `.`.
    dots: bool,
}

fn scan(path: &str) -> Result<Scan, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let (mut escapes, mut dots, mut previous) = (false, false, b'/');
    for &byte in bytes {
        match byte {
            b'%' => escapes = true,
            b'.' => dots |= previous == b'/',
            _ if !is_allowed(byte) => return Err(PathError::Character),
            _ => {}
        }
        previous = byte;
    }
    Ok(Scan { escapes, dots })
}

fn canonical(path: &str, scan: Scan) -> Result<Cow<'_, str>, PathError> {
    let canonical = if scan.escapes {
        unescape_unreserved(path)?
    } else {
        Cow::Borrowed(path)
    };
    if (scan.escapes || scan.dots) && has_dot_segment(&canonical) {
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
        if !is_dot(segment) {
            out.extend(["/", segment]);
        } else if segments.peek().is_none() {
            out.push('/');
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
        if !is_allowed(byte) {
            return Err(PathError::Character);
        }
        if byte == b'%' && query.as_bytes()[index..].starts_with(b"%00") {
            return Err(PathError::EncodedControl);
        }
    }
    Ok(())
}

/// Whether a byte may stand unescaped in a request-target. The HTTP library refuses more, but lets UTF-8
/// through.
fn is_allowed(byte: u8) -> bool {
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
