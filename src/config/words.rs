//! Words of a file, and those that are known, in messages.

use std::fmt;

/// A word of a file in a message, quoted.
pub(super) struct QuotedWord<'a>(pub(super) &'a str);

impl fmt::Display for QuotedWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", ShownWord(self.0))
    }
}

/// The same without quotes: free of control characters, not endless. Of a URL, and of what is written like a part of one, it
/// shows neither a name and password nor a query.
pub(super) struct ShownWord<'a>(pub(super) &'a str);

impl fmt::Display for ShownWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 80;
        let harmless = &self.0[..secret_part(self.0, false).unwrap_or(self.0.len())];
        let start: String = harmless.chars().take(MOST).collect();
        let cut = start.len() < self.0.len();
        let more = if cut { "..." } else { "" };
        write!(f, "{}{more}", start.escape_debug())
    }
}

/// From where on a text may hold a secret: all of a URL, an origin or a host with a name or password, and the query. Where
/// nothing says that it is one (`is_address`), a `//` does, and so do `name:password@` and `?name=value`.
pub(super) fn secret_part(text: &str, is_address: bool) -> Option<usize> {
    // A unix socket is a path, and is so in every key.
    let path = text.strip_prefix("unix:");
    let begins = text.len() - path.unwrap_or(text).len();
    let (text, is_address) = match path {
        Some(path) => (path, path.contains("//")),
        None => (text, is_address || text.contains("//")),
    };
    let user = text.rfind('@').map(|at| &text[..at]);
    if user.is_some_and(|user| is_address || user.contains(':')) {
        return Some(0);
    }
    let (before, query) = text.split_once('?')?;
    (is_address || query.contains('=')).then_some(begins + before.len() + 1)
}

/// Whether an escape of TOML may stand for any sign in a text as it is written.
pub(super) fn has_escaped_signs(written: &str) -> bool {
    ["\\u", "\\U", "\\x"]
        .iter()
        .any(|escape| written.contains(escape))
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
    fn what_may_be_secret_begins_where_a_user_or_a_query_does() {
        for (text, of_any, of_address) in [
            ("https://billing:hunter2@a/", Some(0), Some(0)),
            ("https://a/?hunter2", Some(11), Some(11)),
            ("billing:hun?ter2@a", Some(0), Some(0)),
            ("a:1?key=hunter2", Some(4), Some(4)),
            ("hunter2@a", None, Some(0)),
            ("a?hunter2", None, Some(2)),
            ("a@b:1", None, Some(0)),
            ("a:b", None, None),
            ("unix:/run/app@1.sock", None, None),
            ("unix:app@1?2.sock", None, None),
            ("unix:billing:hunter2@a", Some(0), Some(0)),
            ("unix://hunter2@a", Some(0), Some(0)),
            ("unix:a?key=hunter2", Some(7), Some(7)),
        ] {
            assert_eq!(secret_part(text, false), of_any, "{text}");
            assert_eq!(secret_part(text, true), of_address, "{text}");
        }
    }

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
