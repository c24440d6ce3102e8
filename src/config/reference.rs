//! The reference of all keys, in the form that the documentation has.

use std::fmt::Write;

use super::declare::{Declared, Table};
use super::keys;

/// One table of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceTable {
    /// Its name: the header of the table in the configuration without brackets and `NAME`.
    pub name: String,
    /// Its rows in Markdown, one for each key.
    pub markdown: String,
}

/// Every table that a configuration may have, with every key: its type, its default, its meaning.
pub fn reference() -> Vec<ReferenceTable> {
    let mut tables = Vec::new();
    within(&keys::ROOT_TABLE, &mut tables);
    tables
}

/// Adds the tables that stand within this one.
fn within(table: &Table, tables: &mut Vec<ReferenceTable>) {
    for inner in table.keys().filter_map(|key| key.form().table()) {
        // One that stands in several places is shown once.
        let inner_table = of_table(inner);
        if !tables.contains(&inner_table) {
            tables.push(inner_table);
        }
        within(inner, tables);
    }
}

fn of_table(table: &Table) -> ReferenceTable {
    let name = table.title.trim_matches(['[', ']']).replace(".NAME", "");
    let mut markdown = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for key in table.keys() {
        markdown += &row(key);
    }
    ReferenceTable { name, markdown }
}

fn row(key: &dyn Declared) -> String {
    let mut meaning = key.meaning();
    if let Some(only_with) = key.only_with() {
        // Writing into a string cannot fail.
        let _ = write!(meaning, " {only_with}");
    }
    let (name, form, absent) = (key.name(), key.form(), key.absent());
    format!("| `{name}` | {form} | {absent} | {meaning} |\n")
}
