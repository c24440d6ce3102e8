//! Durations and sizes.

use std::time::Duration;

/// What a duration looks like.
pub(in crate::config) const DURATION: &str = "a duration such as \"30s\", \"500ms\" or \"1m30s\"";

/// What the whole of every duration matches.
pub(in crate::config) const DURATION_PATTERN: &str = "(?:[0-9]+(?:ms|s|m|h))+";

/// What the whole of every size matches.
pub(in crate::config) const SIZE_PATTERN: &str = "[0-9]+(?:B|KiB|MiB|GiB)";

/// What a size looks like.
pub(in crate::config) const SIZE: &str = "a size such as \"64KiB\", \"1MiB\" or \"512B\"";

/// A duration as the configuration and arguments have it, such as `30s` or `1m30s`.
///
/// # Errors
/// What was expected in its place.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| format!("expected {DURATION}"))
}

/// Whole numbers with `ms`, `s`, `m` or `h`, one after the other: `1m30s`.
pub(in crate::config) const fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.as_bytes();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let Some((number, unit)) = number(rest) else {
            return None;
        };
        let (part, after) = match unit {
            [b'm', b's', after @ ..] => (Some(Duration::from_millis(number)), after),
            [b's', after @ ..] => (seconds(number, 1), after),
            [b'm', after @ ..] => (seconds(number, 60), after),
            [b'h', after @ ..] => (seconds(number, 60 * 60), after),
            _ => return None,
        };
        let Some(part) = part else { return None };
        total = match total.checked_add(part) {
            Some(total) => total,
            None => return None,
        };
        rest = after;
    }
    Some(total)
}

/// A whole number with `B`, `KiB`, `MiB` or `GiB`. Not `kB`: people disagree on what it means.
pub(in crate::config) const fn size(text: &str) -> Option<usize> {
    let Some((number, unit)) = number(text.as_bytes()) else {
        return None;
    };
    let bytes = match unit {
        b"B" => 1,
        b"KiB" => 1 << 10,
        b"MiB" => 1 << 20,
        b"GiB" => 1 << 30,
        _ => return None,
    };
    match number.checked_mul(bytes) {
        Some(bytes) if bytes <= usize::MAX as u64 => Some(bytes as usize),
        _ => None,
    }
}

/// Whether they are the same, for constants.
pub(in crate::config) const fn equal(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([first, rest @ ..], [other, others @ ..]) = (a, b) {
        if *first != *other {
            return false;
        }
        (a, b) = (rest, others);
    }
    a.is_empty() && b.is_empty()
}

const fn seconds(number: u64, each: u64) -> Option<Duration> {
    match number.checked_mul(each) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => None,
    }
}

/// The number at the start, and what follows.
const fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = text;
    let mut number: u64 = 0;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        let digit = (*digit - b'0') as u64;
        number = match number.checked_mul(10) {
            Some(tens) => match tens.checked_add(digit) {
                Some(number) => number,
                None => return None,
            },
            None => return None,
        };
        rest = after;
    }
    if rest.len() < text.len() {
        Some((number, rest))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_be_compound() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("0s"), Some(0));
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("1h"), Some(3_600_000));
        for bad in [
            "",
            "30",
            "s",
            "30 s",
            "1.5s",
            "-1s",
            "1d",
            "30S",
            "1m30",
            " 1s",
            "1s ",
            "١s",
            "99999999999999999999s",
            "18446744073709551615h",
            "18446744073709551615s1s",
        ] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1_048_576));
        assert_eq!(size("0B"), Some(0));
        for bad in [
            "",
            "64",
            "64kB",
            "64KB",
            "64K",
            "64 KiB",
            "-1B",
            "1.5MiB",
            "99999999999999GiB",
        ] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }
}
