//! What keys have to do with each other, as schemas.

use serde_json::{Map, Value, json};

use super::super::declare::{Absent, Declared, Table, ValueForm};
use super::super::rules::{Condition, Rule};
use super::bounds::whole;

/// Of every choice which other keys belong to: what each of its words needs, and what it forbids.
pub(super) fn of_choices(table: &Table) -> Vec<Value> {
    let mut schemas = Vec::new();
    for selector in table.keys() {
        let belongs = |key: &&'static dyn Declared| {
            let only_with = key.only_with();
            only_with.is_some_and(|only_with| only_with.selector == selector.name())
        };
        let belonging: Vec<_> = table.keys().filter(belongs).collect();
        let ValueForm::Words(words) = selector.form() else {
            continue;
        };
        for word in words {
            let then = of_word(word, &belonging);
            if then != json!({}) {
                let when = Condition::Is(selector.name(), &[]);
                let mut when = of_condition(&when, table);
                when["properties"] = json!({ selector.name(): { "const": word } });
                if is_default(selector, word) {
                    when["required"] = json!([]);
                }
                schemas.push(json!({ "if": when, "then": then }));
            }
        }
    }
    schemas
}

/// What a word of a choice means for the keys that belong to the choice.
fn of_word(word: &str, belonging: &[&'static dyn Declared]) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<Value> = Vec::new();
    for key in belonging {
        let only_with = key.only_with();
        let is_chosen = only_with.is_some_and(|only_with| only_with.choices.contains(&word));
        let may_be_empty = matches!(key.form(), ValueForm::Text(_) | ValueForm::Secret { .. });
        if !is_chosen {
            let nothing = if may_be_empty {
                json!({ "const": "" })
            } else {
                json!(false)
            };
            properties.insert(key.name().to_owned(), nothing);
            continue;
        }
        if matches!(key.absent(), Absent::RequiredByChoice(_)) {
            required.push(key.name().into());
        }
        if matches!(key.form(), ValueForm::Secret { .. }) {
            properties.insert(key.name().to_owned(), json!({ "minLength": 1 }));
        }
    }
    let mut schema = json!({});
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// A rule of a table.
pub(super) fn of_rule(rule: &Rule, table: &Table) -> Value {
    let then = of_condition(&rule.then, table);
    let mut schema = match &rule.when {
        Condition::Always => then,
        when => json!({ "if": of_condition(when, table), "then": then }),
    };
    schema["description"] = rule.says.into();
    schema
}

fn of_condition(condition: &Condition, table: &Table) -> Value {
    let all = |conditions: &[Condition]| -> Value {
        let schemas = conditions.iter();
        let schemas: Vec<_> = schemas
            .map(|condition| of_condition(condition, table))
            .collect();
        schemas.into()
    };
    match condition {
        Condition::Always => json!({}),
        Condition::Written(key) => json!({ "required": [key] }),
        Condition::Says(key) => holding(key, json!({ "$ref": "#/$defs/something" })),
        Condition::On(key) => holding(key, json!({ "not": { "const": false } })),
        Condition::Is(key, words) => {
            let mut schema = holding(key, json!({ "enum": words }));
            let selector = table.keys().find(|declared| declared.name() == *key);
            let by_default = |declared: &dyn Declared| {
                let mut words = words.iter();
                words.any(|word| is_default(declared, word))
            };
            if selector.is_some_and(by_default) {
                schema["required"] = json!([]);
            }
            schema
        }
        Condition::Matches(key, pattern) => {
            let pattern = whole(pattern.unwrap_or(r"[\s\S]*"));
            holding(key, json!({ "type": "string", "pattern": pattern }))
        }
        Condition::Within(key, condition) => {
            let inner = table.keys().find(|declared| declared.name() == *key);
            let inner = inner.and_then(|declared| declared.form().table());
            let schema = inner.map_or(json!(false), |inner| of_condition(condition, inner));
            holding(key, schema)
        }
        Condition::Not(condition) => json!({ "not": of_condition(condition, table) }),
        Condition::Any(conditions) => json!({ "anyOf": all(conditions) }),
        Condition::All(conditions) => json!({ "allOf": all(conditions) }),
    }
}

/// The key is there, and holds this.
fn holding(key: &str, schema: Value) -> Value {
    json!({ "properties": { key: schema }, "required": [key] })
}

/// Whether the choice is this word where nothing is chosen.
fn is_default(key: &dyn Declared, word: &str) -> bool {
    matches!(key.absent(), Absent::Value(value) if value.trim_matches('"') == word)
}
