//! The JSON Schema (2020-12) of the configuration, for editors. It is made of the declarations that the reader goes by.
//!
//! It says of one file what can be said without other files: names that must exist, secrets and certificates, and what
//! lies across tables are known to the reader alone. What it refuses, the reader refuses.

mod bounds;
mod conditions;
mod values;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::declare::{Absent, Declared, EveryName, Table};
use super::keys::ROOT_TABLE;

/// The schema of one file of a configuration.
pub fn schema() -> Value {
    let mut definitions = Definitions::default();
    let something = json!({ "not": { "enum": ["", [], {}] } });
    definitions.0.insert("something".to_owned(), something);
    let mut schema = definitions.of_keys(&ROOT_TABLE);
    let version = env!("CARGO_PKG_VERSION");
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:sidebearer:config.schema:{version}"),
        "title": format!("Configuration of sidebearer {version}"),
        "description": "One file of a configuration, which may be all of it. `sidebearer check` knows more: names that have \
                        to exist, what secrets and certificates hold, and what lies across tables and files.",
        "$defs": Value::Object(definitions.0.into_iter().collect()),
    });
    add(&mut schema, whole);
    Value::Object(schema)
}

/// Schemas that others refer to, by name.
#[derive(Default)]
struct Definitions(BTreeMap<String, Value>);

impl Definitions {
    /// Refers to a definition, which is made if there is none of this name.
    fn refer(&mut self, name: String, make: impl FnOnce(&mut Self) -> Value) -> Value {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if !self.0.contains_key(&name) {
            // Whatever stands within it may refer to it.
            self.0.insert(name.clone(), Value::Null);
            let made = make(self);
            self.0.insert(name, made);
        }
        reference
    }

    /// Refers to the schema of a table.
    fn of_table(&mut self, table: &'static Table) -> Value {
        self.refer(name_of(table), |definitions| {
            let mut schema = definitions.of_keys(table);
            schema.insert("title".to_owned(), table.title.into());
            Value::Object(schema)
        })
    }

    /// The schema of a table.
    fn of_keys(&mut self, table: &'static Table) -> Map<String, Value> {
        let mut rules = conditions::of_choices(table);
        rules.extend(table.rules().map(|rule| conditions::of_rule(rule, table)));
        self.of(table.keys().collect(), rules)
    }

    /// The schema of the table that stands for all others.
    fn of_every(&mut self, table: &'static Table, every: &EveryName) -> Value {
        let keys = table.keys().filter(|key| every.keys.contains(&key.name()));
        let rules = every.rules.iter();
        let rules = rules.map(|rule| conditions::of_rule(rule, table));
        Value::Object(self.of(keys.collect(), rules.collect()))
    }

    fn of(&mut self, keys: Vec<&'static dyn Declared>, rules: Vec<Value>) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required: Vec<Value> = Vec::new();
        for key in keys {
            if matches!(key.absent(), Absent::Required) {
                required.push(key.name().into());
            }
            properties.insert(key.name().to_owned(), self.of_key(key));
        }
        let mut schema = Map::new();
        add(
            &mut schema,
            json!({ "type": "object", "properties": properties, "additionalProperties": false }),
        );
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        if !rules.is_empty() {
            schema.insert("allOf".to_owned(), rules.into());
        }
        schema
    }

    fn of_key(&mut self, key: &'static dyn Declared) -> Value {
        let mut schema = self.of_value(key);
        let described = json!({ "description": describe(key) });
        if let Some(schema) = schema.as_object_mut() {
            add(schema, described);
            if let Some(default) = written_default(&key.absent()) {
                schema.insert("default".to_owned(), default);
            }
        }
        schema
    }
}

/// Adds the members of an object to another one.
fn add(to: &mut Map<String, Value>, object: Value) {
    if let Value::Object(object) = object {
        to.extend(object);
    }
}

/// `upstreams.tls` for `[upstreams.NAME.tls]`
fn name_of(table: &Table) -> String {
    let title = table.title.trim_matches(['[', ']']).replace(".NAME", "");
    let words = title.split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("_")
}

/// What holds without a key, if that can be written.
fn written_default(absent: &Absent) -> Option<Value> {
    let (Absent::Value(value) | Absent::ValueOrRequired { value, .. }) = absent else {
        return None;
    };
    let written: toml::Table = toml::from_str(&format!("key = {value}")).ok()?;
    serde_json::to_value(written.get("key")?).ok()
}

/// What the documentation says of a key, with links only where they lead somewhere.
fn describe(key: &dyn Declared) -> String {
    let mut text = without_links(&key.meaning());
    if let Some(only_with) = key.only_with() {
        text += &format!(" {only_with}");
    }
    let form = key.form();
    if form.table().is_none() {
        text += &format!("\n\nType: {form}.");
    }
    let without = match key.absent() {
        Absent::Required => "Required.".to_owned(),
        absent if form.table().is_some() && matches!(absent, Absent::Words(_)) => return text,
        absent => format!("Without it: {absent}."),
    };
    let before = if form.table().is_some() { "\n\n" } else { " " };
    text + before + &without
}

/// Markdown with the texts of links in place of the links.
fn without_links(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text += before;
        rest = match link.split_once("](") {
            Some((shown, after)) if !shown.contains(['[', ']']) => {
                text += shown;
                after.split_once(')').map_or("", |(_, after)| after)
            }
            _ => {
                text.push('[');
                link
            }
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_description_are_their_texts() {
        assert_eq!(
            without_links("See [windows](#http2-windows) in `[server]`, [a](b.md#c)."),
            "See windows in `[server]`, a."
        );
    }
}
