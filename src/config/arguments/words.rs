//! What is wrong with the text, in the words of who gave the arguments: they have never seen the text.

use std::ops::Range;

use super::super::diagnostics::Quote;
use super::given::Argument;
use super::keys::{ARGUMENT_KEYS, ArgumentKey, ArgumentTable};
use super::text::{ArgumentText, SaidText};

/// What stands in place of a value that must not be seen.
const MASK: &str = "***";

/// How a value is written in a file, and what of it is an argument.
const FORMS: [(&str, &str); 5] = [
    // It is set: otherwise it would not be among the arguments.
    (
        "names an environment variable that is not set",
        "is not UTF-8 text",
    ),
    (
        "set the variable, or name a file with `{ file = \"PATH\" }`",
        "expected text, or the path of a file as --client-secret-file",
    ),
    (
        "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`",
        "the path of a file, or the secret itself in SIDEBEARER_CLIENT_SECRET",
    ),
    (
        "`{ file = \"PATH\" }` of a PEM or JWK file",
        "the path of a PEM or JWK file",
    ),
    ("a table with `file`", "the path of a file"),
];

/// What a message may advise that needs a file.
const IN_A_FILE: [&str; 3] = [
    "`allow_network = true`",
    "`allow_plaintext = true`",
    "`callers`",
];

impl ArgumentText {
    /// The place of a mistake that nobody in particular has made.
    pub(in crate::config) const PLACE: &str = "command line";
    /// How a message ends about what a method of authentication needs and no argument can say.
    pub(in crate::config) const ONLY_IN_FILE: &str = "and only a file can say it";

    /// A message about the text as one about the arguments; `about` is where it found something, if that is known.
    pub(in crate::config) fn retell(&self, message: &str, about: Option<&SaidText>) -> String {
        let mut message = message.to_owned();
        for (written, said) in FORMS {
            message = message.replace(written, said);
        }
        let given = |key: &ArgumentKey| self.arguments.get(key.name);
        let (first, then): (Vec<_>, Vec<_>) =
            ARGUMENT_KEYS.iter().partition(|key| given(key).is_some());
        let keys = || first.iter().chain(&then);
        for key in keys() {
            let flag = key.flag();
            let name = given(key).map_or_else(|| flag.clone(), Argument::name);
            for table in key.tables {
                let title = self.title(*table);
                let missing = format!("`{}` is missing in {title}", key.key);
                message = message.replace(&missing, &format!("{flag} is missing"));
                message = message.replace(&format!("`{}` in {title}", key.key), &name);
                if let Some(owner) = title.strip_suffix(".tls]") {
                    message = message.replace(&format!("`tls` in {owner}]"), &name);
                }
            }
        }
        for table in [ArgumentTable::Upstream, ArgumentTable::Credential] {
            let missing = format!(" is missing in {}", self.title(table));
            message = message.replace(&missing, &format!(" is missing, {}", Self::ONLY_IN_FILE));
        }
        // Other tables have keys of the same name.
        let is_meant = |key: &ArgumentKey| {
            about.is_none_or(|said| {
                said.argument
                    .key
                    .tables
                    .iter()
                    .any(|table| key.tables.contains(table))
            })
        };
        for key in keys().filter(|key| is_meant(key)) {
            let flag = key.flag();
            let name = given(key).map_or_else(|| flag.clone(), Argument::name);
            message = message.replace(&format!("`{} = true`", key.key), &flag);
            message = message.replace(&format!("`{} = ", key.key), &format!("`{flag} "));
            message = message.replace(&format!("`{}`", key.key), &name);
        }
        for written in IN_A_FILE {
            let advice = format!("{written} (in a file, which `sidebearer init` begins)");
            message = message.replace(written, &advice);
        }
        message
    }

    fn title(&self, table: ArgumentTable) -> String {
        let name = &self.name;
        match table {
            ArgumentTable::Listener => "[[listeners]]".to_owned(),
            ArgumentTable::Upstream => format!("[upstreams.{name}]"),
            ArgumentTable::Credential => format!("[credentials.{name}]"),
            ArgumentTable::Admin => "[admin]".to_owned(),
            ArgumentTable::UpstreamTls => format!("[upstreams.{name}.tls]"),
            ArgumentTable::CredentialTls => format!("[credentials.{name}.tls]"),
        }
    }
}

impl SaidText {
    /// The argument as it was given, with its value marked; masked if any part of it is among `hidden`.
    pub(in crate::config) fn quote(&self, hidden: &[Range<usize>]) -> Quote {
        let Self { argument, span } = self;
        let overlaps = |hidden: &Range<usize>| hidden.start < span.end && span.start < hidden.end;
        let value = if argument.key.is_variable_only() || hidden.iter().any(overlaps) {
            MASK
        } else {
            argument.value.as_str()
        };
        let separator = if argument.by_variable { '=' } else { ' ' };
        let before = format!("{}{separator}", argument.name());
        let printable = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        let value: String = value.chars().map(printable).collect();
        Quote {
            start: before.chars().count(),
            width: value.chars().count().max(1),
            text: before + &value,
        }
    }
}
