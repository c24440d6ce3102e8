//! Durations and sizes within their bounds, as schemas.
//!
//! A pattern cannot add. Of a duration in several parts (`1m30s`) it is known only that it is none, that it is not zero, and that
//! no part of it alone is too much.

use serde_json::Value;

use super::super::parse::units;

/// A text with a unit, as patterns.
pub(super) struct Bounded {
    /// How it is written.
    pub(super) form: &'static str,
    /// What is written so, and is beyond the bounds.
    pub(super) beyond: String,
}

/// The units of durations, in milliseconds.
const DURATIONS: &[(&str, u128)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// The units of sizes, in bytes.
const SIZES: &[(&str, u128)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Any duration in several parts that is zero.
const ZERO: &str = "(?:0+(?:ms|s|m|h))+";

/// A pattern that the whole of a text has to match.
pub(super) fn whole(pattern: &str) -> Value {
    format!("^(?:{pattern})$").into()
}

pub(super) fn duration(least: &str, most: &str) -> Bounded {
    let millis = |text| units::duration(text).map_or(0, |time| time.as_millis());
    let (least, most) = (millis(least), millis(most));
    let mut beyond = outside(DURATIONS, least, most);
    beyond.push(part_above(most));
    if least > 0 {
        beyond.push(ZERO.to_owned());
    }
    Bounded {
        form: units::DURATION_PATTERN,
        beyond: beyond.join("|"),
    }
}

/// Whole seconds, one at least.
pub(super) fn seconds(most: u64) -> Bounded {
    let most = u128::from(most) * 1_000;
    let mut beyond = outside(DURATIONS, 1_000, most);
    beyond.push(part_above(most));
    beyond.push("[0-9]*[1-9][0-9]{0,2}ms".to_owned());
    beyond.push(ZERO.to_owned());
    Bounded {
        form: units::DURATION_PATTERN,
        beyond: beyond.join("|"),
    }
}

pub(super) fn size(least: &str, most: &str) -> Bounded {
    let bytes = |text| units::size(text).unwrap_or(0) as u128;
    let beyond = outside(SIZES, bytes(least), bytes(most));
    Bounded {
        form: units::SIZE_PATTERN,
        beyond: beyond.join("|"),
    }
}

/// Patterns of a number with a unit that together are less than `least` or more than `most`.
fn outside(units: &[(&str, u128)], least: u128, most: u128) -> Vec<String> {
    let of_unit = |(unit, each): &(&str, u128)| {
        let mut numbers = Vec::new();
        if let Some(below) = least.div_ceil(*each).checked_sub(1) {
            numbers.extend(up_to(below));
        }
        numbers.extend(above(most / each));
        format!("0*(?:{}){unit}", numbers.join("|"))
    };
    units.iter().map(of_unit).collect()
}

/// A pattern of durations of which one part is more than `most`.
fn part_above(most: u128) -> String {
    let parts = DURATIONS.iter().map(|(unit, each)| {
        let numbers = above(most / each).join("|");
        format!("(?:{numbers}){unit}")
    });
    let parts: Vec<_> = parts.collect();
    let others = format!("(?:{})?", units::DURATION_PATTERN);
    format!("{others}0*(?:{}){others}", parts.join("|"))
}

/// Patterns of numbers that are no larger than this; zeros may stand before them.
fn up_to(most: u128) -> Vec<String> {
    let digits = most.to_string();
    let mut patterns = vec![digits.clone()];
    if digits.len() > 1 {
        patterns.push(format!("[0-9]{{1,{}}}", digits.len() - 1));
    }
    let first = |at: usize| {
        if at == 0 && digits.len() > 1 {
            '1'
        } else {
            '0'
        }
    };
    patterns.extend(different(&digits, |at, digit| {
        (digit > first(at)).then(|| (first(at), before(digit)))
    }));
    patterns
}

/// Patterns of numbers that are larger than this; zeros may stand before them.
fn above(most: u128) -> Vec<String> {
    let digits = most.to_string();
    let mut patterns = vec![format!("[1-9][0-9]{{{},}}", digits.len())];
    patterns.extend(different(&digits, |_, digit| {
        (digit < '9').then(|| (after(digit), '9'))
    }));
    patterns
}

/// Patterns of numbers of as many digits that have the first ones in common with these, and then one of a range.
fn different(
    digits: &str,
    range: impl Fn(usize, char) -> Option<(char, char)>,
) -> impl Iterator<Item = String> {
    let each = digits.char_indices().filter_map(move |(at, digit)| {
        let (first, last) = range(at, digit)?;
        let rest = match digits.len() - at - 1 {
            0 => String::new(),
            1 => "[0-9]".to_owned(),
            rest => format!("[0-9]{{{rest}}}"),
        };
        let one = if first == last {
            first.to_string()
        } else {
            format!("[{first}-{last}]")
        };
        Some(format!("{}{one}{rest}", &digits[..at]))
    });
    each.collect::<Vec<_>>().into_iter()
}

fn before(digit: char) -> char {
    char::from(digit as u8 - 1)
}

fn after(digit: char) -> char {
    char::from(digit as u8 + 1)
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    fn any_of(patterns: &[String]) -> Regex {
        Regex::new(&format!("^(?:0*(?:{}))$", patterns.join("|"))).unwrap()
    }

    #[test]
    fn numbers_are_within_their_bounds_or_beyond_them() {
        for bound in [0, 1, 9, 10, 19, 99, 100, 365, 1_024, 2_760] {
            let (within, beyond) = (any_of(&up_to(bound)), any_of(&above(bound)));
            for number in (0..3_000_u128).chain([9_999, 10_000, 99_999, 100_000]) {
                let text = number.to_string();
                assert_eq!(within.is_match(&text), number <= bound, "{number} {bound}");
                assert_eq!(beyond.is_match(&text), number > bound, "{number} {bound}");
            }
        }
        let beyond = any_of(&above(10));
        assert!(beyond.is_match("0011") && !beyond.is_match("0010"));
    }

    fn takes(bounded: &Bounded, text: &str) -> bool {
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).unwrap();
        whole(bounded.form).is_match(text) && !whole(&bounded.beyond).is_match(text)
    }

    #[test]
    fn what_is_written_in_one_part_is_bounded_exactly() {
        let times = duration("100ms", "8760h");
        let sizes = size("8KiB", "1MiB");
        let seconds = seconds(32_767);
        for number in [
            0,
            1,
            7,
            8,
            9,
            99,
            100,
            101,
            146,
            365,
            546,
            547,
            999,
            1_000,
            1_001,
            1_023,
            1_024,
            1_025,
            8_191,
            8_192,
            8_759,
            8_760,
            8_761,
            32_767,
            32_768,
            1_048_576,
            1_048_577,
            525_600,
            525_601,
            31_536_000,
            31_536_001,
            32_767_000,
            32_768_000,
            31_536_000_000,
            31_536_000_001,
        ] {
            for (unit, each) in DURATIONS {
                let (text, millis) = (format!("{number}{unit}"), number * each);
                let good = (100..=31_536_000_000).contains(&millis);
                assert_eq!(takes(&times, &text), good, "{text}");
                let good = millis % 1_000 == 0 && (1_000..=32_767_000).contains(&millis);
                assert_eq!(takes(&seconds, &text), good, "{text}");
            }
            for (unit, each) in SIZES {
                let text = format!("{number}{unit}");
                let good = (8_192..=1_048_576).contains(&(number * each));
                assert_eq!(takes(&sizes, &text), good, "{text}");
            }
        }
        for (text, good) in [
            ("1m30s", true),
            ("0h0s", false),
            ("1m8760h", true),
            ("1m8761h", false),
            ("99999999m1s", false),
            ("90", false),
            ("1.5s", false),
            ("", false),
        ] {
            assert_eq!(takes(&times, text), good, "{text}");
        }
    }
}
