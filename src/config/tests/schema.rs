//! The schema says what the page of the configuration says: both are made of the same declarations, and what becomes
//! of them is compared here.

use serde_json::{Value, json};

use super::declared::tables;
use crate::config::schema;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The tables of the page, each with its name and the cells of its rows.
fn documented() -> Vec<(&'static str, Vec<Vec<&'static str>>)> {
    let tables = PAGE.split("<!-- table: ").skip(1).map(|rest| {
        let (name, rest) = rest.split_once(" -->\n").unwrap();
        let (rows, _) = rest.split_once("<!-- end of table -->").unwrap();
        let rows = rows.lines().skip(2);
        let rows = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
        (name, rows.collect())
    });
    tables.collect()
}

/// What stands in backticks at the start of a cell, as TOML has it.
fn written(cell: &str) -> Option<Value> {
    let (value, _) = cell.strip_prefix('`')?.split_once('`')?;
    let table: toml::Table = toml::from_str(&format!("key = {value}")).ok()?;
    serde_json::to_value(&table["key"]).ok()
}

/// The words of a cell such as `"a"`, `"b"` or `"c"`; none if it is something else.
fn words(cell: &str) -> Option<Vec<Value>> {
    let parts: Vec<_> = cell.split('`').collect();
    let is_between = |text: &&str| matches!(text.trim(), "" | "," | "or");
    let (words, between): (Vec<_>, Vec<_>) =
        parts.iter().enumerate().partition(|(at, _)| at % 2 == 1);
    let all_between = between.iter().all(|(_, text)| is_between(text));
    if words.is_empty() || !all_between {
        return None;
    }
    let value = |(_, word): (usize, &&str)| serde_json::from_str(word).ok();
    words.into_iter().map(value).collect()
}

#[test]
fn the_schema_has_the_keys_defaults_words_and_bounds_of_the_page() {
    let schema = schema();
    let (mut defaults, mut choices, mut ranges) = (0, 0, 0);
    let documented = documented();
    assert_eq!(documented.len(), tables().len());
    for (table, rows) in documented {
        let definition = &schema["$defs"][table];
        assert_eq!(definition["additionalProperties"], json!(false), "{table}");
        let properties = definition["properties"].as_object().unwrap();
        assert_eq!(properties.len(), rows.len(), "{table}");
        let mut required = Vec::new();
        for row in rows {
            let name = row[0].trim_matches('`');
            let property = &properties[name];
            let (form, default) = (row[1], row[2]);
            if default == "required" {
                required.push(name);
            }
            match written(default) {
                Some(value) if !is_said(default) => {
                    assert_eq!(property["default"], value, "{table}.{name}");
                    defaults += 1;
                }
                _ => assert!(property.get("default").is_none(), "{table}.{name}"),
            }
            if let Some(words) = words(form) {
                let expected = if words == [json!(true), json!(false)] {
                    assert_eq!(property["type"], "boolean", "{table}.{name}");
                    continue;
                } else {
                    json!(words)
                };
                assert_eq!(property["enum"], expected, "{table}.{name}");
                choices += 1;
            }
            if let Some(range) = form.strip_prefix("whole number, ") {
                let (least, most) = range.split_once(" to ").unwrap();
                assert_eq!(property["minimum"].to_string(), least, "{table}.{name}");
                assert_eq!(property["maximum"].to_string(), most, "{table}.{name}");
                ranges += 1;
            }
        }
        let stated = definition.get("required").cloned().unwrap_or(json!([]));
        assert_eq!(stated, json!(required), "{table}");
    }
    assert!(
        defaults > 100 && choices > 15 && ranges > 20,
        "{defaults} {choices} {ranges}"
    );
}

/// Whether a default is told in words that begin with a value: `"public"`, for redirected listeners `"any"`.
fn is_said(cell: &str) -> bool {
    let rest = cell.trim_start_matches('`').split_once('`');
    rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with("; required where"))
}

/// Calls `look` with every value within this one.
fn each(value: &Value, look: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                look(name, member);
                each(member, look);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| each(element, look)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_no_pattern_looks_around() {
    let schema = schema();
    let (mut references, mut patterns) = (0, 0);
    each(&schema, &mut |name, value| match (name, value) {
        ("$ref", Value::String(reference)) => {
            let target = reference.strip_prefix('#').unwrap();
            let target = schema.pointer(target);
            assert!(target.is_some_and(Value::is_object), "{reference}");
            references += 1;
        }
        ("pattern", Value::String(pattern)) => {
            assert!(pattern.starts_with("^(?:") && pattern.ends_with(")$"));
            for look in ["(?=", "(?!", "(?<"] {
                assert!(!pattern.contains(look), "{pattern}");
            }
            patterns += 1;
        }
        _ => {}
    });
    assert!(references > 80 && patterns > 40, "{references} {patterns}");
}

#[test]
fn every_key_has_a_description_without_links() {
    let schema = schema();
    let mut described = 0;
    for table in tables() {
        for key in table.keys() {
            let name = table.title.trim_matches(['[', ']']).replace(".NAME", "");
            let property = &schema["$defs"][&name]["properties"][key.name()];
            let description = property["description"].as_str().unwrap();
            assert!(!description.contains("]("), "{description}");
            described += 1;
        }
    }
    assert!(described > 200, "{described}");
}
