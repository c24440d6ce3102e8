//! What a key may hold, as a schema.

use serde_json::{Value, json};

use super::super::declare::{
    Absent, Declared, ElementForm, ListForm, NameForm, Table, TextForm, ValueForm,
};
use super::super::keys::SECRET_SOURCE_TABLE;
use super::super::parse::syntax::Except;
use super::Definitions;
use super::bounds::{self, Bounded, whole};

impl Definitions {
    /// What the key may hold.
    pub(super) fn of_value(&mut self, key: &'static dyn Declared) -> Value {
        match key.form() {
            ValueForm::Boolean => json!({ "type": "boolean" }),
            ValueForm::BooleanOr(word) => json!({ "enum": [true, false, word] }),
            ValueForm::Integer { least, most } => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            ValueForm::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            ValueForm::Duration { least, most } => {
                let name = format!("duration_from_{least}_to_{most}");
                self.bounded(name, || bounds::duration(least, most))
            }
            ValueForm::Seconds { most } => {
                let name = format!("whole_seconds_from_1s_to_{most}s");
                self.bounded(name, || bounds::seconds(most))
            }
            ValueForm::Size { least, most } => {
                let name = format!("size_from_{least}_to_{most}");
                self.bounded(name, || bounds::size(least, most))
            }
            ValueForm::Words(words) => json!({ "type": "string", "enum": words }),
            ValueForm::Text(text) => self.text(&text, matches!(key.absent(), Absent::Required)),
            ValueForm::List(list) => self.list(&list),
            // Where it does not belong to the choice, an empty string is as good as absent.
            ValueForm::Secret { empty_is_absent } => {
                self.secret(empty_is_absent || key.only_with().is_some())
            }
            ValueForm::Secrets(names) => {
                let secret = self.secret(false);
                self.by_name(&names, secret)
            }
            ValueForm::Texts(names) => {
                self.by_name(&names, json!({ "type": "string", "minLength": 1 }))
            }
            ValueForm::Table(table) => self.of_table(table),
            ValueForm::Tables(table) => {
                json!({ "type": "array", "items": self.of_table(table) })
            }
            ValueForm::NamedTables(table, names) => self.tables_by_name(table, &names),
        }
    }

    /// What is beyond the bounds has a name, since editors tell of it.
    fn bounded(&mut self, name: String, make: impl FnOnce() -> Bounded) -> Value {
        let beyond_name = format!("not_a_{name}");
        self.refer(name, |definitions| {
            let Bounded { form, beyond } = make();
            let beyond = definitions.refer(beyond_name, |_| json!({ "pattern": whole(&beyond) }));
            json!({ "type": "string", "pattern": whole(form), "not": beyond })
        })
    }

    fn tables_by_name(&mut self, table: &'static Table, names: &NameForm) -> Value {
        let table_schema = self.of_table(table);
        let mut schema = self.by_name(names, table_schema);
        if let Some(every) = &names.every {
            schema["properties"] = json!({ every.name: self.of_every(table, every) });
        }
        schema
    }

    fn secret(&mut self, empty_is_absent: bool) -> Value {
        let (name, least) = if empty_is_absent {
            ("secret_or_nothing", 0)
        } else {
            ("secret", 1)
        };
        self.refer(name.to_owned(), |definitions| {
            let source = definitions.of_table(&SECRET_SOURCE_TABLE);
            json!({ "anyOf": [{ "type": "string", "minLength": least }, source] })
        })
    }

    fn text(&mut self, text: &TextForm, required: bool) -> Value {
        let mut schema = json!({ "type": "string" });
        let may_be_empty = text.empty_is_absent && !required;
        match text.pattern {
            Some(pattern) if may_be_empty => schema["pattern"] = whole(&format!("(?:{pattern})?")),
            Some(pattern) => schema["pattern"] = whole(pattern),
            None if text.empty_is_absent == may_be_empty && text.or_number.is_none() => {}
            None => schema["minLength"] = 1.into(),
        }
        if let Some(except) = text.except {
            schema["not"] = self.except(except);
        }
        if let Some(most) = text.or_number {
            schema["type"] = json!(["string", "integer"]);
            schema["minimum"] = 0.into();
            schema["maximum"] = most.into();
        }
        schema
    }

    fn list(&mut self, list: &ListForm) -> Value {
        let items = match list.elements {
            ElementForm::Text(pattern, except) => {
                let mut items = json!({ "type": "string" });
                if let Some(pattern) = pattern {
                    items["pattern"] = whole(pattern);
                }
                if let Some(except) = except {
                    items["not"] = self.except(except);
                }
                items
            }
            ElementForm::Port => json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
        };
        let mut schema = json!({ "type": "array", "items": items });
        if !list.may_be_empty {
            schema["minItems"] = 1.into();
        }
        if let Some(every) = list.every {
            schema["if"] = json!({ "contains": { "const": every } });
            schema["then"] = json!({ "maxItems": 1 });
        }
        schema
    }

    /// What is refused has a name, since editors tell of it.
    fn except(&mut self, except: Except) -> Value {
        self.refer(
            except.name.to_owned(),
            |_| json!({ "pattern": whole(&(except.pattern)()) }),
        )
    }

    fn by_name(&mut self, names: &NameForm, value: Value) -> Value {
        let mut schema = json!({ "type": "object", "additionalProperties": value });
        let mut name = json!({});
        if let Some(pattern) = names.pattern {
            name["pattern"] = whole(pattern);
        }
        let taken = (!names.taken.is_empty()).then(|| json!({ "enum": names.taken }));
        let except = names.except.map(|except| self.except(except));
        let refused: Vec<_> = taken.into_iter().chain(except).collect();
        match refused.as_slice() {
            [] => {}
            [one] => name["not"] = one.clone(),
            all => name["not"] = json!({ "anyOf": all }),
        }
        if name != json!({}) {
            schema["propertyNames"] = name;
        }
        schema
    }
}
