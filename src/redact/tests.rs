use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

const SECRET: &str = "s3: @%+/&=~\u{e9}t";

fn percent_encode(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, &PERCENT_ENCODED));
}

fn percent(text: &str, lower: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if lower {
            write!(out, "%{byte:02x}").unwrap()
        } else {
            write!(out, "%{byte:02X}").unwrap()
        }
    }
    out
}

#[test]
fn an_echoed_secret_is_replaced_in_every_encoding() {
    let redactor = Redactor::new([SECRET]);
    let mut encoded = String::new();
    percent_encode(SECRET, &mut encoded);
    let form: String = byte_serialize(SECRET.as_bytes()).collect();
    let echoes = [
        SECRET.to_owned(),
        SECRET.to_ascii_uppercase(),
        encoded.clone(),
        encoded.to_ascii_lowercase(),
        form,
        STANDARD.encode(SECRET),
        URL_SAFE.encode(SECRET),
    ];
    for echo in echoes {
        let cleaned = redactor.clean(&format!("bad secret <{echo}> given"));
        let ends_hidden = cleaned.starts_with("bad secret <[redacted]")
            && cleaned.ends_with("> given")
            && cleaned.len() <= "bad secret <[redacted]??=> given".len();
        assert!(ends_hidden, "{echo}: {cleaned}");
    }
    for odd in [percent(SECRET, true), percent(SECRET, false)] {
        assert_eq!(redactor.clean(&format!("got {odd}")), "got [redacted]");
    }
}

#[test]
fn a_secret_within_basic_credentials_is_replaced() {
    let redactor = Redactor::new([SECRET]);
    let mut encoded = String::new();
    percent_encode(SECRET, &mut encoded);
    for id in ["a", "ab", "abc", "billing"] {
        for secret in [SECRET, &encoded] {
            let header = STANDARD.encode(format!("{id}:{secret}"));
            let cleaned = redactor.clean(&format!("Authorization: Basic {header}"));
            assert!(cleaned.contains(REDACTED), "{cleaned}");
            let left = cleaned.len() - "Authorization: Basic [redacted]".len();
            assert!(left <= 4 * (id.len() / 3 + 1) + 4, "{cleaned}");
        }
    }
}

/// Every way in which a careless or hostile server may say what it was sent.
#[test]
fn a_disguised_secret_is_found_where_it_stands() {
    const SECRET: &str = "hunter2&\"corr/ect<horse>'b@ttery%41";
    let redactor = Redactor::new([SECRET]);
    let html = |text: &str| {
        text.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&#x3C;")
            .replace('>', "&#62;")
            .replace('\'', "&apos;")
    };
    let json = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('/', "\\/").replace('<', "\\u003C")
    };
    let every = |escape: fn(char) -> String| SECRET.chars().map(escape).collect::<String>();
    let once = percent(SECRET, false);
    let twice = once.replace('%', "%25");
    let hexadecimal = every(|c| format!("{:02x}", u32::from(c)));
    let disguises = [
        html(SECRET),
        json(SECRET),
        html(&json(SECRET)),
        json(&html(SECRET)),
        twice.replace('%', "%25"),
        twice,
        html(&once),
        every(|c| format!("\\u{:04X}", u32::from(c))),
        every(|c| format!("\\x{:02x}", u32::from(c))),
        every(|c| format!("&#{};", u32::from(c))),
        every(|c| format!("{c}\n ")),
        every(|c| format!("{c}\u{200b}")),
        every(|c| format!("\u{202e}{c}")),
        STANDARD.encode(STANDARD.encode(STANDARD.encode(SECRET))),
        STANDARD.encode(html(SECRET)),
        STANDARD.encode(SECRET).replace('=', "%3D"),
        URL_SAFE.encode(format!("x{SECRET}")).replace('A', "A\r\n"),
        hexadecimal.to_uppercase(),
        STANDARD.encode(hexadecimal.clone()),
        hexadecimal,
    ];
    for disguise in disguises {
        let cleaned = redactor.clean(&format!("we got: {disguise}, and stop"));
        let hidden = cleaned.strip_prefix("we got: ");
        let hidden = hidden.and_then(|rest| rest.strip_suffix(", and stop"));
        // Of base64 the last characters may be of what follows.
        let hidden = hidden.unwrap_or_else(|| panic!("{disguise}: {cleaned}"));
        assert!(hidden.contains(REDACTED), "{disguise}: {cleaned}");
        let left = hidden.replace(REDACTED, "");
        assert!(left.len() <= 8, "{disguise}: {cleaned}");
    }
}

