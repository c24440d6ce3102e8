//! Undoes encodings in a text, and tells for each decoded byte where it stood in the original.

use zeroize::Zeroizing;

use super::escapes::{Escapes, KINDS, Meaning, escape};

/// Shorter stretches of digits are too short to hold a secret.
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

/// A notation of bytes by digits, where each digit stands for `width` bits and `group` of them for whole bytes.
struct Digits {
    width: u32,
    group: usize,
    /// How much may stand between two digits.
    separator: usize,
    value: fn(u8) -> Option<u32>,
}

/// RFC 4648 sections 4 and 5, both alphabets.
const BASE64: Digits = Digits {
    width: 6,
    group: 4,
    separator: 1,
    value: sextet,
};

/// The value of a character of base64, in either alphabet (RFC 4648 sections 4 and 5).
pub(super) fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// RFC 4648 section 6, in upper or lower case.
const BASE32: Digits = Digits {
    width: 5,
    group: 8,
    separator: 1,
    value: |byte| {
        let value = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        Some(value.into())
    },
};

/// Two digits for each byte, whatever announces or parts them: `586b`, `58:6B`, `0x58, 0x6b`, `"58","6B"`.
const HEXADECIMAL: Digits = Digits {
    width: 4,
    group: 2,
    separator: 6,
    value: |byte| char::from(byte).to_digit(16),
};

/// Shows `text` in every form that it decodes to: [escapes](Escapes), base64, base32, hexadecimal and lists of numbers are
/// undone, in any order, until nothing changes. `inspect` is told whether digits were. `None`: there is too much of it.
pub(super) fn each(text: &str, inspect: &mut dyn FnMut(&DecodedView, bool)) -> Option<()> {
    let mut left = MOST_TIMES * (text.len() + SHORTEST);
    if let Some(numbers) = DecodedView::of_numbers(text) {
        visit(&numbers, true, &mut left, inspect)?;
    }
    if let Some(joined) = DecodedView::of_joined_lines(text) {
        visit(&joined, false, &mut left, inspect)?;
    }
    visit(&DecodedView::of(text), false, &mut left, inspect)
}

fn visit(
    view: &DecodedView,
    decoded: bool,
    left: &mut usize,
    inspect: &mut dyn FnMut(&DecodedView, bool),
) -> Option<()> {
    let mut look = |view: &DecodedView, escapes| {
        *left = left.checked_sub(view.bytes.len())?;
        inspect(view, decoded);
        // Digits that are escaped come out with everything else.
        if escapes != Escapes::All {
            return Some(());
        }
        for digits in [&BASE64, &BASE32, &HEXADECIMAL] {
            let stretches = view.stretches(digits);
            for skipped in 0..digits.group {
                if let Some(view) = stretches.decoded(digits, skipped) {
                    visit(&view, true, left, inspect)?;
                }
            }
        }
        Some(())
    };
    look(view, Escapes::All)?;
    view.each_unescaped(look)
}

/// Shows `secret` and every form that it takes when escapes in it are undone, as they are in a text that holds it. `None`:
/// there is too much of it.
pub(super) fn each_unescaped(
    secret: &DecodedView,
    mut inspect: impl FnMut(&DecodedView),
) -> Option<()> {
    inspect(secret);
    let mut left = MOST_TIMES * secret.bytes.len();
    secret.each_unescaped(|view, _| {
        left = left.checked_sub(view.bytes.len())?;
        inspect(view);
        Some(())
    })
}

