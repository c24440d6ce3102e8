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