#[test]
fn pieces_of_eight_characters_are_found_and_shorter_ones_are_chance() {
    let redactor = Redactor::new(["correct-horse-battery-staple"]);
    for (piece, shown) in [
        ("correct-horse-battery-stapl", "<[redacted]>"),
        ("orrect-horse-battery-staple", "<[redacted]>"),
        ("CORRECT-", "<[redacted]>"),
        ("y-staple", "<[redacted]>"),
        ("correct", "<correct>"),
        ("correct-xorse-battery", "<[redacted]x[redacted]>"),
        ("correct horse battery", "<correct horse battery>"),
    ] {
        assert_eq!(redactor.clean(&format!("<{piece}>")), shown, "{piece}");
    }
}

#[test]
fn tokens_and_what_was_sent_are_known_as_long_as_they_count() {
    let redactor = Redactor::new(["first-secret-of-all"]);
    redactor.add("assertion-that-was-sent");
    let token = |number: usize| format!("{number}{number}{number}").repeat(4);
    for number in 0..=MAX_TOKENS {
        redactor.add_token(&token(number));
    }
    let both = ["second-secret-of-all", "first-secret-of-all"];
    let sent = "assertion-that-was-sent";
    redactor.begin([both[0]]);
    // An answer to the request before may still come.
    for hidden in [&both[..], &[sent, &token(MAX_TOKENS)]].concat() {
        assert_eq!(redactor.clean(hidden), REDACTED);
    }
    assert_eq!(redactor.clean(&token(0)), token(0));
    redactor.begin([both[0]]);
    for hidden in both {
        assert_eq!(redactor.clean(hidden), REDACTED, "it was replaced last");
    }
    assert_eq!(redactor.clean(sent), sent);
    redactor.begin(["third-one-here"]);
    assert_eq!(redactor.clean(both[0]), REDACTED);
    assert_eq!(redactor.clean("first-sec"), "first-sec");
}

#[test]
fn text_of_any_length_is_cleaned_within_bounds() {
    let redactor = Redactor::new(["correct-horse-battery-staple"]);
    for length in 0..40 {
        let text = format!(
            "{}correct-horse-battery-staple",
            "<".repeat(MAX_READ - length)
        );
        let cleaned = redactor.clean_to(2 * MAX_READ, &text);
        assert!(!cleaned.contains("correct-"), "{cleaned}");
        assert!(cleaned.len() <= MAX_READ + 3);
    }
    // Nothing is known of it but that it decodes to more and more.
    let mut nested = "correct-horse".to_owned();
    while nested.len() < MAX_READ / 2 {
        nested = STANDARD.encode(nested);
    }
    assert!(!redactor.clean(&nested).contains(&nested[..50]));
}

#[test]
fn several_secrets_and_a_short_one_leave_nothing() {
    let redactor = Redactor::new(["abcdef", "cdefgh", "e", ""]);
    assert_eq!(redactor.clean("x abcdefgh y"), "x [redacted] y");
    assert_eq!(redactor.clean("eeee"), "[redacted]");
}

#[test]
fn text_is_visible_ascii_of_200_characters() {
    let redactor = Redactor::new([]);
    assert_eq!(redactor.clean("a\nb\u{1b}[31mc\u{e9}"), "a?b?[31mc?");
    let long = redactor.clean(&"x".repeat(1000));
    assert_eq!(long.len(), 200);
    assert!(long.ends_with("x..."));
    // A secret at the cut is replaced before the cut.
    let redactor = Redactor::new(["topsecret"]);
    let cut = redactor.clean(&format!("{}topsecret", "x".repeat(195)));
    assert!(!cut.contains("top"), "{cut}");
}

proptest! {
    #[test]
    fn no_secret_survives_whatever_surrounds_it(
        before in ".{0,40}", secret in "[ -~]{4,40}", after in ".{0,40}",
    ) {
        let redactor = Redactor::new([secret.as_str()]);
        let mut encoded = String::new();
        percent_encode(&secret, &mut encoded);
        for echo in [&secret, &encoded] {
            let cleaned = redactor.clean(&format!("{before}{echo}{after}"));
            let rest = cleaned.replace(REDACTED, "\u{0}");
            prop_assert!(!rest.contains(&secret), "{cleaned}");
            prop_assert!(!rest.contains(&encoded), "{cleaned}");
        }
    }
}