impl DecodedView {
    pub(super) fn of(text: &str) -> Self {
        let mut view = Self::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            view.push(character, at as u32, (at + character.len_utf8()) as u32);
        }
        view
    }

    /// Without the signs that say that a line goes on (RFC 2045 section 6.7); none if there are none.
    fn of_joined_lines(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let goes_on = |at: usize| {
            let rest = &bytes[at..];
            rest.starts_with(b"=\n") || rest.starts_with(b"=\r\n")
        };
        (0..bytes.len()).find(|at| goes_on(*at))?;
        let whole = Self::of(text);
        let mut view = Self::with_capacity(whole.bytes.len());
        for (byte, span) in whole.bytes.iter().zip(&whole.spans) {
            if !goes_on(span.0 as usize) {
                view.bytes.push(*byte);
                view.spans.push(*span);
            }
        }
        Some(view)
    }

    /// What lists of decimal numbers of bytes stand for, such as `88, 107` or `[88 107]`; none if there is no list.
    fn of_numbers(text: &str) -> Option<Self> {
        let mut view = Self::with_capacity(text.len());
        let mut last_end = 0;
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if length == 0 {
                at += 1;
                continue;
            }
            let parted = !bytes[last_end..at].iter().any(u8::is_ascii_alphanumeric);
            if !parted {
                view.part(last_end as u32);
            }
            let end = at + length;
            match text[at..end].parse::<u8>() {
                Ok(byte) => view.push_byte(byte, at as u32, end as u32),
                Err(_) => view.part(at as u32),
            }
            (at, last_end) = (end, end);
        }
        (view.bytes.len() >= SHORTEST).then_some(view)
    }

    /// Shows what this becomes when escapes are undone, all kinds at once and each kind by itself, as often as there are
    /// any.
    fn each_unescaped(&self, mut look: impl FnMut(&Self, Escapes) -> Option<()>) -> Option<()> {
        let Some(all) = self.unescaped(Escapes::All) else {
            return Some(());
        };
        for kind in KINDS {
            let mut next = self.unescaped(kind);
            // Else it is the only kind.
            if next.as_ref().is_some_and(|view| view.bytes == all.bytes) {
                continue;
            }
            while let Some(view) = next {
                look(&view, kind)?;
                next = view.unescaped(kind);
            }
        }
        let mut next = Some(all);
        while let Some(view) = next {
            look(&view, Escapes::All)?;
            next = view.unescaped(Escapes::All);
        }
        Some(())
    }

    /// With every one of `escapes` undone once, which makes it shorter; `None` if it holds none.
    fn unescaped(&self, escapes: Escapes) -> Option<Self> {
        let mut view = Self::with_capacity(self.bytes.len());
        let mut changed = false;
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let Some((length, meaning)) = escape(rest, escapes) else {
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

    /// Its stretches of such digits that are long enough.
    fn stretches(&self, digits: &Digits) -> Stretches {
        let mut found = Stretches {
            values: Zeroizing::new(Vec::with_capacity(self.bytes.len())),
            spans: Vec::with_capacity(self.bytes.len()),
            ends: Vec::new(),
        };
        let mut at = 0;
        while at < self.bytes.len() {
            let (start, begun) = (at, found.values.len());
            while let Some((place, value)) = self.digit(digits, at, found.values.len() > begun) {
                found.values.push(value as u8);
                found.spans.push(self.spans[place]);
                at = place + 1;
            }
            if found.values.len() - begun < SHORTEST {
                found.values.truncate(begun);
                found.spans.truncate(begun);
            } else {
                found.ends.push(found.values.len());
            }
            at = at.max(start + 1);
        }
        found
    }

    /// The digit at `at`, or the next one behind a separator if one may stand here, and where it is.
    fn digit(&self, digits: &Digits, at: usize, parted: bool) -> Option<(usize, u32)> {
        let most = if parted { digits.separator } else { 0 };
        let mut place = at;
        loop {
            let byte = *self.bytes.get(place)?;
            let announced = |mark: u8| digits.width == 4 && mark.eq_ignore_ascii_case(&b'x');
            let zero_x = byte == b'0' && self.bytes.get(place + 1).copied().is_some_and(announced);
            let length = match (digits.value)(byte) {
                Some(value) if !zero_x => return Some((place, value)),
                _ if zero_x => 2,
                _ if byte.is_ascii_punctuation() => 1,
                _ if announced(byte) || digits.width == 4 && byte.eq_ignore_ascii_case(&b'u') => 1,
                _ => return None,
            };
            place += length;
            if place - at > most {
                return None;
            }
        }
    }

    fn push_group(&mut self, width: u32, digits: &[u8], spans: &[(u32, u32)]) {
        let bits = digits
            .iter()
            .fold(0_u64, |bits, digit| bits << width | u64::from(*digit));
        let length = width * digits.len() as u32;
        for end in (8..=length).step_by(8) {
            let byte = (bits >> (length - end)) as u8;
            let (first, last) = ((end - 8) / width, (end - 1) / width);
            let (first, last) = (spans[first as usize], spans[last as usize]);
            self.push_byte(byte, first.0, last.1);
        }
    }

    /// What stands before and behind this does not belong together.
    fn part(&mut self, at: u32) {
        self.bytes.push(0);
        self.spans.push((at, at));
    }

    fn push(&mut self, character: char, start: u32, end: u32) {
        // Full-width forms.
        let character = match character {
            '\u{FF01}'..='\u{FF5E}' => char::from((u32::from(character) - 0xFEE0) as u8),
            _ => character,
        };
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
            bytes: Zeroizing::new(Vec::with_capacity(bytes + 1)),
            spans: Vec::with_capacity(bytes + 1),
        }
    }
}

/// Stretches of digits, one behind another.
struct Stretches {
    values: Zeroizing<Vec<u8>>,
    spans: Vec<(u32, u32)>,
    /// Where each one ends.
    ends: Vec<usize>,
}

impl Stretches {
    /// What they stand for, less the first `skipped` digits of each one; none if none is long enough.
    fn decoded(&self, digits: &Digits, skipped: usize) -> Option<DecodedView> {
        let mut start = 0;
        let all = self
            .ends
            .iter()
            .map(|&end| std::mem::replace(&mut start, end)..end);
        let long: Vec<_> = all.filter(|all| all.len() >= SHORTEST + skipped).collect();
        if long.is_empty() {
            return None;
        }
        let mut view = DecodedView::with_capacity(self.values.len() + long.len());
        for stretch in long {
            let stretch = stretch.start + skipped..stretch.end;
            let spans = &self.spans[stretch.clone()];
            let groups = self.values[stretch].chunks(digits.group);
            for (values, spans) in groups.zip(spans.chunks(digits.group)) {
                view.push_group(digits.width, values, spans);
            }
            // What is decoded from two stretches does not belong together.
            view.part(spans[0].0);
        }
        Some(view)
    }
}

/// Whether a character shows. Format characters, such as those that turn the direction of what
/// follows, do not, nor do fillers.
pub fn is_seen(character: char) -> bool {
    let filler = matches!(character, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}');
    character.is_ascii_graphic() || (character.is_alphanumeric() && !filler)
}
