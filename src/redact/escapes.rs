//! The escapes in which one character is written as others: of URLs, HTML, programming languages, mail and directories.

/// Which escapes are undone together. A text that one of them wrote may hold what looks like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Each one.
    All,
    /// `%58` and `%u0058`.
    Percent,
    /// `&#88;`, `&#x58;` and `&amp;`, also without semicolon.
    Html,
    /// `\u0058`, `\x58`, `\u{58}`, `\U00000058`, `\n` and `\"`.
    Backslash,
    /// `\130`.
    Octal,
    /// `\58`.
    Bytes,
    /// `=58`.
    QuotedPrintable,
    /// `U+0058`.
    CodePoint,
}

/// Each kind by itself.
pub(super) const KINDS: [Escapes; 7] = [
    Escapes::Percent,
    Escapes::Html,
    Escapes::Backslash,
    Escapes::Octal,
    Escapes::Bytes,
    Escapes::QuotedPrintable,
    Escapes::CodePoint,
];

/// What an escape stands for.
pub(super) enum Meaning {
    Byte(u8),
    Character(char),
}

/// The escape among `escapes` that `text` begins with: its length and what it stands for.
pub(super) fn escape(text: &[u8], escapes: Escapes) -> Option<(usize, Meaning)> {
    let has = |kind| escapes == Escapes::All || escapes == kind;
    let first = *text.first()?;
    match first {
        b'%' if has(Escapes::Percent) => percent(text),
        b'&' if has(Escapes::Html) => entity(text),
        b'=' if has(Escapes::QuotedPrintable) => byte(text, 1),
        b'U' | b'u' if has(Escapes::CodePoint) && text.get(1) == Some(&b'+') => {
            utf16(text, &[&text[..2]])
        }
        b'\\' => {
            let read = [
                (Escapes::Backslash, backslash as fn(&[u8]) -> _),
                (Escapes::Octal, octal),
                (Escapes::Bytes, |text| byte(text, 1)),
            ];
            let mut read = read.into_iter().filter(|(kind, _)| has(*kind));
            read.find_map(|(_, read)| read(text))
        }
        _ => None,
    }
}

fn percent(text: &[u8]) -> Option<(usize, Meaning)> {
    match text.get(1)? {
        b'u' | b'U' => utf16(text, &[b"%u", b"%U"]),
        _ => byte(text, 1),
    }
}

fn backslash(text: &[u8]) -> Option<(usize, Meaning)> {
    match *text.get(1)? {
        b'u' | b'x' if text.get(2) == Some(&b'{') => {
            let digits = digits(&text[3..], 16);
            let closed = text.get(3 + digits.len()) == Some(&b'}');
            let character = character(digits, 16).filter(|_| closed)?;
            Some((digits.len() + 4, Meaning::Character(character)))
        }
        b'u' => utf16(text, &[b"\\u"]),
        b'U' => {
            let character = character(text.get(2..10)?, 16)?;
            Some((10, Meaning::Character(character)))
        }
        b'x' => byte(text, 2),
        b'n' | b'r' | b't' | b'b' | b'f' => Some((2, Meaning::Byte(b' '))),
        byte @ (b'"' | b'\'' | b'\\' | b'/') => Some((2, Meaning::Byte(byte))),
        _ => None,
    }
}

fn octal(text: &[u8]) -> Option<(usize, Meaning)> {
    let byte = u8::try_from(number(text.get(1..4)?, 8)?).ok()?;
    Some((4, Meaning::Byte(byte)))
}

/// Two hexadecimal digits behind a marker of so many bytes.
fn byte(text: &[u8], marker: usize) -> Option<(usize, Meaning)> {
    let end = marker + 2;
    let byte = number(text.get(marker..end)?, 16)? as u8;
    Some((end, Meaning::Byte(byte)))
}

/// Four hexadecimal digits behind one of these markers of two bytes, or twice that for what UTF-16 writes as a pair.
fn utf16(text: &[u8], markers: &[&[u8]]) -> Option<(usize, Meaning)> {
    let unit = |at: usize| {
        let marked = text.get(at..at + 2)?;
        markers.contains(&marked).then_some(())?;
        Some(number(text.get(at + 2..at + 6)?, 16)? as u16)
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((6, Meaning::Character(character)));
    }
    let pair = char::decode_utf16([first, unit(6)?]).next()?;
    Some((12, Meaning::Character(pair.ok()?)))
}

fn entity(text: &[u8]) -> Option<(usize, Meaning)> {
    let with_end = |length: usize| length + usize::from(text.get(length) == Some(&b';'));
    match *text.get(1..)? {
        [b'#', ref digits_of @ ..] => {
            let (marker, radix) = match digits_of {
                [b'x' | b'X', ..] => (3, 16),
                _ => (2, 10),
            };
            let digits = digits(&text[marker..], radix);
            let character = character(digits, radix)?;
            let end = with_end(marker + digits.len());
            Some((end, Meaning::Character(character)))
        }
        ref name => {
            let known = NAMES.iter().find(|(known, _)| {
                let known = known.as_bytes();
                let is = |name: &[u8]| name.eq_ignore_ascii_case(known);
                let ended = name.get(known.len()) == Some(&b';');
                name.get(..known.len()).is_some_and(is) && (ended || ENDLESS.contains(&known))
            });
            let (name, character) = known?;
            let end = with_end(1 + name.len());
            Some((end, Meaning::Character(*character)))
        }
    }
}

/// The names that browsers also know without semicolon.
const ENDLESS: [&[u8]; 5] = [b"amp", b"lt", b"gt", b"quot", b"nbsp"];

/// The characters of ASCII that HTML has names for.
const NAMES: [(&str, char); 41] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("tab", ' '),
    ("newline", ' '),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("hyphen", '-'),
    ("dash", '-'),
];

/// The digits that `text` begins with.
fn digits(text: &[u8], radix: u32) -> &[u8] {
    let is_other = |byte: &u8| !char::from(*byte).is_digit(radix);
    let length = text.iter().position(is_other).unwrap_or(text.len());
    &text[..length]
}

/// The character with this number, whatever zeros it begins with.
fn character(digits: &[u8], radix: u32) -> Option<char> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    // `0` is a number too.
    let zeros = zeros.min(digits.len().checked_sub(1)?);
    char::from_u32(number(&digits[zeros..], radix)?)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    })
}
