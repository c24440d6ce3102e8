//! Cleaning of text that a server supplied, before it may reach a log, an error or a screen.
//!
//! Servers echo what they were sent, escaped for wherever they wrote it, and a hostile one may say
//! anything. So text is decoded until nothing is left to decode, and each piece of a secret that
//! shows on the way is hidden where it stands.

mod decode;
mod escapes;
mod needles;
mod token_echo;

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

pub use decode::is_seen;
use needles::{Needles, PIECE_BYTES, find_all};
pub use token_echo::{EchoPlace, SHORTEST_MASKED, mask_headers, mask_text};

/// Longest text taken over from a server, in characters.
const MAX_SHOWN: usize = 200;
/// Of longer text nothing more is looked at, and nothing more is shown, in bytes.
const MAX_READ: usize = 4096;
/// What is shorter is not a signature, and may be in every text.
const SHORTEST_SIGNATURE: usize = 16;
/// Of how many token answers the tokens are known: those in use, under an old certificate and a new
/// one, and those before them.
const MAX_TOKENS: usize = 4;
const REDACTED: &str = "[redacted]";
/// Stands for [`REDACTED`] until all secrets are found, or they would be found in it.
const PLACEHOLDER: char = '\0';
/// What is escaped: everything but the characters that RFC 3986 calls unreserved.
const PERCENT_ENCODED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Knows what must not be shown: the secrets of one credential, what was sent with them last, and
/// its tokens. Shared by all that show text of the servers which have seen these.
#[derive(Default)]
pub struct Redactor {
    own: Mutex<HiddenValues>,
    /// What these know is hidden too.
    parts: Vec<Arc<Redactor>>,
}

#[derive(Default)]
struct HiddenValues {
    secrets: Vec<Zeroizing<String>>,
    /// Those that were replaced last.
    old_secrets: Vec<Zeroizing<String>>,
    sent: Vec<Zeroizing<String>>,
    /// What the request before had.
    old_sent: Vec<Zeroizing<String>>,
    tokens: VecDeque<Zeroizing<String>>,
}

impl Redactor {
    /// Knows `secrets`; empty ones are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let redactor = Self::default();
        redactor.begin(secrets);
        redactor
    }

    /// Knows what each of `parts` knows, whenever it comes to know it.
    pub fn of_all(parts: Vec<Arc<Self>>) -> Arc<Self> {
        match <[_; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => Arc::new(Self {
                own: Mutex::default(),
                parts,
            }),
        }
    }

    /// From now on the secrets are these, and nothing has been sent with them. Those that they replace
    /// and what the request before had are hidden too: servers may still speak of them.
    pub fn begin<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let secrets: Vec<_> = secrets.into_iter().map(zeroizing).collect();
        let mut known = self.known();
        if secrets != known.secrets {
            known.old_secrets = mem::replace(&mut known.secrets, secrets);
        }
        known.old_sent = mem::take(&mut known.sent);
    }

    /// Knows one more that is sent with the secrets.
    pub fn add(&self, secret: &str) {
        self.known().sent.push(zeroizing(secret));
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
        known.tokens.push_front(zeroizing(token));
        known.tokens.truncate(MAX_TOKENS);
    }

    /// `text` as visible ASCII and spaces, at most 200 characters, without the secrets and without
    /// pieces of them, in whatever usual encoding they stand there.
    pub fn clean(&self, text: &str) -> String {
        self.clean_to(MAX_SHOWN, text)
    }

    /// As [`clean`](Self::clean), of at most `max` characters.
    pub fn clean_to(&self, max: usize, text: &str) -> String {
        let (text, cut) = bounded(text);
        let mut clean = visible(&self.masked(text));
        if cut || clean.len() > max {
            clean.truncate(max - 3);
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
        let masked = self
            .mask(text)
            .map(|masked| masked.replace(PLACEHOLDER, REDACTED));
        masked.unwrap_or_else(|| REDACTED.to_owned())
    }

    /// `text` with a [`PLACEHOLDER`] for each stretch of secrets; none if it would take too long to say.
    fn mask(&self, text: &str) -> Option<String> {
        let mut hidden = vec![false; text.len()];
        let all = self.all();
        for secret in all.iter().filter(|secret| !secret.is_empty()) {
            let percent = Zeroizing::new(utf8_percent_encode(secret, &PERCENT_ENCODED).to_string());
            let form = Zeroizing::new(byte_serialize(secret.as_bytes()).collect::<String>());
            for verbatim in [&**secret, &percent, &form] {
                for at in find_all(text.as_bytes(), verbatim.as_bytes()) {
                    hidden[at..at + verbatim.len()].fill(true);
                }
            }
        }
        let needles = Needles::of(all.iter().map(|secret| secret.as_str()));
        if needles.any() {
            decode::each(text, &mut |view, decoded| {
                needles.hide(view, decoded, &mut hidden);
            })?;
        }
        Some(marked(text, &hidden))
    }

    fn all(&self) -> Vec<Zeroizing<String>> {
        let mut all: Vec<_> = {
            let known = self.known();
            let secrets = known.secrets.iter().chain(&known.old_secrets);
            let sent = known.sent.iter().chain(&known.old_sent);
            secrets.chain(sent).chain(&known.tokens).cloned().collect()
        };
        // One lock at a time, so that it does not matter who else has these parts, and in which order.
        all.extend(self.parts.iter().flat_map(|part| part.all()));
        all
    }

    fn known(&self) -> MutexGuard<'_, HiddenValues> {
        // What is locked is replaced part by part, so a panic elsewhere leaves it sound.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

fn zeroizing(secret: &str) -> Zeroizing<String> {
    Zeroizing::new(secret.to_owned())
}

/// The beginning of `text`, and whether that is not all of it. What a cut may have left of a short
/// secret is cut off too.
fn bounded(text: &str) -> (&str, bool) {
    if text.len() <= MAX_READ {
        return (text, false);
    }
    let mut end = MAX_READ - PIECE_BYTES;
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
            (true, false) => marked.push(PLACEHOLDER),
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

#[cfg(test)]
mod tests;
