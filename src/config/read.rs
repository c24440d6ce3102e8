//! Reading a parsed file key by key, so that one mistake does not hide the next.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declare::{Absent, Declared, OnlyWith, Table, ValueForm};
use super::report::{Report, SourceSpan};
use super::value::{Title, Value};
use super::words::{QuotedWord, did_you_mean, one_of};

/// A key of a table of the configuration.
pub(super) struct Key<K> {
    /// The title of the table that it is declared in.
    table: &'static str,
    pub(super) name: &'static str,
    /// What it may hold, and what holds without it.
    pub(super) kind: K,
    /// What it is for, in Markdown.
    meaning: &'static str,
    /// The choice made by another key without which it means nothing.
    only_with: Option<OnlyWith>,
}

impl<K> Key<K> {
    pub(super) const fn new(
        table: &'static str,
        name: &'static str,
        kind: K,
        meaning: &'static str,
        only_with: Option<OnlyWith>,
    ) -> Self {
        Self {
            table,
            name,
            kind,
            meaning,
            only_with,
        }
    }
}

/// What a key may hold.
pub(super) trait Kind: Sync {
    /// What is read of it.
    type Output<'a>;

    /// What it holds in `section`, or what holds without it. Whatever is wrong is reported.
    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a>;

    /// Its form, for people who write it.
    fn form(&self) -> ValueForm;

    /// What holds without the key.
    fn absent(&self) -> Absent;
}

impl<K: Kind> Declared for Key<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    /// The lines of the documentation comment as one.
    fn meaning(&self) -> String {
        let words: Vec<_> = self.meaning.split_whitespace().collect();
        words.join(" ")
    }

    fn only_with(&self) -> Option<OnlyWith> {
        self.only_with
    }

    fn form(&self) -> ValueForm {
        self.kind.form()
    }

    fn absent(&self) -> Absent {
        self.kind.absent()
    }
}

/// One table of a file. What is read of it is declared: keys that are not are reported as soon as it
/// is opened.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report<'a>,
    /// Its header, or its key.
    pub(super) place: SourceSpan,
    title: Title,
    table: &'a DeTable<'a>,
    /// The keys that it may have; `None` where its keys are names.
    declared: Option<&'static Table>,
}

impl<'a> Section<'a> {
    /// The whole of a file.
    pub(super) fn root(
        report: &'a Report<'a>,
        file: usize,
        table: &'a DeTable<'a>,
        declared: &'static Table,
    ) -> Self {
        let place = SourceSpan { file, span: None };
        Self::open(report, place, declared.title.into(), table, declared)
    }

