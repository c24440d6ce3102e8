//! Reads where a secret comes from. The secret is read once here, so that one that is missing is
//! known before it is needed.

use std::path::Path;

use super::super::file_rules::FileRules;
use super::super::keys::{SECRET_SOURCE, SECRET_SOURCE_TABLE};
use super::super::kinds::{SecretText, Whitespace};
use super::super::permissions;
use super::super::read::{Key, Section};
use super::super::settings::file::{Nowhere, is_no_name, may_be_secret, shown_of_secret};
use super::super::settings::{Secret, SecretError, SecretSource};
use super::super::value::Value;

/// Where the value comes from, and what it is now.
pub(super) fn read_secret(
    value: &Value<'_>,
    files: &FileRules<'_>,
) -> Option<(SecretSource, Secret)> {
    read(value, files, Whitespace::Kept)
}

fn read(
    value: &Value<'_>,
    files: &FileRules<'_>,
    whitespace: Whitespace,
) -> Option<(SecretSource, Secret)> {
    const EXPECTED: &str = "`{ file = \"PATH\" }`, `{ env = \"NAME\" }` or a string";
    let mut named = None;
    let source = if value.is_table() {
        let section = value.table(value.name().into(), EXPECTED, &SECRET_SOURCE_TABLE)?;
        let is_said = |value: &Value<'_>| !value.is_empty();
        let env = section.read(&SECRET_SOURCE.env).filter(is_said);
        let env = env.and_then(|env| variable(&env));
        named = section.read(&SECRET_SOURCE.file).filter(is_said);
        let file = named
            .as_ref()
            .and_then(|file| file.text("the path of a file"));
        let place = section.place.clone();
        match (file, env) {
            (Some(path), None) => SecretSource::File(files.named(path, &value.place)),
            (None, Some(name)) => SecretSource::Env(name.to_owned()),
            _ => {
                let message = format!("invalid {}", value.name());
                let help = "expected exactly one of `file` and `env`";
                value.report.error(&place, message, help);
                return None;
            }
        }
    } else {
        SecretSource::Literal(Secret::new(value.text(EXPECTED)?))
    };
    let found = match source.read() {
        Ok(secret) if secret.expose().is_empty() => Err(SecretError::Empty(String::new())),
        found => found,
    };
    // A word that is no file may be the secret itself.
    let is_secret = |file: &Value<'_>| {
        file.text("").is_some_and(|path| {
            let is_word = !path.contains('/') && !is_no_name(path);
            is_word || may_be_secret(&files.path(path))
        })
    };
    let failed = matches!(found, Err(SecretError::File { .. }));
    let path = named.as_ref().and_then(Value::string);
    let is_relative = path.is_some_and(|path| Path::new(path).is_relative());
    let named = named.filter(|file| !(failed && is_secret(file)));
    if let Some(file) = &named {
        file.reveal();
    }
    match found {
        Ok(secret) => {
            if let Some(file) = source.file() {
                permissions::check_secret(value, file);
            }
            let mistake = match whitespace {
                Whitespace::Kept => secret.likely_mistake(),
                Whitespace::Trimmed => Secret::new(secret.expose().trim()).likely_mistake(),
            };
            if let Some([what, help]) = mistake {
                let message = format!("{} {what}", value.name());
                value.report.warning(&value.place, message, help);
            }
            Some((source, secret))
        }
        Err(error) => {
            let base = is_relative.then(|| files.base());
            let (message, help) = unreadable(&error, named.is_some(), base, files);
            value.error(&message, help);
            None
        }
    }
}

/// The name of a variable. What cannot be one may be the secret itself, and is not shown.
fn variable<'a>(value: &Value<'a>) -> Option<&'a str> {
    let name = value.text("the name of an environment variable")?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(is_part) {
        value.reveal();
    }
    Some(name)
}

/// The error in words. Of a variable the quoted line says the name, unless it is masked. A relative path has a `base`.
fn unreadable(
    error: &SecretError,
    is_shown: bool,
    base: Option<String>,
    files: &FileRules<'_>,
) -> (String, String) {
    match error {
        SecretError::File { path, reason } if !is_shown => {
            let what = if may_be_secret(Path::new(path)) {
                "what looks like base64"
            } else {
                "a word without \"/\""
            };
            let there = || Nowhere::of(Path::new(path)).map(|path| path.there);
            let as_path = match base {
                Some(base) => format!(", and as a path it starts at {base}"),
                None => there().map_or(String::new(), |there| {
                    format!(
                        ", and as a path it leads no further than {}",
                        there.display()
                    )
                }),
            };
            (
                format!("cannot be read from its file: {reason}"),
                format!(
                    "expected the path of a readable file; {what} may be the secret itself and is not repeated{as_path}"
                ),
            )
        }
        SecretError::File { path, reason } => (
            format!(
                "cannot be read from {}: {reason}",
                shown_of_secret(Path::new(path))
            ),
            format!(
                "expected a readable file; a relative path starts at {}",
                files.base()
            ),
        ),
        SecretError::Env(_) => (
            "names an environment variable that is not set".to_owned(),
            "set the variable, or name a file with `{ file = \"PATH\" }`".to_owned(),
        ),
        SecretError::Empty(_) => (
            "is empty".to_owned(),
            "expected a value of at least one character".to_owned(),
        ),
    }
}

/// A secret that the chosen method or grant needs. One that is written in the configuration itself is
/// warned about.
pub(super) fn need_secret<'a>(
    section: &Section<'a>,
    files: &FileRules<'_>,
    key: &'static Key<SecretText>,
) -> Option<(Value<'a>, SecretSource, Secret)> {
    let Some(value) = section.read(key) else {
        section.missing(key, key.kind.expected);
        return None;
    };
    let (source, secret) = read_own(&value, files, key.kind.whitespace)?;
    Some((value, source, secret))
}

/// The same of the keys of a caller, one in each line.
pub(super) fn read_keys(
    value: &Value<'_>,
    files: &FileRules<'_>,
) -> Option<(SecretSource, Secret)> {
    read_own(value, files, Whitespace::Trimmed)
}

fn read_own(
    value: &Value<'_>,
    files: &FileRules<'_>,
    whitespace: Whitespace,
) -> Option<(SecretSource, Secret)> {
    let (source, secret) = read(value, files, whitespace)?;
    if matches!(source, SecretSource::Literal(_)) {
        let message = format!("{} is written in the file itself", value.name());
        let help = "prefer `{ file = \"PATH\" }` or `{ env = \"NAME\" }`";
        value.report.warning(&value.place, message, help);
    }
    Some((source, secret))
}
