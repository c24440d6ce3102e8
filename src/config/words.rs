//! Words of a file, and those that are known, in messages.

use std::fmt;

/// A word of a file in a message: quoted, free of control characters, not endless.
pub(super) struct QuotedWord<'a>(pub(super) &'a str);

impl fmt::Display for QuotedWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 80;
        let start: String = self.0.chars().take(MOST).collect();
        let cut = start.len() < self.0.len();
        let more = if cut { "..." } else { "" };
        write!(f, "`{}{more}`", start.escape_debug())
    }
}

/// "did you mean ...?", when a known name is close.
pub fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let close = name.chars().count().div_ceil(3).min(3);
    let lower = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|known| {
            let known_lower = known.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&lower, &known_lower), known)
        })
        .filter(|(distance, _)| *distance <= close)
        .min()
        .map(|(_, known)| format!("did you mean {}?", QuotedWord(known)))
}

/// Whether one word may be a slip for another: other digits, or another beginning, mean something else.
pub fn resembles(text: &str, word: &str) -> bool {
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
