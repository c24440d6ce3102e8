//! Durations and sizes.

use std::time::Duration;

/// What a duration looks like.
pub(super) const DURATION: &str = "a duration such as \"30s\", \"500ms\" or \"1m30s\"";

/// What a size looks like.
pub(super) const SIZE: &str = "a size such as \"64KiB\", \"1MiB\" or \"512B\"";

/// Whole numbers with `ms`, `s`, `m` or `h`, one after the other: `1m30s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while let Some((number, after)) = number(rest) {
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(60 * 60)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

/// A whole number with `B`, `KiB`, `MiB` or `GiB`. Not `kB`: people disagree on what it means.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = number(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

/// The digits at the start, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
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
