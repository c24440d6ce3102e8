//! Paths: one meaning, whichever spelling is matched and which is sent, and no way up in it.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use sidebearer::path::{Path, canonical_path, check_query};
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

    // A request may have lone dots, which are taken away, and is sent as it came else.
    let (read, cost) = measure(|| Path::read(text));
    let (written, dots) = less_dots(text);
    assert_eq!(
        read.as_ref().ok().map(|read| read.canonical.to_string()),
        reference(&written)
    );
    if let Ok(read) = &read {
        assert_eq!(read.written, written);
        assert!(!climbs(&written), "{written}");
        assert!(dots || matches!(read.written, Cow::Borrowed(_)));
        assert!(cost.peak <= 8 * text.len() + 64, "{cost:?}");
        assert_eq!(
            canonical_path(&read.written).as_deref(),
            Ok(&*read.canonical)
        );
        // The prefix that is replaced means the same as the one that was matched.
        for (at, _) in read.canonical.match_indices('/').skip(1) {
            let (before, behind) = read.written.split_at(read.written_len(at));
            assert_eq!(canonical_path(before).as_deref(), Ok(&read.canonical[..at]));
            assert_eq!(canonical_path(behind).as_deref(), Ok(&read.canonical[at..]));
        }
        let all = read.written_len(read.canonical.len());
        assert_eq!(all, read.written.len());
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

/// RFC 3986 section 5.2.4 for lone dots alone, and whether there are any.
fn less_dots(path: &str) -> (String, bool) {
    let mut segments: Vec<_> = path.split('/').collect();
    let is_dot = |segment: &&str| [".", "%2e", "%2E"].contains(segment);
    let Some((root, rest)) = segments.split_first_mut() else {
        return (String::new(), false);
    };
    if !root.is_empty() || !rest.iter().any(is_dot) {
        return (path.to_owned(), false);
    }
    if let Some(last) = rest.last_mut()
        && is_dot(last)
    {
        *last = "";
    }
    segments.retain(|segment| !is_dot(segment));
    (segments.join("/"), true)
}

/// The rules again, byte by byte and without haste.
fn reference(path: &str) -> Option<String> {
    if is_overlong(path) {
        return None;
    }
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

/// Whether two escapes side by side begin a character as no encoder would: its first bits are all zero.
fn is_overlong(path: &str) -> bool {
    let escape = |at: usize| {
        let digits = path.get(at..at + 3)?.strip_prefix('%')?;
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)
    };
    (0..path.len()).any(|at| {
        let (Some(first), Some(second)) = (escape(at), escape(at + 3)) else {
            return false;
        };
        // How many ones a first byte begins with is how many bytes there are.
        let bytes = first.leading_ones();
        if !(2..=6).contains(&bytes) || second.leading_ones() != 1 {
            return false;
        }
        // As they stand in line, 7 - bytes of the first and six of the second.
        let value = u32::from(first & (0x7F >> bytes)) << 6 | u32::from(second & 0x3F);
        match bytes {
            2 => value < 0x80,
            // What the bytes that follow would have to be less than, shifted out.
            3 => value < 0x800 >> 6,
            4 => value < 0x1_0000 >> 12,
            5 => value < 0x20_0000 >> 18,
            _ => value < 0x400_0000 >> 24,
        }
    })
}
