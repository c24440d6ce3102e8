//! Undoes encodings in a text, and tells for each decoded byte where it stood in the original.

use zeroize::Zeroizing;

/// Shorter stretches of base64 and hexadecimal are too short to hold a secret.
const SHORTEST: usize = 6;
/// Decoding ends when its output is this many times as long as its input. Only a text that was made to cause
/// that reaches the limit.
const MOST_TIMES: usize = 64;

/// Bytes, less spaces, controls and what nobody sees.
pub(super) struct DecodedView {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// From where to where of the first text each of them came.
    pub(super) spans: Vec<(u32, u32)>,
}

/// Shows `text` in every form that it decodes to: percent-encoding, escapes of HTML and of JSON,
/// base64 and hexadecimal are undone, in any order, until nothing changes. `inspect` is told whether
/// base64 or hexadecimal was. `None`: there is too much of it.
pub(super) fn each(text: &str, mut inspect: impl FnMut(&DecodedView, bool)) -> Option<()> {
    let mut left = MOST_TIMES * (text.len() + SHORTEST);
    visit(DecodedView::of(text), false, &mut left, &mut inspect)
}

fn visit(
    mut view: DecodedView,
    decoded: bool,
    left: &mut usize,
    inspect: &mut impl FnMut(&DecodedView, bool),
) -> Option<()> {
    loop {
        *left = left.checked_sub(view.bytes.len())?;
        inspect(&view, decoded);
        for skipped in 0..4 {
            if let Some(view) = view.base64(skipped) {
                visit(view, true, left, inspect)?;
            }
        }
        for skipped in 0..2 {
            if let Some(view) = view.hexadecimal(skipped) {
                visit(view, true, left, inspect)?;
            }
        }
        let Some(unescaped) = view.unescaped() else {
            return Some(());
        };
        view = unescaped;
    }
}

impl DecodedView {
    pub(super) fn of(text: &str) -> Self {
        let mut view = Self::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            view.push(character, at as u32, (at + character.len_utf8()) as u32);
        }
        view
    }

    /// With every escape undone, as often as [`each`] would; `None` if it holds no escape.
    pub(super) fn unescaped_wholly(&self) -> Option<Self> {
        let mut last = self.unescaped()?;
        for _ in 1..MOST_TIMES {
            match last.unescaped() {
                Some(next) => last = next,
                None => break,
            }
        }
        Some(last)
    }

    /// With every escape undone once, which makes it shorter; `None` if it holds no escape.
    fn unescaped(&self) -> Option<Self> {
        let mut view = Self::with_capacity(self.bytes.len());
        let mut changed = false;
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let Some((length, meaning)) = escape(rest) else {
                view.bytes.push(rest[0]);
                view.spans.push(self.spans[at]);
                at += 1;
                continue;
            };
            let (start, end) = (self.spans[at].0, self.spans[at + length - 1].1);
            match meaning {
                Meaning::Byte(byte) => view.push_byte(byte, start, end),
                Meaning::Character(character) => view.push(character, start, end),
            }
            changed = true;
            at += length;
        }
        changed.then_some(view)
    }

    fn base64(&self, skipped: usize) -> Option<Self> {
        let value = |byte: u8| {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            Some(u32::from(value))
        };
        self.digits(6, 4, skipped, value)
    }

    fn hexadecimal(&self, skipped: usize) -> Option<Self> {
        self.digits(4, 2, skipped, |byte| char::from(byte).to_digit(16))
    }

    /// What stretches of digits of `width` bits stand for, `group` of them together, less the first
    /// `skipped` ones of each stretch; none if no stretch is long enough.
    fn digits(
        &self,
        width: u32,
        group: usize,
        skipped: usize,
        value: impl Fn(u8) -> Option<u32>,
    ) -> Option<Self> {
        let mut view = Self::with_capacity(self.bytes.len());
        let mut start = 0;
        while start < self.bytes.len() {
            let digits = self.bytes[start..].iter().map_while(|byte| value(*byte));
            let digits: Zeroizing<Vec<u32>> = Zeroizing::new(digits.collect());
            if digits.len() >= SHORTEST + skipped {
                for (nth, digits) in digits[skipped..].chunks(group).enumerate() {
                    let spans = &self.spans[start + skipped + nth * group..][..digits.len()];
                    view.push_group(width, digits, spans);
                }
                // What is decoded from two stretches does not belong together.
                view.bytes.push(0);
                view.spans.push(self.spans[start]);
            }
            start += digits.len().max(1);
        }
        (!view.bytes.is_empty()).then_some(view)
    }

    fn push_group(&mut self, width: u32, digits: &[u32], spans: &[(u32, u32)]) {
        let bits = digits.iter().fold(0, |bits, digit| bits << width | digit);
        let length = width * digits.len() as u32;
        for end in (8..=length).step_by(8) {
            let byte = (bits >> (length - end)) as u8;
            let (first, last) = ((end - 8) / width, (end - 1) / width);
            let (first, last) = (spans[first as usize], spans[last as usize]);
            self.push_byte(byte, first.0, last.1);
        }
    }

    fn push(&mut self, character: char, start: u32, end: u32) {
        if !character.is_ascii() {
            if is_seen(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    self.bytes.push(byte);
                    self.spans.push((start, end));
                }
            }
            return;
        }
        self.push_byte(character as u8, start, end);
    }

    fn push_byte(&mut self, byte: u8, start: u32, end: u32) {
        if !byte.is_ascii() || byte.is_ascii_graphic() {
            self.bytes.push(byte);
            self.spans.push((start, end));
        }
    }

    fn with_capacity(bytes: usize) -> Self {
        Self {
            // Growing would leave copies behind.
            bytes: Zeroizing::new(Vec::with_capacity(bytes)),
            spans: Vec::with_capacity(bytes),
        }
    }
}

