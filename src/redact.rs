//! Cleaning of text that a server supplied, before it may reach a log, an error or a screen.
//!
//! Servers echo what they were sent, escaped for wherever they wrote it, and a hostile one may say
//! anything. So text is decoded until nothing is left to decode, and each piece of a secret that
//! shows on the way is hidden where it stands.

mod decode;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use decode::View;
pub use decode::is_seen;

/// Longest text taken over from a server, in characters.
const LIMIT: usize = 200;
/// Of longer text nothing more is looked at, and nothing more is shown, in bytes.
const MOST: usize = 4096;
/// A piece of a secret of so many bytes is hidden wherever it stands; a shorter secret, whole.
const PIECE: usize = 8;
/// Shorter secrets are found by chance in what is decoded from base64 and hexadecimal.
const SHORTEST_DECODED: usize = 4;
/// What is shorter is no signature, and may be in every text.
const SHORTEST_SIGNATURE: usize = 16;
/// Of how many token answers the tokens are known: those in use, under an old certificate and a new
/// one, and those before them.
const TOKENS: usize = 4;
const REDACTED: &str = "[redacted]";
/// Stands for [`REDACTED`] until all secrets are found, or they would be found in it.
const MARK: char = '\0';
/// What RFC 3986 leaves as it is.
const ENCODED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Knows what must not be shown: the secrets of one credential, what was sent with them last, and
/// its tokens. Shared by all that show text of the servers which have seen these.
#[derive(Default)]
pub struct Redactor(Mutex<Known>);

#[derive(Default)]
struct Known {
    secrets: Vec<Zeroizing<String>>,
    sent: Vec<Zeroizing<String>>,
    tokens: VecDeque<Zeroizing<String>>,
}

impl Redactor {
    /// Knows `secrets`; empty ones are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let redactor = Self::default();
        redactor.begin(secrets);
        redactor
    }

    /// From now on the secrets are these, and nothing has been sent with them.
    pub fn begin<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let mut known = self.known();
        known.secrets = secrets.into_iter().map(kept).collect();
        known.sent.clear();
    }

    /// Knows one more that is sent with the secrets.
    pub fn add(&self, secret: &str) {
        self.known().sent.push(kept(secret));
    }

    /// Knows a JWT, and its signature: what stands before that proves nothing alone.
    pub fn add_jwt(&self, jwt: &str) {
        self.add(jwt);
        let signature = jwt.rsplit_once('.').map(|(_, signature)| signature);
        if let Some(signature) = signature.filter(|s| s.len() >= SHORTEST_SIGNATURE) {
            self.add(signature);
        }
    }

    /// Knows a token that an answer held, for as long as it can be the one in use.
    pub fn add_token(&self, token: &str) {
        let mut known = self.known();
        if known.tokens.iter().any(|known| **known == token) {
            return;
        }
        known.tokens.push_front(kept(token));
        known.tokens.truncate(TOKENS);
    }

    /// `text` as visible ASCII and spaces, at most 200 characters, without the secrets and without
    /// pieces of them, in whatever usual encoding they stand there.
    pub fn clean(&self, text: &str) -> String {
        self.clean_to(LIMIT, text)
    }

    /// As [`clean`](Self::clean), of at most `most` characters.
    pub fn clean_to(&self, most: usize, text: &str) -> String {
        let (text, cut) = bounded(text);
        let mut clean = visible(&self.masked(text));
        if cut || clean.len() > most {
            clean.truncate(most - 3);
            clean.push_str("...");
        }
        clean
    }

    /// `text` without secrets and pieces of them, else as it came, however it may show; of a long
    /// one the beginning.
    pub fn hide(&self, text: &str) -> String {
        let (text, cut) = bounded(text);
        let end = if cut { "..." } else { "" };
        self.masked(text) + end
    }

    fn masked(&self, text: &str) -> String {
        let masked = self.mask(text).map(|masked| masked.replace(MARK, REDACTED));
        masked.unwrap_or_else(|| REDACTED.to_owned())
    }

    /// `text` with a [`MARK`] for each stretch of secrets; none if it would take too long to say.
    fn mask(&self, text: &str) -> Option<String> {
        let known = self.known();
        let mut hidden = vec![false; text.len()];
        let all = || known.secrets.iter().chain(&known.sent).chain(&known.tokens);
        for secret in all().filter(|secret| !secret.is_empty()) {
            let percent = Zeroizing::new(utf8_percent_encode(secret, &ENCODED).to_string());
            let form = Zeroizing::new(byte_serialize(secret.as_bytes()).collect::<String>());
            for verbatim in [secret, &percent, &form] {
                for at in find_all(text.as_bytes(), verbatim.as_bytes()) {
                    hidden[at..at + verbatim.len()].fill(true);
                }
            }
        }
        let needles = Needles::of(all().map(|secret| secret.as_str()));
        if needles.any() {
            decode::each(text, |view, decoded| {
                needles.hide(view, decoded, &mut hidden)
            })?;
        }
        Some(marked(text, &hidden))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is locked is replaced part by part, so a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

/// What is looked for in a [`View`], without regard to case, to `+` and to what a view leaves out.
struct Needles {
    /// The hash of every piece of [`PIECE`] bytes: the pieces themselves would not be wiped.
    pieces: HashSet<u64>,
    hasher: RandomState,
    /// Those that are shorter.
    whole: Vec<Zeroizing<Vec<u8>>>,
}

impl Needles {
    fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut needles = Self {
            pieces: HashSet::new(),
            hasher: RandomState::new(),
            whole: Vec::new(),
        };
        for secret in secrets {
            let view = View::of(secret);
            needles.add(&view);
            // As it comes out of text that is decoded further than it was encoded.
            if let Some(decoded) = view.unescaped_wholly() {
                needles.add(&decoded);
            }
        }
        needles
    }

    fn add(&mut self, secret: &View) {
        let (folded, _) = folded(secret);
        if (1..PIECE).contains(&folded.len()) {
            self.whole.push(folded);
        } else {
            let pieces = folded.windows(PIECE);
            let pieces = pieces.map(|piece| self.hasher.hash_one(piece));
            self.pieces.extend(pieces);
        }
    }

    fn any(&self) -> bool {
        !self.pieces.is_empty() || !self.whole.is_empty()
    }

    /// Marks where in the text that `view` was made of they stand.
    fn hide(&self, view: &View, decoded: bool, hidden: &mut [bool]) {
        let (text, places) = folded(view);
        let mut mark = |at: usize, length: usize| {
            let (first, last) = (view.spans[places[at]], view.spans[places[at + length - 1]]);
            let range = first.0.min(last.0) as usize..first.1.max(last.1) as usize;
            hidden[range].fill(true);
        };
        for (at, piece) in text.windows(PIECE).enumerate() {
            if self.pieces.contains(&self.hasher.hash_one(piece)) {
                mark(at, PIECE);
            }
        }
        for whole in &self.whole {
            if !decoded || whole.len() >= SHORTEST_DECODED {
                find_all(&text, whole).for_each(|at| mark(at, whole.len()));
            }
        }
    }
}

