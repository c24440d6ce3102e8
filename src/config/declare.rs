//! How keys are declared: once, with everything there is to say about them. The reader, its
//! diagnostics, the defaults and the tables of the documentation all come from here.

use std::borrow::Cow;
use std::fmt;

use super::read::{Section, one_of};

/// A key of a table of the configuration.
pub(super) struct Key<K> {
    pub(super) name: &'static str,
    /// What it may hold, and what holds without it.
    pub(super) kind: K,
    /// What it is for, in Markdown.
    meaning: &'static str,
    /// The choice made by another key without which it means nothing.
    only_with: Option<OnlyWith>,
}

/// A choice that another key of the same table has to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlyWith {
    /// The other key.
    pub(super) selector: &'static str,
    /// Its values with which the key means something.
    pub(super) choices: &'static [&'static str],
}

impl<K> Key<K> {
    pub(super) const fn new(
        name: &'static str,
        kind: K,
        meaning: &'static str,
        only_with: Option<OnlyWith>,
    ) -> Self {
        Self {
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
    fn form(&self) -> Form;

    /// What holds without the key.
    fn absent(&self) -> Absent;
}

/// The form of a value.
#[derive(Debug)]
pub(super) enum Form {
    /// `true` or `false`
    Boolean,
    /// The same, or one word.
    BooleanOr(&'static str),
    /// A whole number.
    Integer { least: usize, most: usize },
    /// A string such as `"1m30s"`.
    Duration { least: &'static str },
    /// The same, without a fraction of a second.
    Seconds { most: u64 },
    /// A string such as `"64KiB"`.
    Size {
        least: &'static str,
        most: &'static str,
    },
    /// One of several strings.
    Words(Vec<&'static str>),
    /// A string, and what it says.
    Text(&'static str),
    /// An array of strings, and what they say.
    Texts(&'static str),
    /// A string, `{ file = "PATH" }` or `{ env = "NAME" }`.
    Secret,
    /// A table whose keys are names and whose values are secrets.
    Secrets,
    /// A table.
    Table(&'static Table),
    /// An array of tables.
    Tables(&'static Table),
    /// Tables by name.
    NamedTables(&'static Table),
}

impl Form {
    /// The keys that stand within it, if it holds tables of keys.
    pub(super) fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Table(table) | Self::Tables(table) | Self::NamedTables(table) => Some(table),
            _ => None,
        }
    }
}

/// What holds without a key.
#[derive(Debug)]
pub(super) enum Absent {
    /// Nothing: it has to be there.
    Required,
    /// The same as with this value, which is written in TOML.
    Value(String),
    /// What cannot be written as a value.
    Words(&'static str),
}

/// A key, whatever it holds.
pub(super) trait Declared: Sync {
    fn name(&self) -> &'static str;
    fn meaning(&self) -> String;
    fn only_with(&self) -> Option<OnlyWith>;
    fn form(&self) -> Form;
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

    fn form(&self) -> Form {
        self.kind.form()
    }

    fn absent(&self) -> Absent {
        self.kind.absent()
    }
}

/// All keys of one table.
pub(super) struct Table {
    /// Where it stands, as its header is written: `[server]`, `[upstreams.NAME]`.
    pub(super) title: &'static str,
    /// Its own keys.
    pub(super) own: &'static [&'static dyn Declared],
    /// A table whose keys it has as well, before its own.
    pub(super) and: Option<&'static Table>,
}

impl Table {
    /// Its keys, in the order of their declaration.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static dyn Declared> {
        let shared = self.and.map_or(&[][..], |table| table.own);
        shared.iter().chain(self.own).copied()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Cow<'_, str> = match self {
            Self::Boolean => "`true` or `false`".into(),
            Self::BooleanOr(word) => format!("`true`, `false` or `\"{word}\"`").into(),
            Self::Integer { least, most } => format!("whole number, {least} to {most}").into(),
            Self::Duration { least: "0s" } => "duration".into(),
            Self::Duration { least } => format!("duration, at least {least}").into(),
            Self::Seconds { most } => format!("duration, whole seconds, 1s to {most}s").into(),
            Self::Size { least, most } => format!("size, {least} to {most}").into(),
            Self::Words(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                let quoted: Vec<_> = quoted.iter().map(String::as_str).collect();
                one_of(&quoted, '`').into()
            }
            Self::Text(what) => (*what).into(),
            Self::Texts(what) => format!("list: {what}").into(),
            Self::Secret => "string, `{ file }` or `{ env }`".into(),
            Self::Secrets => "table: strings, `{ file }` or `{ env }` by name".into(),
            Self::Table(table) | Self::Tables(table) | Self::NamedTables(table) => {
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
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// Declares the keys of one table:
///
/// ```text
/// keys! {
///     /// What the table is about.
///     SERVER: Server, SERVER_TABLE = "[server]" {
///         /// What the key means: this very comment stands in the documentation.
///         workers: Integer<usize> = Integer::new(0, 0..=1024);
///     }
/// }
/// ```
///
/// makes a static `SERVER` whose fields are the keys, which is what the reader reads by, and a
/// static `SERVER_TABLE` that lists them. A key that nobody reads is a field that nobody reads, and
/// the compiler warns of it: the list is made of the declarations, not of the fields.
///
/// `, and OTHER_TABLE` behind the title lets the table have the keys of another one, too. `, only with
/// auth_method = &["none"]` behind a key says that it means nothing with other choices.
macro_rules! keys {
    (
        $(#[$about:meta])*
        $keys:ident: $type:ident, $table:ident = $title:literal $(, and $and:ident)? {
            $(
                $(#[doc = $meaning:literal])+
                $key:ident: $kind:ty = $made:expr $(, only with $selector:ident = $choices:expr)?;
            )+
        }
    ) => {
        $(#[$about])*
        pub(in crate::config) static $keys: $type = $type {
            $($key: keys!(@key $key, $made, [$($meaning)+] $(, $selector, $choices)?),)+
        };

        $(#[$about])*
        pub(in crate::config) struct $type {
            $(
                $(#[doc = $meaning])+
                pub(in crate::config) $key: $crate::config::declare::Key<$kind>,
            )+
        }

        $(#[$about])*
        pub(in crate::config) static $table: $crate::config::declare::Table =
            $crate::config::declare::Table {
                title: $title,
                own: &[
                    $(&keys!(@key $key, $made, [$($meaning)+] $(, $selector, $choices)?),)+
                ],
                and: keys!(@and $($and)?),
            };
    };
    (@and) => {
        None
    };
    (@and $and:ident) => {
        Some(&$and)
    };
    (@key $key:ident, $made:expr, [$($meaning:literal)+]) => {
        $crate::config::declare::Key::new(
            stringify!($key),
            $made,
            concat!($($meaning, "\n"),+),
            None,
        )
    };
    (@key $key:ident, $made:expr, [$($meaning:literal)+], $selector:ident, $choices:expr) => {
        $crate::config::declare::Key::new(
            stringify!($key),
            $made,
            concat!($($meaning, "\n"),+),
            Some($crate::config::declare::OnlyWith {
                selector: stringify!($selector),
                choices: $choices,
            }),
        )
    };
}
pub(super) use keys;
