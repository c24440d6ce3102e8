//! What is declared of keys: everything there is to say about them, once. The reader, its diagnostics, the
//! defaults and the tables of the documentation all go by it.

use std::borrow::Cow;
use std::fmt;

use super::parse::syntax::Except;
use super::rules::Rule;
use super::words::one_of;

/// A choice that another key of the same table has to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlyWith {
    /// The other key.
    pub(super) selector: &'static str,
    /// Its values with which the key means something.
    pub(super) choices: &'static [&'static str],
}

impl fmt::Display for OnlyWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices = self.choices.iter();
        let choices: Vec<_> = choices.map(|choice| format!("\"{choice}\"")).collect();
        let choices: Vec<_> = choices.iter().map(String::as_str).collect();
        write!(
            f,
            "Only with `{}` {}.",
            self.selector,
            one_of(&choices, '`')
        )
    }
}

/// The form of a value.
#[derive(Debug)]
pub(super) enum ValueForm {
    /// `true` or `false`
    Boolean,
    /// The same, or one word.
    BooleanOr(&'static str),
    /// A whole number.
    Integer { least: usize, most: usize },
    /// A number from 0 to 1.
    Ratio,
    /// A string such as `"1m30s"`.
    Duration {
        least: &'static str,
        most: &'static str,
    },
    /// The same, without a fraction of a second.
    Seconds { most: u64 },
    /// A string such as `"64KiB"`.
    Size {
        least: &'static str,
        most: &'static str,
    },
    /// One of several strings.
    Words(Vec<&'static str>),
    /// A string.
    Text(TextForm),
    /// An array.
    List(ListForm),
    /// A string, `{ file = "PATH" }` or `{ env = "NAME" }`.
    Secret { empty_is_absent: bool },
    /// A table whose keys are names and whose values are secrets.
    Secrets(NameForm),
    /// A table whose keys are names and whose values are strings.
    Texts(NameForm),
    /// A table.
    Table(&'static Table),
    /// An array of tables.
    Tables(&'static Table),
    /// Tables by name.
    NamedTables(&'static Table, NameForm),
}

/// The form of a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextForm {
    /// What it says.
    pub(super) says: &'static str,
    /// What the whole of every good one matches.
    pub(super) pattern: Option<&'static str>,
    /// What is refused though the pattern matches it.
    pub(super) except: Option<Except>,
    /// Whether an empty one is as good as none.
    pub(super) empty_is_absent: bool,
    /// A whole number from 0 to this may take its place.
    pub(super) or_number: Option<u32>,
}

/// The form of an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListForm {
    /// What its elements say.
    pub(super) says: &'static str,
    pub(super) elements: ElementForm,
    /// Whether it may be empty.
    pub(super) may_be_empty: bool,
    /// An element that stands for all others, and therefore alone.
    pub(super) every: Option<&'static str>,
}

/// The form of the elements of an array.
#[derive(Debug, Clone, Copy)]
pub(super) enum ElementForm {
    /// Strings, what the whole of every good one matches, and what is refused though that matches.
    Text(Option<&'static str>, Option<Except>),
    /// Numbers of TCP ports.
    Port,
}

/// The form of names that a configuration gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameForm {
    /// What the whole of every good one matches.
    pub(super) pattern: Option<&'static str>,
    /// What is refused though the pattern matches it.
    pub(super) except: Option<Except>,
    /// Those that cannot be given.
    pub(super) taken: &'static [&'static str],
    /// The one that stands for all others.
    pub(super) every: Option<EveryName>,
}

/// A name that stands for all others, and has less to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct EveryName {
    pub(super) name: &'static str,
    /// The keys that its table may have.
    pub(super) keys: &'static [&'static str],
    /// What they have to do with each other.
    pub(super) rules: &'static [Rule],
}

impl NameForm {
    /// Any names.
    pub(super) const ANY: Self = Self {
        pattern: None,
        except: None,
        taken: &[],
        every: None,
    };
}

impl ValueForm {
    /// The keys that stand within it, if it holds tables of keys.
    pub(super) fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Table(table) | Self::Tables(table) | Self::NamedTables(table, _) => Some(table),
            _ => None,
        }
    }
}

/// What holds without a key.
#[derive(Debug)]
pub(super) enum Absent {
    /// Nothing: it has to be there.
    Required,
    /// Nothing: it has to be there wherever its choice is made; in words.
    RequiredByChoice(&'static str),
    /// The same as with this value, which is written in TOML.
    Value(String),
    /// The same as with this value; but in some tables it has to be there.
    ValueOrRequired {
        value: String,
        /// Where it has to be there.
        required_where: &'static str,
    },
    /// What cannot be written as a value.
    Words(&'static str),
}

/// A key, whatever it holds.
pub(super) trait Declared: Sync {
    fn name(&self) -> &'static str;
    fn meaning(&self) -> String;
    fn only_with(&self) -> Option<OnlyWith>;
    fn form(&self) -> ValueForm;
    fn absent(&self) -> Absent;
}

/// All keys of one table.
pub(super) struct Table {
    /// Where it stands, as its header is written: `[server]`, `[upstreams.NAME]`.
    pub(super) title: &'static str,
    /// Its own keys.
    pub(super) own: &'static [&'static dyn Declared],
    /// A table whose keys and rules it has as well, before its own.
    pub(super) and: Option<&'static Table>,
    /// What its keys have to do with each other.
    pub(super) rules: &'static [&'static [Rule]],
}

impl Table {
    /// Its keys, in the order of their declaration.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static dyn Declared> {
        let shared = self.and.map_or(&[][..], |table| table.own);
        shared.iter().chain(self.own).copied()
    }

    /// What its keys have to do with each other.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        let shared = self.and.map_or(&[][..], |table| table.rules);
        shared.iter().chain(self.rules).copied().flatten()
    }

    /// Whether it has the keys that are declared under this title.
    pub(super) fn has_keys_of(&self, title: &str) -> bool {
        self.title == title || self.and.is_some_and(|table| table.title == title)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title)
    }
}

impl fmt::Display for ValueForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Cow<'_, str> = match self {
            Self::Boolean => "`true` or `false`".into(),
            Self::BooleanOr(word) => format!("`true`, `false` or `\"{word}\"`").into(),
            Self::Integer { least, most } => format!("whole number, {least} to {most}").into(),
            Self::Ratio => "number, 0 to 1".into(),
            Self::Duration { least: "0s", .. } => "duration".into(),
            Self::Duration { least, .. } => format!("duration, at least {least}").into(),
            Self::Seconds { most } => format!("duration, whole seconds, 1s to {most}s").into(),
            Self::Size { least, most } => format!("size, {least} to {most}").into(),
            Self::Words(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                let quoted: Vec<_> = quoted.iter().map(String::as_str).collect();
                one_of(&quoted, '`').into()
            }
            Self::Text(text) => text.says.into(),
            Self::List(list) => format!("list: {}", list.says).into(),
            Self::Secret { .. } => "string, `{ file }` or `{ env }`".into(),
            Self::Secrets(_) => "table: strings, `{ file }` or `{ env }` by name".into(),
            Self::Texts(_) => "table: strings by name".into(),
            Self::Table(table) | Self::Tables(table) | Self::NamedTables(table, _) => {
                format!("table: see `{}`", table.title).into()
            }
        };
        f.write_str(&text)
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("required"),
            Self::Value(value) => write!(f, "`{value}`"),
            Self::ValueOrRequired {
                value,
                required_where,
            } => write!(f, "`{value}`; required where {required_where}"),
            Self::Words(words) | Self::RequiredByChoice(words) => f.write_str(words),
        }
    }
}
