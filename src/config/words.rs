//! Words of a file, and those that are known, in messages.

use std::fmt;

/// A word of a file in a message, quoted.
pub(super) struct QuotedWord<'a>(pub(super) &'a str);

impl fmt::Display for QuotedWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", ShownWord(self.0))
    }
}

/// The same without quotes: free of control characters, not endless. Of a URL it shows neither a name and password nor a
/// query.
pub(super) struct ShownWord<'a>(pub(super) &'a str);

impl fmt::Display for ShownWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 80;
        let is_url = self.0.contains("//");
        let harmless = &self.0[..secret_part(self.0, is_url).unwrap_or(self.0.len())];
        let start: String = harmless.chars().take(MOST).collect();
        let cut = start.len() < self.0.len();
        let more = if cut { "..." } else { "" };
        write!(f, "{}{more}", start.escape_debug())
    }
}

/// From where on a URL, an origin or a host may hold a secret: all of one with a name and password, and the query.
pub(super) fn secret_part(text: &str, is_address: bool) -> Option<usize> {
    match text.find('?') {
        _ if !is_address => None,
        _ if text.contains('@') => Some(0),
        query => query.map(|at| at + 1),
    }
}

/// "did you mean ...?", when a known name is close that may have been meant.
pub fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let like = known.into_iter().filter(|known| resembles(name, known));
    let close = like.filter_map(|known| Some((distance(name, known)?, known)));
    let (_, nearest) = close.min()?;
    Some(format!("did you mean {}?", QuotedWord(nearest)))
}

/// Whether a name is written nearly as a known one, whatever it means: what must not be shown or taken is told by this.
pub(super) fn is_close<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> bool {
    known
        .into_iter()
        .any(|known| distance(name, known).is_some())
}

/// How many slips make a name of a known one, if they are few.
fn distance(name: &str, known: &str) -> Option<usize> {
    let most = name.chars().count().div_ceil(3).min(3);
    let alike = |name: &str| name.to_lowercase().replace('-', "_");
    let slips = strsim::damerau_levenshtein(&alike(name), &alike(known));
    (slips <= most).then_some(slips)
}

/// Whether one word may be a slip for another: other digits, or another beginning, mean something else.
fn resembles(text: &str, word: &str) -> bool {
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    first(text) == first(word) && digits(text) == digits(word)
}

/// `a`, `b` or `c`
pub(super) fn one_of(words: &[&str], quote: char) -> String {
    let mut words: Vec<_> = words
        .iter()
        .map(|word| format!("{quote}{word}{quote}"))
        .collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_been_meant_is_offered() {
        let known = ["crm", "billing", "erp-2", "client_secret"];
        for (name, meant) in [
            ("crn", Some("crm")),
            ("Billling", Some("billing")),
            ("erp_2", Some("erp-2")),
            ("client-secert", Some("client_secret")),
            ("erp-3", None),
            ("frm", None),
            ("x", None),
            ("lient_secret", None),
        ] {
            let meant = meant.map(|meant| format!("did you mean `{meant}`?"));
            assert_eq!(did_you_mean(name, known), meant, "{name}");
        }
        assert!(is_close("lient_secret", known));
        assert!(!is_close("secret", known));
    }
}
