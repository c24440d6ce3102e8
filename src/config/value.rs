//! The value of one key, as it is written.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Expected, Report, SourceSpan};
use super::words::QuotedWord;

/// How a table is called in messages. A copy, which every value of the table has, shares the text.
#[derive(Clone)]
pub(super) enum Title {
    Declared(&'static str),
    Made(Rc<str>),
}

impl From<&'static str> for Title {
    fn from(title: &'static str) -> Self {
        Self::Declared(title)
    }
}

impl From<String> for Title {
    fn from(title: String) -> Self {
        Self::Made(title.into())
    }
}

impl Deref for Title {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Declared(title) => title,
            Self::Made(title) => title,
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The value of one key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) place: SourceSpan,
    key: &'a str,
    /// The section that the key stands in.
    title: Title,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn new(
        report: &'a Report<'a>,
        place: SourceSpan,
        key: &'a str,
        title: Title,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self {
            report,
            place,
            key,
            title,
            value,
        }
    }

    /// Its text, if it is a string.
    pub(super) fn text(&self, expected: impl fmt::Display) -> Option<&'a str> {
        match self.string() {
            Some(text) => Some(text),
            None => self.mistyped(expected),
        }
    }

    /// The same without a report.
    pub(super) fn string(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// Its elements, if it is an array.
    pub(super) fn elements(&self, expected: impl fmt::Display) -> Option<Vec<Value<'a>>> {
        let Some(elements) = self.value.get_ref().as_array() else {
            return self.mistyped(expected);
        };
        let element = |value: &'a Spanned<DeValue<'a>>| Value {
            place: SourceSpan {
                file: self.place.file,
                span: Some(value.span()),
            },
            value,
            ..self.clone()
        };
        Some(elements.iter().map(element).collect())
    }

    /// What it holds, if it is a table.
    pub(super) fn entries(&self, expected: impl fmt::Display) -> Option<&'a DeTable<'a>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.mistyped(expected),
        }
    }

    /// Its number, if it is an integer; `None` within for one that no `usize` holds.
    pub(super) fn integer(&self, expected: impl fmt::Display) -> Option<Option<usize>> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => {
                Some(usize::from_str_radix(integer.as_str(), integer.radix()).ok())
            }
            _ => self.mistyped(expected),
        }
    }

    /// The text of a decimal number, with or without a fraction.
    pub(super) fn number(&self, expected: impl fmt::Display) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => Some(integer.to_string()),
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            _ => self.mistyped(expected),
        }
    }

    /// What it is, if it is a boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is an empty string, which is as good as absent.
    pub(super) fn is_empty(&self) -> bool {
        self.value.get_ref().as_str() == Some("")
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is a table with nothing in it.
    pub(super) fn is_empty_table(&self) -> bool {
        let table = self.value.get_ref().as_table();
        table.is_some_and(|table| table.is_empty())
    }

    /// What is read, or a report of what was expected. The value itself is on the quoted line,
    /// masked where it has to be; the message never repeats it.
    pub(super) fn check<T>(&self, parsed: Result<T, Expected>) -> Option<T> {
        parsed
            .map_err(|expected| {
                let message = format!("invalid {}", self.name());
                self.report.error(&self.place, message, expected);
            })
            .ok()
    }

    /// Reports something else about it; `message` goes on after its name.
    pub(super) fn error(&self, message: &str, help: impl Into<String>) {
        let message = format!("{} {message}", self.name());
        self.report.error(&self.place, message, help);
    }

    /// Keeps it out of quoted lines, whatever it was read as.
    pub(super) fn conceal(&self) {
        self.report.conceal(self.place.file, self.value);
    }

    /// Shows it on quoted lines.
    pub(super) fn reveal(&self) {
        self.report.reveal(self.place.file, self.value, false);
    }

    /// The same of a URL, an origin or a host, of which neither a name and password nor a query is shown.
    pub(super) fn reveal_address(&self) {
        self.report.reveal(self.place.file, self.value, true);
    }

    /// The name of its key and section, for messages.
    pub(super) fn name(&self) -> String {
        format!("{} in {}", QuotedWord(self.key), self.title)
    }

    /// Reports the wrong type, and returns `None`.
    pub(super) fn mistyped<T>(&self, expected: impl fmt::Display) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("wrong type of {}", self.name());
        let help = format!("expected {expected}, found {found}");
        self.report.error(&self.place, message, help);
        None
    }
}
