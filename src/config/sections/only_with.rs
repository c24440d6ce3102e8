//! Keys that have a meaning only together with a choice made elsewhere.

use super::super::declare::{Declared, TextForm, ValueForm};
use super::super::read::{Key, Section};
use super::super::words::one_of;

/// Reports every key of the table that is declared to belong to other choices of `selector` than
/// the one that was made: it would look as if it counted. Nothing is said while the choice itself is
/// a mistake.
pub(super) fn check<K>(section: &Section<'_>, selector: &Key<K>, chosen: Option<&str>) {
    let Some(chosen) = chosen else { return };
    let selector = selector.name;
    for key in section.declared_keys() {
        let Some(belongs) = key.only_with().filter(|only| only.selector == selector) else {
            continue;
        };
        let Some(value) = section.value(key.name()) else {
            continue;
        };
        if belongs.choices.contains(&chosen) || value.is_empty() && may_be_empty(key) {
            continue;
        }
        let message = format!("does not belong to `{selector} = \"{chosen}\"`");
        let help = format!("it belongs to {}", one_of(belongs.choices, '"'));
        value.error(&message, help);
    }
}

/// Whether an empty string is as good as leaving the key out.
fn may_be_empty(key: &dyn Declared) -> bool {
    match key.form() {
        ValueForm::Text(TextForm {
            empty_is_absent, ..
        }) => empty_is_absent,
        ValueForm::Secret { .. } => true,
        _ => false,
    }
}
