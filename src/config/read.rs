//! Reading a parsed file key by key, so that one mistake does not hide the next.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::report::{Expected, Place, Report, Shown, did_you_mean, resembles};
use super::{address, units};

/// Durations beyond a year are mistakes, and some clocks cannot count them.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One table, read key by key. What was never asked for is unknown.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report<'a>,
    /// Its header, or its key.
    pub(super) place: Place,
    title: String,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// The value of one key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) place: Place,
    /// `key` in [section]
    name: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    /// The whole of a file.
    pub(super) fn root(report: &'a Report<'a>, file: usize, table: &'a DeTable<'a>) -> Self {
        Self {
            report,
            place: Place { file, span: None },
            title: "the file".to_owned(),
            table,
            known: RefCell::default(),
        }
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        let value = self.table.get(key)?;
        Some(self.value(key, value))
    }

    /// The value of a key that holds no secret: quoted lines show it.
    fn shown(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.get(key)?;
        value.reveal();
        Some(value)
    }

    /// All keys with their values and the places of the keys, for tables whose keys are names.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Place, Value<'a>)> {
        let table = self.table;
        table.iter().map(move |(key, value)| {
            let place = Place {
                file: self.place.file,
                span: Some(key.span()),
            };
            let key: &'a str = key.get_ref();
            (key, place, self.value(key, value))
        })
    }

    /// A string; absent when it is empty.
    pub(super) fn text(&self, key: &'static str) -> Option<(Value<'a>, &'a str)> {
        let value = self.shown(key)?;
        let text = value.text("a string")?;
        (!text.is_empty()).then_some((value, text))
    }

    /// A string that means something; an empty one is absent.
    pub(super) fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, Expected>,
    ) -> Option<T> {
        let (value, text) = self.text(key)?;
        value.check(parse(text))
    }

    /// `true` or `false`
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.get(key) else {
            return default;
        };
        match value.boolean() {
            Some(value) => value,
            None => value.mistyped("true or false").unwrap_or(default),
        }
    }

    /// A whole number.
    pub(super) fn integer<N: TryFrom<usize>>(
        &self,
        key: &'static str,
        default: N,
        range: RangeInclusive<usize>,
    ) -> N {
        let Some(value) = self.shown(key) else {
            return default;
        };
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = value.value.get_ref() else {
            return value.mistyped(&expected).unwrap_or(default);
        };
        let parsed = usize::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| N::try_from(number).ok());
        let parsed = parsed.ok_or_else(|| format!("expected {expected}").into());
        value.check(parsed).unwrap_or(default)
    }

    /// A duration such as `"30s"`.
    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        least: Duration,
    ) -> Duration {
        let Some(value) = self.shown(key) else {
            return default;
        };
        let read = || {
            let text = value.text(units::DURATION)?;
            let range = format!("expected {least:?} to 8760h (a year)");
            let parsed = match units::duration(text) {
                Some(duration) if (least..=LONGEST).contains(&duration) => Ok(duration),
                Some(_) => Err(range.into()),
                None => Err(format!("expected {}", units::DURATION).into()),
            };
            value.check(parsed)
        };
        read().unwrap_or(default)
    }

    /// A size such as `"64KiB"`, in bytes; the bounds as they are written.
    pub(super) fn size<N: TryFrom<usize>>(
        &self,
        key: &'static str,
        default: N,
        range: [&'static str; 2],
    ) -> N {
        let Some(value) = self.shown(key) else {
            return default;
        };
        let read = || {
            let text = value.text(units::SIZE)?;
            let [least, most] = range;
            let bounds = units::size(least)?..=units::size(most)?;
            let parsed = match units::size(text) {
                Some(size) if bounds.contains(&size) => Ok(size),
                Some(_) => Err(format!("expected {least} to {most}").into()),
                None => Err(format!("expected {}", units::SIZE).into()),
            };
            N::try_from(value.check(parsed)?).ok()
        };
        read().unwrap_or(default)
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&'static str, T)],
    ) -> T {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let Some(value) = self.shown(key) else {
            return default;
        };
        let expected = one_of(&words, '"');
        let Some(text) = value.text(&expected) else {
            return default;
        };
        let chosen = choices.iter().find(|(word, _)| *word == text);
        let help = || {
            let close = did_you_mean(
                text,
                words.iter().copied().filter(|word| resembles(text, word)),
            );
            close.unwrap_or_else(|| format!("expected {expected}"))
        };
        let chosen = chosen
            .map(|(_, chosen)| *chosen)
            .ok_or_else(|| help().into());
        value.check(chosen).unwrap_or(default)
    }

    /// An array of strings.
    pub(super) fn strings(&self, key: &'static str) -> Vec<(Value<'a>, &'a str)> {
        let Some(value) = self.shown(key) else {
            return Vec::new();
        };
        let elements = value.elements("an array of strings").unwrap_or_default();
        let text = |element: Value<'a>| element.text("a string").map(|text| (element, text));
        elements.into_iter().filter_map(text).collect()
    }

    /// An array of strings that mean something.
    pub(super) fn parse_each<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Expected>,
    ) -> Vec<T> {
        let parsed = |(value, text): (Value<'a>, &str)| value.check(parse(text));
        self.strings(key).into_iter().filter_map(parsed).collect()
    }

    /// An `http` or `https` URL; an empty one is absent.
    pub(super) fn url(&self, key: &'static str, query: bool) -> Option<(Value<'a>, Url)> {
        let (value, text) = self.text(key)?;
        let parsed = address::http_url(text, query);
        if parsed.is_err() && text.contains('@') {
            // What stands before it may be a password.
            self.report.hide(value.place.file, value.value);
        }
        let url = value.check(parsed)?;
        Some((value, url))
    }

    /// A table within this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let title = format!("[{}.{key}]", self.title.trim_matches(['[', ']']));
        self.get(key)?.section(title, "a table")
    }

    /// Reports that `key` is needed, unless it is there in whatever form.
    pub(super) fn missing(&self, key: &'static str, expected: &str) {
        if self
            .table
            .get(key)
            .is_none_or(|value| value.get_ref().as_str() == Some(""))
        {
            let message = format!("`{key}` is missing in {}", self.title);
            self.report
                .error(&self.place, message, format!("expected {expected}"));
        }
    }

    /// Whether `key` is written, in whatever form.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports the keys that were never asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for (key, value) in self.table.iter() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let place = Place {
                file: self.place.file,
                span: Some(key.span()),
            };
            let message = format!("unknown key {} in {}", Shown(name), self.title);
            let close = did_you_mean(name, known.iter().copied());
            // Whatever is not close to a key of this section may be a secret that belongs into
            // another, and at the top even a close one: `[credential.crm]`.
            if close.is_none() || self.place.span.is_none() {
                self.report.hide(self.place.file, value);
            }
            let help = close.unwrap_or_else(|| format!("expected {}", one_of(&known, '`')));
            self.report.error(&place, message, help);
        }
    }

    fn value(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            report: self.report,
            place: Place {
                file: self.place.file,
                span: Some(value.span()),
            },
            name: format!("{} in {}", Shown(key), self.title),
            value,
        }
    }
}

