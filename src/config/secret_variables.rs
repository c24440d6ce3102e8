//! The environment variables that configuration files read secrets from, whoever needs the secrets.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::declare::{Table, ValueForm};
use super::keys::SECRET_SOURCE;

/// Adds the variables that a table of these keys names. It goes by the declarations, so that no key can be forgotten, not
/// even one of a part that is not used or not read.
pub(super) fn collect(keys: &Table, values: &DeTable<'_>, variables: &mut BTreeSet<String>) {
    for key in keys.keys() {
        let Some(value) = values.get(key.name()) else {
            continue;
        };
        let value = value.get_ref();
        match key.form() {
            ValueForm::Secret { .. } => add(value, variables),
            ValueForm::Secrets(_) => each_of(value, |value| add(value, variables)),
            ValueForm::Table(table) => within(table, value, variables),
            ValueForm::NamedTables(table, _) => {
                each_of(value, |value| within(table, value, variables));
            }
            ValueForm::Tables(table) => {
                let elements = value.as_array().into_iter().flatten();
                elements.for_each(|element| within(table, element.get_ref(), variables));
            }
            _ => {}
        }
    }
}

fn within(keys: &Table, value: &DeValue<'_>, variables: &mut BTreeSet<String>) {
    if let Some(values) = value.as_table() {
        collect(keys, values, variables);
    }
}

fn each_of(value: &DeValue<'_>, mut take: impl FnMut(&DeValue<'_>)) {
    let values = value
        .as_table()
        .into_iter()
        .flat_map(|table| table.values());
    values.for_each(|value| take(value.get_ref()));
}

fn add(source: &DeValue<'_>, variables: &mut BTreeSet<String>) {
    let name = source
        .as_table()
        .and_then(|source| source.get(SECRET_SOURCE.env.name));
    let name = name.and_then(|name| name.get_ref().as_str());
    variables.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
}
