//! What is declared of the keys holds when they are read.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::config::Config;
use crate::config::declare::{Absent, OnlyWith, Table, ValueForm};
use crate::config::keys::ROOT_TABLE;

/// Every table that a configuration may have.
pub(super) fn tables() -> Vec<&'static Table> {
    fn within(table: &Table, tables: &mut Vec<&'static Table>) {
        for inner in table.keys().filter_map(|key| key.form().table()) {
            tables.push(inner);
            within(inner, tables);
        }
    }
    let mut tables = Vec::new();
    within(&ROOT_TABLE, &mut tables);
    tables
}

/// A configuration with each table, which holds no more than it needs.
const NEEDED: [(&str, &str); 12] = [
    ("[server]", ""),
    ("[log]", ""),
    ("[admin]", ""),
    ("[health]", "address = \"127.0.0.1:7091\"\n"),
    ("[[listeners]]", "address = \"unix:app.sock\"\n"),
    ("[[routes]]", "upstream = \"crm\"\n"),
    ("[egress]", ""),
    ("[[egress.rules]]", "hosts = [\"example.org\"]\n"),
    (
        "[upstreams.NAME]",
        "url = \"https://crm.example.com\"\ncredential = \"crm\"\n",
    ),
    ("[upstreams.NAME.tls]", ""),
    (
        "[credentials.NAME]",
        "issuer = \"https://login.example.com\"\nclient_id = \"a\"\nclient_secret = { file = \"secret\" }\n",
    ),
    ("[credentials.NAME.tls]", ""),
];

/// Every key of the table that has a default which can be written, with just that.
fn defaults(title: &str) -> String {
    let tables = tables();
    let table = tables.iter().find(|table| table.title == title).unwrap();
    let mut text = String::new();
    for key in table.keys().filter(|key| key.only_with().is_none()) {
        if let Absent::Value(value) = key.absent() {
            writeln!(text, "{} = {value}", key.name()).unwrap();
        }
    }
    text
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let directory = directory(&[]);
    let load = |with: fn(&str) -> String| -> Config {
        let mut text = String::new();
        for (title, needed) in NEEDED {
            text += &format!(
                "{}\n{needed}{}\n",
                title.replace("NAME", "crm"),
                with(title)
            );
        }
        let path = directory.path().join("sidebearer.toml");
        std::fs::write(&path, &text).unwrap();
        let loaded = load(&path).unwrap_or_else(|refused| panic!("{refused}"));
        loaded.config
    };
    assert_eq!(NEEDED.len(), tables().len());
    assert!(defaults("[server]").lines().count() > 20);
    assert_eq!(load(defaults), load(|_| String::new()));
}

#[test]
fn a_key_belongs_to_choices_that_there_are() {
    let mut belonging = 0;
    for table in tables() {
        for OnlyWith { selector, choices } in table.keys().filter_map(|key| key.only_with()) {
            let selector = table.keys().find(|key| key.name() == selector).unwrap();
            let ValueForm::Words(words) = selector.form() else {
                panic!("{} is no choice", selector.name());
            };
            assert!(choices.iter().all(|choice| words.contains(choice)));
            belonging += 1;
        }
    }
    assert!(belonging > 10, "{belonging}");
}

#[test]
fn each_key_of_a_table_has_a_name_of_its_own() {
    for table in tables() {
        let names: BTreeSet<_> = table.keys().map(|key| key.name()).collect();
        assert_eq!(names.len(), table.keys().count(), "{}", table.title);
    }
}