/// Lower case, without `+`: it may stand for a space. With the place of each byte.
fn folded(view: &View) -> (Zeroizing<Vec<u8>>, Vec<usize>) {
    let mut bytes = Zeroizing::new(Vec::with_capacity(view.bytes.len()));
    let mut places = Vec::with_capacity(view.bytes.len());
    for (place, byte) in view.bytes.iter().enumerate() {
        if *byte != b'+' {
            bytes.push(byte.to_ascii_lowercase());
            places.push(place);
        }
    }
    (bytes, places)
}

fn kept(secret: &str) -> Zeroizing<String> {
    Zeroizing::new(secret.to_owned())
}

/// The beginning of `text`, and whether that is not all of it. What a cut may have left of a short
/// secret is cut off too.
fn bounded(text: &str) -> (&str, bool) {
    if text.len() <= MOST {
        return (text, false);
    }
    let mut end = MOST - PIECE;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], true)
}

fn marked(text: &str, hidden: &[bool]) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut inside = false;
    for (at, character) in text.char_indices() {
        // A match in the middle of a character hides all of it.
        let hide = hidden[at..at + character.len_utf8()].contains(&true);
        match (hide, inside) {
            (true, false) => marked.push(MARK),
            (true, true) => {}
            (false, _) => marked.push(character),
        }
        inside = hide;
    }
    marked
}

/// Everything but visible ASCII and spaces replaced, so that no log is forged or broken.
pub fn visible(text: &str) -> String {
    let shown = |c: char| matches!(c, ' '..='~');
    text.chars()
        .map(|c| if shown(c) { c } else { '?' })
        .collect()
}

/// Where `needle` begins, whatever the case: hexadecimal escapes may be in either.
fn find_all(text: &[u8], needle: &[u8]) -> impl Iterator<Item = usize> {
    text.windows(needle.len())
        .enumerate()
        .filter(move |(_, window)| window.eq_ignore_ascii_case(needle))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3: @%+/&=~\u{e9}t";

    fn percent_encode(text: &str, out: &mut String) {
        out.extend(utf8_percent_encode(text, &ENCODED));
    }

    fn percent(text: &str, lower: bool) -> String {
        let mut out = String::new();
        for byte in text.bytes() {
            match lower {
                true => write!(out, "%{byte:02x}").unwrap(),
                false => write!(out, "%{byte:02X}").unwrap(),
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
        for number in 0..=TOKENS {
            redactor.add_token(&token(number));
        }
        redactor.begin(["second-secret-of-all"]);
        for gone in ["first-secret", "assertion-that-was-sent", &token(0)] {
            assert_eq!(redactor.clean(gone), gone);
        }
        assert_eq!(redactor.clean("second-secret-of-all"), REDACTED);
        assert_eq!(redactor.clean(&token(TOKENS)), REDACTED);
    }

    #[test]
    fn text_of_any_length_is_cleaned_within_bounds() {
        let redactor = Redactor::new(["correct-horse-battery-staple"]);
        for length in 0..40 {
            let text = format!("{}correct-horse-battery-staple", "<".repeat(MOST - length));
            let cleaned = redactor.clean_to(2 * MOST, &text);
            assert!(!cleaned.contains("correct-"), "{cleaned}");
            assert!(cleaned.len() <= MOST + 3);
        }
        // Nothing is known of it but that it decodes to more and more.
        let mut nested = "correct-horse".to_owned();
        while nested.len() < MOST / 2 {
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
}
