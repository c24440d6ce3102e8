//! What is declared of the keys holds when they are read.

use std::collections::BTreeSet;

use super::*;
use crate::config::Config;
use crate::config::declare::{Absent, Declared, OnlyWith, Table, ValueForm};
use crate::config::keys::ROOT_TABLE;

/// Every table that a configuration may have.
pub(super) fn tables() -> Vec<&'static Table> {
    fn within(table: &Table, tables: &mut Vec<&'static Table>) {
        for inner in table.keys().filter_map(|key| key.form().table()) {
            // One may stand in several places.
            if !tables.iter().any(|known| std::ptr::eq(*known, inner)) {
                tables.push(inner);
            }
            within(inner, tables);
        }
    }
    let mut tables = Vec::new();
    within(&ROOT_TABLE, &mut tables);
    tables
}

/// A configuration with each table, which holds no more than it needs.
const NEEDED: [(&str, &str); 21] = [
    ("[server]", ""),
    ("[log]", ""),
    ("[admin]", ""),
    ("[health]", "address = \"127.0.0.1:7091\"\n"),
    ("[[listeners]]", "address = \"unix:app.sock\"\n"),
    (
        "[listeners.tls]",
        "certificate_file = \"server.pem\"\nkey_file = \"server.key\"\nclient_ca_file = \"clients.pem\"\nclient_crl_file = \"clients.crl\"\n",
    ),
    (
        "[[listeners.certificates]]",
        "certificate_file = \"server.pem\"\nkey_file = \"server.key\"\n",
    ),
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
    ("[callers.NAME]", "user = 1\n"),
    (
        "[callers.NAME.token]",
        "issuer = \"https://login.example.com\"\naudience = \"sidebearer\"\n",
    ),
    ("[callers.NAME.limits]", ""),
    ("[interception]", "domains = [\"example.com\"]\n"),
    ("[kubernetes]", ""),
    ("[audit]", "file = \"stdout\"\n"),
    ("[tracing]", "endpoint = \"http://127.0.0.1:4318\"\n"),
];

/// A unix socket speaks no TLS.
const TLS_LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:7443\"\n";

/// What a table needs in addition to a choice.
fn needed_with(choice: &str) -> &'static str {
    match choice {
        "token-exchange" => {
            "subject_token = { file = \"secret\" }\nactor_token = { file = \"secret\" }\n"
        }
        _ => "",
    }
}

/// The key with the default that it is declared with, if that can be written.
fn written_default(key: &dyn Declared) -> Option<String> {
    match key.absent() {
        Absent::Value(value) | Absent::ValueOrRequired { value, .. } => {
            Some(format!("{} = {value}\n", key.name()))
        }
        Absent::Required | Absent::RequiredByChoice(_) | Absent::Words(_) => None,
    }
}

/// Of a listener, what has no effect without TLS.
const WITH_TLS: [&str; 2] = ["handshake_timeout", "max_handshakes"];

/// What belongs to another key whose own default is another.
const BESIDE_ANOTHER: &str = "review_grace";

/// Every key of the table that has a default which can be written, with just that; but those that belong
/// to a choice, or to another key. `TLS_LISTENER` stands for the keys of a listener that need TLS.
fn defaults(title: &str) -> String {
    let tables = tables();
    let has_tls = title == TLS_LISTENER;
    let title = if has_tls { "[[listeners]]" } else { title };
    let table = tables.iter().find(|table| table.title == title).unwrap();
    let keys = table.keys().filter(|key| key.only_with().is_none());
    let keys = keys.filter(|key| has_tls == WITH_TLS.contains(&key.name()));
    let keys = keys.filter(|key| key.name() != BESIDE_ANOTHER);
    keys.filter_map(written_default).collect()
}

/// The configuration with each table, to which `with` adds.
fn with_each_table(directory: &TempDir, with: impl Fn(&str) -> String) -> Config {
    let mut text = String::new();
    for (title, needed) in NEEDED {
        let more = with(title);
        if title == "[listeners.tls]" {
            text += TLS_LISTENER;
            text += &with(TLS_LISTENER);
        }
        // Nothing is redirected to a unix socket.
        let needed = if more.contains("\"redirected\"") {
            needed.replace("unix:app.sock", "127.0.0.1:15001")
        } else {
            needed.to_owned()
        };
        text += &format!("{}\n{needed}{more}\n", title.replace("NAME", "crm"));
    }
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(&path, &text).unwrap();
    let loaded = load(&path).unwrap_or_else(|refused| panic!("{refused}"));
    loaded.config
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    assert_eq!(NEEDED.len(), tables().len());
    assert!(defaults("[server]").lines().count() > 20);
    let directory = directory(&[]);
    add_certificate(&directory);
    let unwritten = with_each_table(&directory, |_| String::new());
    assert_eq!(with_each_table(&directory, defaults), unwritten);
}

#[test]
fn a_default_that_belongs_to_a_choice_changes_nothing_either() {
    let directory = directory(&[]);
    add_certificate(&directory);
    let mut compared = 0;
    for table in tables() {
        for key in table.keys() {
            let (Some(only_with), Some(default)) = (key.only_with(), written_default(key)) else {
                continue;
            };
            for choice in only_with.choices {
                let chosen = format!("{} = \"{choice}\"\n", only_with.selector);
                let chosen = chosen + needed_with(choice);
                let load = |more: &str| {
                    with_each_table(&directory, |title| {
                        let is_chosen = title == table.title;
                        if is_chosen {
                            format!("{chosen}{more}")
                        } else {
                            String::new()
                        }
                    })
                };
                assert_eq!(load(&default), load(""), "{default}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 6, "{compared}");
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
