//! What a key may hold: tables of keys, and of names.

use super::super::declare::{Absent, EveryName, NameForm, Table, ValueForm};
use super::super::parse::listener;
use super::super::read::{Kind, Section};
use super::super::report::SourceSpan;
use super::super::value::Value;
use super::super::words::{QuotedWord, ShownWord};

/// A table.
pub(in crate::config) struct SubTable(pub(in crate::config) &'static Table);

impl Kind for SubTable {
    type Output<'a> = Option<Section<'a>>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        let value = section.value(key)?;
        value.table(section.title_within(key).into(), "a table", self.0)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Table(self.0)
    }

    fn absent(&self) -> Absent {
        Absent::Words("none")
    }
}

/// An array of tables, each under `[[key]]`.
pub(in crate::config) struct TableArray(pub(in crate::config) &'static Table);

impl Kind for TableArray {
    /// `None` for what is something else.
    type Output<'a> = Vec<Option<Section<'a>>>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        let Some(value) = section.value(key) else {
            return Vec::new();
        };
        let title = self.0.title;
        let expected = format!("tables, each under {title}");
        let each = |element: Value<'a>| element.table(title.into(), &expected, self.0);
        match value.elements(&expected) {
            None => vec![None],
            Some(elements) => elements.into_iter().map(each).collect(),
        }
    }

    fn form(&self) -> ValueForm {
        ValueForm::Tables(self.0)
    }

    fn absent(&self) -> Absent {
        Absent::Words("none")
    }
}

/// A table of tables by name, each under `[key.NAME]`.
pub(in crate::config) struct TablesByName {
    table: &'static Table,
    names: NameForm,
}

impl TablesByName {
    pub(in crate::config) const fn new(table: &'static Table) -> Self {
        let names = NameForm {
            pattern: listener::NAME.pattern,
            ..NameForm::ANY
        };
        Self { table, names }
    }

    /// With names as `pattern` has them, one of which stands for all others.
    pub(in crate::config) const fn or_every(
        self,
        pattern: Option<&'static str>,
        every: EveryName,
    ) -> Self {
        let names = NameForm {
            pattern,
            every: Some(every),
            ..self.names
        };
        Self { names, ..self }
    }
}

impl Kind for TablesByName {
    type Output<'a> = Vec<(&'a str, Section<'a>)>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        let value = section.value(key);
        let named = value.and_then(|value| {
            let expected = format!("tables, each under {}", self.table.title);
            value.names(section.title_within(key), expected)
        });
        let Some(named) = named else {
            return Vec::new();
        };
        let report = named.report;
        let table = |(name, place, value): (&'a str, SourceSpan, Value<'a>)| {
            if let Err(help) = (listener::NAME.parse)(name) {
                report.error(&place, format!("invalid name {}", QuotedWord(name)), help);
            }
            let title = format!("[{key}.{}]", ShownWord(name));
            Some((name, value.table(title.into(), "a table", self.table)?))
        };
        named.entries().filter_map(table).collect()
    }

    fn form(&self) -> ValueForm {
        ValueForm::NamedTables(self.table, self.names)
    }

    fn absent(&self) -> Absent {
        Absent::Words("none")
    }
}

/// A table whose keys are names and whose values are secrets, or where they are read from.
pub(in crate::config) struct SecretsByName(pub(in crate::config) NameForm);

impl Kind for SecretsByName {
    type Output<'a> = Option<Section<'a>>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        let value = section.value(key)?;
        value.names(section.title_within(key), "a table")
    }

    fn form(&self) -> ValueForm {
        ValueForm::Secrets(self.0)
    }

    fn absent(&self) -> Absent {
        Absent::Value("{}".to_owned())
    }
}

/// A table whose keys are names and whose values are strings.
pub(in crate::config) struct TextsByName(pub(in crate::config) NameForm);

impl Kind for TextsByName {
    /// Each name and where it is written, and its string; without those that are no string, or an empty one.
    type Output<'a> = Vec<(&'a str, SourceSpan, Value<'a>, &'a str)>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        let value = section.value(key);
        let named = value.and_then(|value| value.names(section.title_within(key), "a table"));
        let text = |(name, place, value): (&'a str, SourceSpan, Value<'a>)| {
            value.reveal();
            let text = value.text("a string")?;
            if text.is_empty() {
                return value.check(Err("expected a string that is not empty".into()));
            }
            Some((name, place, value, text))
        };
        named
            .into_iter()
            .flat_map(Section::entries)
            .filter_map(text)
            .collect()
    }

    fn form(&self) -> ValueForm {
        ValueForm::Texts(self.0)
    }

    fn absent(&self) -> Absent {
        Absent::Value("{}".to_owned())
    }
}
