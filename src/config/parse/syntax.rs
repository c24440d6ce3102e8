//! How texts are written.

use super::super::report::Expected;

/// A way to write something, and what a text that is written so means.
pub(in crate::config) struct Syntax<T> {
    /// A regular expression (ECMA-262, of what every engine has) that the whole of every good text matches: editors go
    /// by it. What matches it may still be refused. `None`: nothing can be said.
    pub(in crate::config) pattern: Option<&'static str>,
    /// What is refused though the pattern matches it.
    pub(in crate::config) except: Option<Except>,
    /// What the text means, or what was expected in its place.
    pub(in crate::config) parse: fn(&str) -> Result<T, Expected>,
    /// Whether it is a URL, an origin or a host, which may hold a secret where it is wrong.
    pub(in crate::config) is_address: bool,
}

/// Texts that are refused.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Except {
    /// What they are, as editors tell it.
    pub(in crate::config) name: &'static str,
    /// Makes a pattern that the whole of each of them matches, and of no good text.
    pub(in crate::config) pattern: fn() -> String,
}

impl<T> Syntax<T> {
    pub(super) const fn new(pattern: &'static str, parse: fn(&str) -> Result<T, Expected>) -> Self {
        Self {
            pattern: Some(pattern),
            except: None,
            parse,
            is_address: false,
        }
    }

    /// The same of a URL, an origin or a host: quoted lines show neither a name and password nor a query.
    pub(super) const fn address(self) -> Self {
        Self {
            is_address: true,
            ..self
        }
    }

    /// The same, which refuses what matches another pattern.
    pub(super) const fn except(self, name: &'static str, pattern: fn() -> String) -> Self {
        Self {
            except: Some(Except { name, pattern }),
            ..self
        }
    }
}

/// Any text, unchanged.
pub(in crate::config) const ANY_TEXT: Syntax<String> = Syntax {
    pattern: None,
    except: None,
    parse: |text| Ok(text.to_owned()),
    is_address: false,
};
