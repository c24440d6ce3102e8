//! The tables of `docs/configuration.md` are those of the declarations.
//!
//! `UPDATE_DOCS=1 cargo test --lib documented` writes them again.
//!
//! The table of limits in `docs/operations.md` is written by hand. Its values are those of the declarations.

use std::path::PathBuf;

use super::declared::tables;
use crate::config::declare::{Absent, ValueForm};
use crate::config::parse::units;
use crate::config::{ReferenceTable, reference};

const END: &str = "<!-- end of table -->";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")
}

/// The page with what stands between the marks of each table replaced by what is declared.
fn with_tables(mut page: String) -> String {
    for ReferenceTable { name, markdown } in reference() {
        let mark = format!("<!-- table: {name} -->\n");
        let start = page
            .find(&mark)
            .unwrap_or_else(|| panic!("{mark} is missing"))
            + mark.len();
        let end = start
            + page[start..]
                .find(END)
                .unwrap_or_else(|| panic!("{name} has no end"));
        page.replace_range(start..end, &markdown);
    }
    page
}

#[test]
fn every_key_is_documented_as_it_is_declared() {
    let written = std::fs::read_to_string(page()).unwrap();
    let generated = with_tables(written.clone());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), &generated).unwrap();
    } else {
        let differ = |(written, generated): &(&str, &str)| written != generated;
        if let Some((written, generated)) = written.lines().zip(generated.lines()).find(differ) {
            panic!(
                "docs/configuration.md is not what is declared, which \
                 `UPDATE_DOCS=1 cargo test --lib documented` mends:\n- {written}\n+ {generated}"
            );
        }
        assert_eq!(written.len(), generated.len());
    }
    let marks = generated.matches("<!-- table: ").count();
    assert_eq!(
        marks,
        reference().len(),
        "a table of the page is no table of keys"
    );
    assert_eq!(marks, generated.matches(END).count());
}

/// What a default is worth: a duration in nanoseconds, a size in bytes, or a plain number.
fn worth(text: &str) -> Option<(&'static str, u128)> {
    let text = text.trim_matches('"');
    if let Ok(number) = text.parse() {
        return Some(("", number));
    }
    let time = units::duration(text).map(|time| ("time", time.as_nanos()));
    time.or_else(|| Some(("bytes", units::size(text)? as u128)))
}

/// The default of a limit as it is declared: `Some` of a number, a duration or a size.
fn declared(path: &str) -> Option<(&'static str, u128)> {
    let (title, name) = path.rsplit_once('.').unwrap();
    let tables = tables();
    let table = tables
        .iter()
        .find(|table| table.title.trim_matches(['[', ']']) == title);
    let table = table.unwrap_or_else(|| panic!("there is no table of {path}"));
    let key = table.keys().find(|key| key.name() == name);
    let key = key.unwrap_or_else(|| panic!("there is no key {path}"));
    match (key.form(), key.absent()) {
        // What it limits has a number of its own.
        (ValueForm::Boolean | ValueForm::Table(_), _) => None,
        (_, Absent::Value(value)) => Some(worth(&value).unwrap_or_else(|| panic!("{path}"))),
        (_, absent) => panic!("{path} has no default: {absent}"),
    }
}

/// The value at the start of a cell, written for people: `10,000; more wait`, `64 KiB each`, `5 min`.
fn stated(cell: &str) -> Option<(&'static str, u128)> {
    let end = |c: char| !c.is_alphanumeric() && c != ',';
    let mut words = cell.split(end);
    let number = words.next()?.trim_matches(',').replace(',', "");
    let unit = match words.next().unwrap_or_default().trim_end_matches(',') {
        "min" => "m",
        unit => unit,
    };
    worth(&format!("{number}{unit}")).or_else(|| worth(&number))
}

/// The keys that a cell begins with and that alone fix the limit: those of ``half of `a.b` `` do not.
fn keys_of_limit(cell: &str) -> Vec<&str> {
    let first = cell.split(';').next().unwrap_or_default();
    let quoted = |word: &'_ str| word.len() > 2 && word.starts_with('`') && word.ends_with('`');
    let keys: Vec<_> = first.trim().split(", ").collect();
    if keys.iter().all(|key| quoted(key) && !key.contains(' ')) {
        keys.iter().map(|key| key.trim_matches('`')).collect()
    } else {
        Vec::new()
    }
}

#[test]
fn every_limit_is_documented_with_its_declared_default() {
    let operations = include_str!("../../../docs/operations.md");
    let (_, limits) = operations.split_once("\n## Limits").unwrap();
    let (limits, _) = limits.split_once("\n## ").unwrap();
    let rows = limits.lines().filter(|line| line.starts_with("| "));
    let mut compared = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, limit, keys] = cells[..] else {
            panic!("not three cells: {row}");
        };
        for key in keys_of_limit(keys) {
            if let Some(default) = declared(key) {
                assert_eq!(stated(limit), Some(default), "{key}, {what}: {limit}");
                compared += 1;
            }
        }
    }
    // As many as there are rows whose key is the limit itself.
    assert!(compared > 55, "{compared} limits");
}