/// Whether a character shows. Format characters, such as those that turn the direction of what
/// follows, do not, nor do fillers.
pub fn is_seen(character: char) -> bool {
    let filler = matches!(character, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}');
    character.is_ascii_graphic() || (character.is_alphanumeric() && !filler)
}

enum Meaning {
    Byte(u8),
    Character(char),
}

/// The escape that `text` begins with: its length and what it stands for.
fn escape(text: &[u8]) -> Option<(usize, Meaning)> {
    match *text {
        [b'%', high, low, ..] => {
            let byte = number(&[high, low], 16)? as u8;
            Some((3, Meaning::Byte(byte)))
        }
        [b'&', ..] => entity(text),
        [b'\\', b'u', b'{', ..] => {
            let end = text.iter().take(10).position(|byte| *byte == b'}')?;
            let character = char::from_u32(number(&text[3..end], 16)?)?;
            Some((end + 1, Meaning::Character(character)))
        }
        [b'\\', b'u', ..] => {
            let high = number(text.get(2..6)?, 16)?;
            let low = text.get(6..8).filter(|next| *next == b"\\u");
            let low = low.and_then(|_| number(text.get(8..12)?, 16));
            let pair =
                low.and_then(|low| char::decode_utf16([high as u16, low as u16]).next()?.ok());
            match pair.filter(|_| (0xD800..0xDC00).contains(&high)) {
                Some(character) => Some((12, Meaning::Character(character))),
                None => Some((6, Meaning::Character(char::from_u32(high)?))),
            }
        }
        [b'\\', b'x', high, low, ..] => {
            let byte = number(&[high, low], 16)? as u8;
            Some((4, Meaning::Byte(byte)))
        }
        [b'\\', b'n' | b'r' | b't' | b'b' | b'f', ..] => Some((2, Meaning::Byte(b' '))),
        [b'\\', byte @ (b'"' | b'\'' | b'\\' | b'/'), ..] => Some((2, Meaning::Byte(byte))),
        _ => None,
    }
}

fn entity(text: &[u8]) -> Option<(usize, Meaning)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let character = match &text[1..end] {
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        name => {
            let (_, character) = NAMES.iter().find(|(known, _)| known.as_bytes() == name)?;
            *character
        }
    };
    Some((end + 1, Meaning::Character(character)))
}

/// The characters of ASCII that HTML has names for.
const NAMES: [(&str, char); 34] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
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
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("verbar", '|'),
    ("rcub", '}'),
    ("hyphen", '-'),
];

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}
