//! `dpop` and the key that goes with it.

use super::draft::Files;
use super::read::Section;
use super::sources::need_key_or_token;
use super::{Dpop, SecretSource};
use crate::dpop::ProofKey;

/// Reads whether tokens are bound to a key; nothing at all after a mistake.
pub(super) fn read(section: &Section<'_>, files: &Files<'_>) -> Option<Option<Dpop>> {
    let required = match section.get("dpop") {
        Some(value) => match value.boolean() {
            Some(dpop) => dpop.then_some(true),
            None => {
                const EXPECTED: &str = "true, false or \"optional\"";
                let optional = value.text(EXPECTED)? == "optional";
                let expected = || format!("expected {EXPECTED}").into();
                Some(value.check(optional.then_some(false).ok_or_else(expected))?)
            }
        },
        None => None,
    };
    let Some(value) = section.get("dpop_key").filter(|value| !value.is_empty()) else {
        return Some(required.map(|required| Dpop {
            required,
            key: None,
        }));
    };
    let Some(required) = required else {
        value.error(
            "has no effect",
            "it belongs to `dpop = true` or `dpop = \"optional\"`",
        );
        return None;
    };
    let key = key(section, files)?;
    Some(Some(Dpop {
        required,
        key: Some(key),
    }))
}

fn key(section: &Section<'_>, files: &Files<'_>) -> Option<SecretSource> {
    let expected = "`{ file = \"PATH\" }` of a PEM or JWK file";
    let (value, source, text) = need_key_or_token(section, files, "dpop_key", expected)?;
    let read = ProofKey::read(text.expose()).map_err(|e| match source.file() {
        Some(file) => format!("{}: {e}", file.path().display()).into(),
        None => e.to_string().into(),
    });
    value.check(read)?;
    Some(source)
}
