//! How texts are written.

use super::super::report::Expected;

/// A way to write something, and what a text that is written so means.
pub(in crate::config) struct Syntax<T> {
    /// A regular expression (ECMA-262, of what every engine has) that the whole of every good text matches: editors go
    /// by it. What matches it may still be refused. `None`: nothing can be said.
    pub(in crate::config) pattern: Option<&'static str>,
    /// What the text means, or what was expected in its place.
    pub(in crate::config) parse: fn(&str) -> Result<T, Expected>,
}

impl<T> Syntax<T> {
    pub(super) const fn new(pattern: &'static str, parse: fn(&str) -> Result<T, Expected>) -> Self {
        Self {
            pattern: Some(pattern),
            parse,
        }
    }
}

/// Any text, unchanged.
pub(in crate::config) const ANY_TEXT: Syntax<String> = Syntax {
    pattern: None,
    parse: |text| Ok(text.to_owned()),
};