    /// A table of which nothing is written, for what holds without it.
    pub(super) fn unwritten<T>(declared: &'static Table, read: impl FnOnce(Section<'_>) -> T) -> T {
        let (report, table) = (Report::new(&[]), DeTable::new());
        let place = SourceSpan {
            file: 0,
            span: None,
        };
        let title = declared.title.into();
        read(Section::open(&report, place, title, &table, declared))
    }

    /// A table that has the declared keys. Others are reported.
    pub(super) fn open(
        report: &'a Report<'a>,
        place: SourceSpan,
        title: Title,
        table: &'a DeTable<'a>,
        declared: &'static Table,
    ) -> Self {
        let section = Self {
            declared: Some(declared),
            ..Self::names(report, place, title, table)
        };
        section.refuse_unknown(declared);
        section
    }

    /// A table whose keys are names.
    pub(super) fn names(
        report: &'a Report<'a>,
        place: SourceSpan,
        title: Title,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self {
            report,
            place,
            title,
            table,
            declared: None,
        }
    }

    /// What `key` holds, or what holds without it.
    pub(super) fn read<K: Kind>(&self, key: &Key<K>) -> K::Output<'a> {
        self.check_declared(key);
        key.kind.read(self, key.name)
    }

    /// What `key` holds, if it is written.
    pub(super) fn read_written<K: Kind>(&self, key: &Key<K>) -> Option<K::Output<'a>> {
        self.has(key).then(|| self.read(key))
    }

    /// What is written for `key`, if anything is.
    pub(super) fn written<K>(&self, key: &Key<K>) -> Option<Value<'a>> {
        self.value(key.name)
    }

    /// Where `key` is written; else the place of the table.
    pub(super) fn place_written<K>(&self, key: &Key<K>) -> SourceSpan {
        let written = self.written(key);
        written.map_or_else(|| self.place.clone(), |value| value.place)
    }

    /// Whether `key` is written, in whatever form.
    pub(super) fn has<K>(&self, key: &Key<K>) -> bool {
        self.table.contains_key(key.name)
    }

    /// Where each element of an array is written; nowhere if it is not an array.
    pub(super) fn places_within<K>(&self, key: &Key<K>) -> Vec<SourceSpan> {
        let value = self.table.get(key.name);
        let elements = value.and_then(|value| value.get_ref().as_array());
        let elements = elements.into_iter().flat_map(|elements| elements.iter());
        elements.map(|element| self.place_of(element)).collect()
    }

    /// Reports that `key` is needed, unless it is there in whatever form.
    pub(super) fn missing<K>(&self, key: &Key<K>, expected: &str) {
        if self.is_absent(key.name) {
            self.report_missing(key.name, expected);
        }
    }

    /// The same of a key that is not there, by the name that people give it.
    pub(super) fn report_missing(&self, name: &str, expected: &str) {
        let message = format!("`{name}` is missing in {}", self.title);
        self.report
            .error(&self.place, message, format!("expected {expected}"));
    }

    /// All keys with their values and the places of the keys, for tables whose keys are names.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, SourceSpan, Value<'a>)> {
        let table = self.table;
        table.iter().map(move |(key, value)| {
            let name: &'a str = key.get_ref();
            (name, self.place_of(key), self.value_of(name, value))
        })
    }

    /// The keys that it may have.
    pub(super) fn declared_keys(&self) -> impl Iterator<Item = &'static dyn Declared> {
        self.declared.into_iter().flat_map(Table::keys)
    }

    /// What stands under a name, if anything does.
    pub(super) fn value(&self, name: &'a str) -> Option<Value<'a>> {
        let value = self.table.get(name)?;
        Some(self.value_of(name, value))
    }

    /// The same of a value that is not a secret: quoted lines show it.
    pub(super) fn shown(&self, name: &'a str) -> Option<Value<'a>> {
        let value = self.value(name)?;
        value.reveal();
        Some(value)
    }

    /// The same of what may be a URL, an origin or a host.
    pub(super) fn shown_address(&self, name: &'a str, is_address: bool) -> Option<Value<'a>> {
        let value = self.value(name)?;
        if is_address {
            value.reveal_address();
        } else {
            value.reveal();
        }
        Some(value)
    }

    /// The string under a name; nothing when it is empty.
    pub(super) fn text(&self, name: &'a str) -> Option<(Value<'a>, &'a str)> {
        string(self.shown(name)?)
    }

    /// The same of a URL, an origin or a host.
    pub(super) fn address(&self, name: &'a str) -> Option<(Value<'a>, &'a str)> {
        string(self.shown_address(name, true)?)
    }

    /// Whether nothing stands under a name, or an empty string, which is as good.
    pub(super) fn is_absent(&self, name: &str) -> bool {
        let value = self.table.get(name);
        value.is_none_or(|value| value.get_ref().as_str() == Some(""))
    }

    /// How a table within this one is called in messages.
    pub(super) fn title_within(&self, key: &str) -> String {
        if self.is_root() {
            format!("[{key}]")
        } else {
            format!("[{}.{key}]", self.title.trim_matches(['[', ']']))
        }
    }

    fn is_root(&self) -> bool {
        self.place.span.is_none()
    }

    /// What is not declared here must not be read: it would be reported as unknown.
    pub(super) fn check_declared<K>(&self, key: &Key<K>) {
        debug_assert!(
            self.declared
                .is_some_and(|table| table.has_keys_of(key.table)),
            "`{}` is read in {}, but not declared there",
            key.name,
            self.title,
        );
    }

    fn refuse_unknown(&self, declared: &Table) {
        let is_known = |name: &str| declared.keys().any(|key| key.name() == name);
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if is_known(name) {
                continue;
            }
            let message = format!("unknown key {} in {}", QuotedWord(name), self.title);
            let names: Vec<_> = declared.keys().map(|key| key.name()).collect();
            let close = did_you_mean(name, names.iter().copied());
            let help = close.unwrap_or_else(|| format!("expected {}", one_of(&names, '`')));
            self.report.error(&self.place_of(key), message, help);
        }
    }

    fn place_of<T>(&self, spanned: &Spanned<T>) -> SourceSpan {
        SourceSpan {
            file: self.place.file,
            span: Some(spanned.span()),
        }
    }

    fn value_of(&self, name: &'a str, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        let place = self.place_of(value);
        Value::new(self.report, place, name, self.title.clone(), value)
    }
}

/// The string that a value is; nothing when it is empty.
fn string<'a>(value: Value<'a>) -> Option<(Value<'a>, &'a str)> {
    let text = value.text("a string")?;
    (!text.is_empty()).then_some((value, text))
}

impl<'a> Value<'a> {
    /// Its keys, if it is a table. Those that are not declared are reported.
    pub(super) fn table(
        &self,
        title: Title,
        expected: impl fmt::Display,
        declared: &'static Table,
    ) -> Option<Section<'a>> {
        let table = self.entries(expected)?;
        let place = self.place.clone();
        Some(Section::open(self.report, place, title, table, declared))
    }

    /// Its keys, if it is a table, whatever they are.
    pub(super) fn names(&self, title: String, expected: impl fmt::Display) -> Option<Section<'a>> {
        let table = self.entries(expected)?;
        let place = self.place.clone();
        Some(Section::names(self.report, place, title.into(), table))
    }
}
