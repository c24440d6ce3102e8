//! Reading a parsed file key by key, so that one mistake does not hide the next.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declare::{Declared, Key, Kind, Table};
use super::kinds::Choice;
use super::report::{QuotedWord, Report, SourceSpan, did_you_mean};
use super::value::Value;

/// One table of a file. What is read of it is declared: keys that are not are reported as soon as it
/// is opened.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report<'a>,
    /// Its header, or its key.
    pub(super) place: SourceSpan,
    title: Cow<'static, str>,
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
        title: Cow<'static, str>,
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
        title: Cow<'static, str>,
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

    /// The word that is chosen or holds without the key, and what it means. Only what `fits` is there
    /// to choose from. `None` after a mistake.
    pub(super) fn choose<T: Copy + Sync>(
        &self,
        key: &Key<Choice<T>>,
        fits: impl Fn(T) -> bool,
    ) -> Option<(&'static str, T)> {
        self.check_declared(key);
        key.kind.choose(self, key.name, fits)
    }

    /// What is written for `key`, if anything is.
    pub(super) fn written<K>(&self, key: &Key<K>) -> Option<Value<'a>> {
        self.value(key.name)
    }

    /// Whether `key` is written, in whatever form.
    pub(super) fn has<K>(&self, key: &Key<K>) -> bool {
        self.table.contains_key(key.name)
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

    /// The same of a value that is no secret: quoted lines show it.
    pub(super) fn shown(&self, name: &'a str) -> Option<Value<'a>> {
        let value = self.value(name)?;
        value.reveal();
        Some(value)
    }

    /// The string under a name; nothing when it is empty.
    pub(super) fn text(&self, name: &'a str) -> Option<(Value<'a>, &'a str)> {
        let value = self.shown(name)?;
        let text = value.text("a string")?;
        (!text.is_empty()).then_some((value, text))
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

    fn check_declared<K>(&self, key: &Key<K>) {
        debug_assert!(
            self.declared_keys()
                .any(|declared| declared.name() == key.name),
            "`{}` is read in {}, but not declared there",
            key.name,
            self.title,
        );
    }

    fn refuse_unknown(&self, declared: &Table) {
        let is_known = |name: &str| declared.keys().any(|key| key.name() == name);
        for (key, value) in self.table.iter() {
            let name: &str = key.get_ref();
            if is_known(name) {
                continue;
            }
            let message = format!("unknown key {} in {}", QuotedWord(name), self.title);
            let names: Vec<_> = declared.keys().map(|key| key.name()).collect();
            let close = did_you_mean(name, names.iter().copied());
            // Whatever is not close to a key of this section may be a secret that belongs into
            // another, and at the top even a close one: `[credential.crm]`.
            if close.is_none() || self.is_root() {
                self.report.hide(self.place.file, value);
            }
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
