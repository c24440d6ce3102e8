//! What a key may hold: strings, and what they say. A wrong value is reported, and is then read as if it were
//! absent.

use std::fmt;

use url::Url;

use super::super::declare::{Absent, TextForm, ValueForm};
use super::super::parse::address::{HTTP_URL, http_url};
use super::super::parse::syntax::Syntax;
use super::super::read::{Kind, Section};
use super::super::value::Value;

/// What holds without the key.
pub(in crate::config) enum IfAbsent<T> {
    /// It has to be there. What is expected, for the message.
    Required(&'static str),
    /// The value that this makes.
    Value(fn() -> T),
    /// Nothing, or what cannot be written as a value; in words.
    Words(&'static str),
}

/// What holds without a key that has no default value.
pub(in crate::config) type NoValue = IfAbsent<std::convert::Infallible>;

impl<T: fmt::Display> IfAbsent<T> {
    fn absent(&self) -> Absent {
        match self {
            Self::Required(_) => Absent::Required,
            Self::Value(value) => Absent::Value(format!("\"{}\"", value())),
            Self::Words(words) => Absent::Words(words),
        }
    }

    /// Reports that the key is missing, if it has to be there.
    fn check(&self, section: &Section<'_>, key: &'static str) {
        if let Self::Required(expected) = self
            && section.is_absent(key)
        {
            section.report_missing(key, expected);
        }
    }
}

/// A string; an empty one is as good as absent.
pub(in crate::config) struct Text {
    /// What the string says, for the documentation.
    says: &'static str,
    without: NoValue,
    /// What the whole of every good one matches.
    pattern: Option<&'static str>,
    /// Whether it may hold a URL or a host, which may hold a secret.
    is_address: bool,
}

impl Text {
    pub(in crate::config) const fn new(says: &'static str, without: NoValue) -> Self {
        Self {
            says,
            without,
            pattern: None,
            is_address: false,
        }
    }

    /// One that may hold a URL or a host: quoted lines show neither a name and password nor a query of it.
    pub(in crate::config) const fn address(self) -> Self {
        Self {
            is_address: true,
            ..self
        }
    }

    /// One that the section reads by a syntax with this pattern.
    pub(in crate::config) const fn matching(self, pattern: Option<&'static str>) -> Self {
        Self { pattern, ..self }
    }
}

impl Kind for Text {
    type Output<'a> = Option<(Value<'a>, &'a str)>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        self.without.check(section, key);
        if self.is_address {
            section.address(key)
        } else {
            section.text(key)
        }
    }

    fn form(&self) -> ValueForm {
        ValueForm::Text(TextForm {
            says: self.says,
            pattern: self.pattern,
            except: None,
            empty_is_absent: true,
            or_number: None,
        })
    }

    fn absent(&self) -> Absent {
        self.without.absent()
    }
}

/// A string that means something.
pub(in crate::config) struct Parsed<T> {
    /// What the string says, for the documentation.
    says: &'static str,
    syntax: Syntax<T>,
    /// What is expected in place of another type.
    expected: &'static str,
    /// Whether an empty string is as good as absent.
    empty_is_absent: bool,
    without: IfAbsent<T>,
}

impl<T> Parsed<T> {
    /// An empty string is as good as absent.
    pub(in crate::config) const fn new(
        says: &'static str,
        syntax: Syntax<T>,
        without: IfAbsent<T>,
    ) -> Self {
        Self {
            says,
            syntax,
            expected: "a string",
            empty_is_absent: true,
            without,
        }
    }

    /// An empty string is a value like any other.
    pub(in crate::config) const fn strict(
        says: &'static str,
        expected: &'static str,
        syntax: Syntax<T>,
        without: IfAbsent<T>,
    ) -> Self {
        Self {
            says,
            syntax,
            expected,
            empty_is_absent: false,
            without,
        }
    }
}

impl<T: fmt::Display> Kind for Parsed<T> {
    /// `None` after a mistake, and where nothing holds without the key.
    type Output<'a> = Option<T>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<T> {
        self.without.check(section, key);
        let counts = |value: &Value<'_>| !(self.empty_is_absent && value.is_empty());
        let value = section.shown_address(key, self.syntax.is_address);
        let Some(value) = value.filter(counts) else {
            return match &self.without {
                IfAbsent::Value(value) => Some(value()),
                IfAbsent::Required(_) | IfAbsent::Words(_) => None,
            };
        };
        let text = value.text(self.expected)?;
        value.check((self.syntax.parse)(text))
    }

    fn form(&self) -> ValueForm {
        ValueForm::Text(TextForm {
            says: self.says,
            pattern: self.syntax.pattern,
            except: self.syntax.except,
            empty_is_absent: self.empty_is_absent,
            or_number: None,
        })
    }

    fn absent(&self) -> Absent {
        self.without.absent()
    }
}

/// A value that the section reads in its own way. Quoted lines do not show it, unless it is declared
/// as visible.
pub(in crate::config) struct Raw {
    /// What the string says, for the documentation.
    says: &'static str,
    without: NoValue,
    /// What the whole of every good one matches.
    pattern: Option<&'static str>,
    /// A whole number from 0 to this may take its place.
    or_number: Option<u32>,
}

impl Raw {
    /// A string; an empty one is as good as absent.
    pub(in crate::config) const fn new(says: &'static str, without: NoValue) -> Self {
        Self {
            says,
            without,
            pattern: None,
            or_number: None,
        }
    }

    /// One that the section reads by a syntax with this pattern.
    pub(in crate::config) const fn matching(self, pattern: Option<&'static str>) -> Self {
        Self { pattern, ..self }
    }

    /// A string that is not empty, or a whole number from 0 to this.
    pub(in crate::config) const fn or_number(self, most: u32) -> Self {
        Self {
            or_number: Some(most),
            ..self
        }
    }
}

impl Kind for Raw {
    type Output<'a> = Option<Value<'a>>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        section.value(key)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Text(TextForm {
            says: self.says,
            pattern: self.pattern,
            except: None,
            empty_is_absent: self.or_number.is_none(),
            or_number: self.or_number,
        })
    }

    fn absent(&self) -> Absent {
        self.without.absent()
    }
}

/// An `http` or `https` URL without a query; an empty string is as good as absent.
pub(in crate::config) struct HttpUrl {
    without: NoValue,
}

impl HttpUrl {
    pub(in crate::config) const fn new(without: NoValue) -> Self {
        Self { without }
    }
}

impl Kind for HttpUrl {
    type Output<'a> = Option<(Value<'a>, Url)>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        self.without.check(section, key);
        let (value, text) = section.address(key)?;
        let url = value.check(http_url(text, false))?;
        Some((value, url))
    }

    fn form(&self) -> ValueForm {
        ValueForm::Text(TextForm {
            says: "URL",
            pattern: HTTP_URL,
            except: None,
            empty_is_absent: true,
            or_number: None,
        })
    }

    fn absent(&self) -> Absent {
        self.without.absent()
    }
}