/// Every character as this says.
fn each_as(text: &str, write: fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn joined(text: &str, separator: &str, write: fn(u8) -> String) -> String {
    let written: Vec<_> = text.bytes().map(write).collect();
    written.join(separator)
}

fn base32(text: &str) -> String {
    let digits = text.as_bytes().chunks(5).flat_map(|group| {
        let bits = (0..5).fold(0, |bits, at| {
            bits << 8 | u64::from(group.get(at).copied().unwrap_or(0))
        });
        let count = (group.len() * 8).div_ceil(5);
        (0..count).map(move |at| bits >> (35 - 5 * at) & 31)
    });
    let letter = |digit| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[digit as usize]);
    digits.map(letter).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

type Encode = fn(&str) -> String;

/// What servers, proxies and their libraries make of a text of ASCII.
const ENCODINGS: [(&str, Encode); 44] = [
    ("as it is", str::to_owned),
    ("upper case", str::to_ascii_uppercase),
    ("html", html),
    ("html twice", |t| html(&html(t))),
    ("json", json),
    ("json in html", |t| html(&json(t))),
    ("&#88;", |t| each_as(t, |b| format!("&#{b};"))),
    ("&#88", |t| each_as(t, |b| format!("&#{b}"))),
    ("&#0..088;", |t| each_as(t, |b| format!("&#{b:020};"))),
    ("&#x58;", |t| each_as(t, |b| format!("&#x{b:x};"))),
    ("&#X58", |t| each_as(t, |b| format!("&#X{b:X}"))),
    ("&#x0..058;", |t| each_as(t, |b| format!("&#x{b:020X};"))),
    ("\\u0058", |t| each_as(t, |b| format!("\\u{b:04x}"))),
    ("\\U00000058", |t| each_as(t, |b| format!("\\U{b:08x}"))),
    ("\\u{58}", |t| each_as(t, |b| format!("\\u{{{b:x}}}"))),
    ("\\x58", |t| each_as(t, |b| format!("\\x{b:02x}"))),
    ("\\x{58}", |t| each_as(t, |b| format!("\\x{{{b:x}}}"))),
    ("\\130", |t| each_as(t, |b| format!("\\{b:03o}"))),
    ("\\58", |t| each_as(t, |b| format!("\\{b:02X}"))),
    ("%58", |t| percent(t, true)),
    ("%2558", |t| percent(t, false).replace('%', "%25")),
    ("%u0058", |t| each_as(t, |b| format!("%u{b:04X}"))),
    ("a form", |t| byte_serialize(t.as_bytes()).collect()),
    ("=58", |t| each_as(t, |b| format!("={b:02X}"))),
    ("=58 with lines that go on", |t| {
        joined(t, "=\r\n", |b| format!("={b:02X}"))
    }),
    ("U+0058", |t| each_as(t, |b| format!("U+{b:04X}"))),
    ("U+0058, U+006B", |t| {
        joined(t, ", ", |b| format!("U+{b:04X}"))
    }),
    ("586b", |t| joined(t, "", |b| format!("{b:02x}"))),
    ("58:6B", |t| joined(t, ":", |b| format!("{b:02X}"))),
    ("58-6b", |t| joined(t, "-", |b| format!("{b:02x}"))),
    ("58 6b", |t| joined(t, " ", |b| format!("{b:02x}"))),
    ("0x58 0x6b", |t| joined(t, " ", |b| format!("0x{b:02x}"))),
    ("0x58, 0x6b", |t| joined(t, ", ", |b| format!("0x{b:02x}"))),
    ("\"58\", \"6b\"", |t| {
        joined(t, "\", \"", |b| format!("{b:02x}"))
    }),
    ("88 107", |t| joined(t, " ", |b| b.to_string())),
    ("[88, 107]", |t| joined(t, ", ", |b| b.to_string())),
    ("base64", |t| STANDARD.encode(t)),
    ("base64 of URLs", |t| URL_SAFE.encode(t)),
    ("base64 of base64", |t| STANDARD.encode(STANDARD.encode(t))),
    ("base64 of percent", |t| STANDARD.encode(percent(t, false))),
    ("base32", base32),
    ("base32 in groups", |t| {
        let digits = base32(t).to_lowercase();
        let groups: Vec<_> = digits.as_bytes().chunks(4).collect();
        String::from_utf8(groups.join(&b'-')).unwrap()
    }),
    ("lines", |t| {
        joined(t, "\r\n ", |b| char::from(b).to_string())
    }),
    ("full width", |t| {
        let wide = |c| char::from_u32(u32::from(c) + 0xFEE0).filter(|_| c != ' ');
        t.chars().map(|c| wide(c).unwrap_or(c)).collect()
    }),
];

/// What is shown of a text in an encoding, less signs. What stands around it is in no secret of ASCII.
fn shown(redactor: &Redactor, encoded: &str) -> String {
    let cleaned = redactor.hide(&format!("got \u{df}{encoded}\u{df} end"));
    let shown = cleaned
        .strip_prefix("got \u{df}")
        .and_then(|rest| rest.strip_suffix("\u{df} end"))
        .unwrap_or_else(|| panic!("{encoded}: {cleaned}"));
    let shown = shown.replace(REDACTED, "");
    shown.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[test]
fn a_piece_that_holds_a_plus_or_a_space_is_found_too() {
    let redactor = Redactor::new(["Xk9_secret+va/lue:Lq 7%\"<&>z"]);
    for piece in ["ecret+va", "cret+va/lue", "lue:Lq 7", "e:Lq 7%\""] {
        for (name, encode) in ENCODINGS {
            let shown = shown(&redactor, &encode(piece));
            assert!(shown.len() <= 3, "{piece} as {name}: {shown}");
        }
    }
    assert_eq!(redactor.clean("cret+va"), "cret+va");
}

#[test]
fn an_ordinary_page_is_shown() {
    let redactor = Redactor::new(["Xk9_secret+va/lue:Lq7%\"<&>z", &"t0ken+/".repeat(40)]);
    let line = r#"<a href="https://login.example.com/auth?client_id=abc&amp;redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb%3Fx%3Dde&amp;nonce=deadbeef0123456789">Back &lt;here&gt;</a> {"error":"invalid\u0020client","path":"C:\\dir\\130","at":"2026-11-29T14:42:05Z","ip":"10.1.2.3:443"} 01:AF:3c:00:17:9b (U+00E9) "#;
    let page = line.repeat(MAX_READ / line.len());
    assert_eq!(redactor.hide(&page), page);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 3000 }))]
    #[test]
    fn no_encoding_shows_a_piece_of_a_secret(
        secret in "[ -~]{8,40}", ends in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let start = ends.0.index(secret.len() - PIECE_BYTES + 1);
        let longest = secret.len() - start - PIECE_BYTES;
        let end = start + PIECE_BYTES + ends.1.index(longest + 1);
        // Where a piece is nearly nothing but these, it is found by chance.
        let blank = |byte: &u8| [b' ', b'+'].contains(byte);
        let piece = secret[start..end].trim_matches([' ', '+']);
        prop_assume!(piece.len() >= PIECE_BYTES);
        let mut windows = piece.as_bytes().windows(PIECE_BYTES);
        prop_assume!(windows.all(|window| window.iter().filter(|byte| blank(byte)).count() <= 4));
        let redactor = Redactor::new([secret.as_str()]);
        for (name, encode) in ENCODINGS {
            let shown = shown(&redactor, &encode(piece));
            prop_assert!(shown.len() <= 3, "{} as {}: {}", piece, name, shown);
        }
    }

    #[test]
    fn whatever_a_server_says_is_cleaned(
        parts in prop::collection::vec(
            prop_oneof![
                "[ -~]{0,6}", Just("&#".to_owned()), Just("\\u".to_owned()), Just("%u00".to_owned()), Just("=4".to_owned()),
                Just("U+00".to_owned()), Just("0x".to_owned()), Just("\\x{".to_owned()), Just("%25".to_owned()),
                Just("&amp".to_owned()), Just("\u{e9}".to_owned()), Just("=\r\n".to_owned()), Just("255,".to_owned()),
            ],
            0..60,
        ),
    ) {
        let redactor = Redactor::new(["Xk9_secret+va/lue"]);
        let text = parts.concat();
        let hidden = redactor.hide(&text);
        prop_assert!(hidden == REDACTED || !hidden.contains(PLACEHOLDER));
    }
}