impl<'a> Value<'a> {
    /// Its text, if it is a string.
    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        match self.value.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.mistyped(expected),
        }
    }

    /// Its elements, if it is an array.
    pub(super) fn elements(&self, expected: &str) -> Option<Vec<Value<'a>>> {
        let Some(elements) = self.value.get_ref().as_array() else {
            return self.mistyped(expected);
        };
        let element = |value: &'a Spanned<DeValue<'a>>| Value {
            place: Place {
                file: self.place.file,
                span: Some(value.span()),
            },
            value,
            ..self.clone()
        };
        Some(elements.iter().map(element).collect())
    }

    /// Its keys, if it is a table.
    pub(super) fn section(&self, title: String, expected: &str) -> Option<Section<'a>> {
        let Some(table) = self.value.get_ref().as_table() else {
            return self.mistyped(expected);
        };
        Some(Section {
            report: self.report,
            place: self.place.clone(),
            title,
            table,
            known: RefCell::default(),
        })
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

    /// What is read, or a report of what was expected. The value itself is on the quoted line,
    /// masked where it has to be; the message never repeats it.
    pub(super) fn check<T>(&self, parsed: Result<T, Expected>) -> Option<T> {
        parsed
            .map_err(|expected| {
                let message = format!("invalid {}", self.name);
                self.report.error(&self.place, message, expected);
            })
            .ok()
    }

    /// Reports something else about it; `message` goes on after its name.
    pub(super) fn error(&self, message: &str, help: impl Into<String>) {
        let message = format!("{} {message}", self.name);
        self.report.error(&self.place, message, help);
    }

    /// Keeps it out of quoted lines.
    pub(super) fn hide(&self) {
        self.report.hide(self.place.file, self.value);
    }

    /// Shows it on quoted lines, though what stands around it is hidden.
    pub(super) fn reveal(&self) {
        self.report.reveal(self.place.file, self.value);
    }

    /// The name of its key and section, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reports the wrong type, and is nothing.
    pub(super) fn mistyped<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("wrong type of {}", self.name);
        let help = format!("expected {expected}, found {found}");
        self.report.error(&self.place, message, help);
        None
    }
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
