//! Paths: one spelling, the one that is forwarded, and no way up in it.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use sidebearer::path::{canonical_path, check_query};
use sidebearer_fuzz::measure;

fuzz_target!(|text: &str| {
    let (result, cost) = measure(|| canonical_path(text));
    assert_eq!(result.as_deref().ok(), reference(text).as_deref());
    match &result {
        Ok(Cow::Borrowed(same)) => assert_eq!((*same, cost.taken), (text, 0), "copied for nothing"),
        _ => assert!(cost.peak <= 4 * text.len() + 64, "{cost:?}"),
    }
    if let Ok(canonical) = &result {
        assert!(matches!(canonical_path(canonical), Ok(Cow::Borrowed(_))));
        let decoded = |path| percent_decode_str(path).collect::<Vec<u8>>();
        assert_eq!(decoded(canonical), decoded(text), "it means something else");
        assert!(canonical.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!climbs(canonical), "{canonical}");
        // What a server makes of it is no other path of ours.
        assert!(
            !decoded(canonical)
                .iter()
                .any(|byte| byte.is_ascii_control() || *byte == b'\\')
        );
    }

    let bad = |byte: u8| !byte.is_ascii_graphic() || byte == b'\\' || byte == b'#';
    let passes = !text.bytes().any(bad) && !text.contains("%00");
    let (checked, cost) = measure(|| check_query(text));
    assert_eq!((checked.is_ok(), cost.taken), (passes, 0));
});

/// Whether some server could find `.` or `..` among the segments: it may decode before or after
/// it splits, and before or after it drops parameters.
fn climbs(path: &str) -> bool {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let segments =
        |text: &str| -> Vec<String> { text.split(['/', '\\']).map(str::to_owned).collect() };
    let named = |text: &str| text.split(';').next().unwrap_or_default().to_owned();
    let is_dots = |name: &str| name == "." || name == "..";
    segments(path)
        .iter()
        .flat_map(|segment| {
            [
                segment.clone(),
                named(segment),
                decode(segment),
                decode(&named(segment)),
            ]
        })
        .chain(segments(&decode(path)))
        .flat_map(|segment| [named(&segment), segment])
        .any(|name| is_dots(&name))
}

/// The rules again, byte by byte and without haste.
fn reference(path: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = std::str::from_utf8(&[*high, *low])
                    .ok()?
                    .to_ascii_uppercase();
                // `from_str_radix` takes a sign, too.
                let byte = u8::from_str_radix(digits.trim_start_matches('+'), 16).ok()?;
                let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                match char::from(byte) {
                    _ if !hexadecimal => return None,
                    '\0'..=' ' if byte != b' ' => return None,
                    '\u{7f}' | '\\' => return None,
                    plain @ ('A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~') => {
                        out.push(plain)
                    }
                    _ => out.push_str(&format!("%{digits}")),
                }
                rest = after;
            }
            (b'%', _) => return None,
            (b'!'..=b'~', after) if !b"\\#".contains(first) => {
                out.push(char::from(*first));
                rest = after;
            }
            _ => return None,
        }
    }
    let separators = out.replace("%2F", "/").replace("%3B", ";");
    let climbs = separators.split('/').any(|segment| {
        let name = segment.split_once(';').map_or(segment, |(name, _)| name);
        name == "." || name == ".."
    });
    (path.starts_with('/') && !climbs).then_some(out)
}
