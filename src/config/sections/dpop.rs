//! Reads `dpop` and the key that goes with it.

use super::super::file_rules::FileRules;
use super::super::keys::CREDENTIAL;
use super::super::kinds::Chosen;
use super::super::read::Section;
use super::super::settings::{Dpop, SecretSource};
use super::secret_source::need_secret;
use crate::dpop::ProofKey;

/// Reads whether tokens are bound to a key; nothing at all after a mistake.
pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Option<Dpop>> {
    let required = match section.read(&CREDENTIAL.dpop)? {
        Chosen::Flag(dpop) => dpop.then_some(true),
        Chosen::Word => Some(false),
    };
    let written = section.written(&CREDENTIAL.dpop_key);
    let Some(value) = written.filter(|value| !value.is_empty()) else {
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

fn key(section: &Section<'_>, files: &FileRules<'_>) -> Option<SecretSource> {
    let (value, source, text) = need_secret(section, files, &CREDENTIAL.dpop_key)?;
    let read = ProofKey::read(text.expose()).map_err(|e| match source.file() {
        Some(file) => format!("{}: {e}", file.path().display()).into(),
        None => e.to_string().into(),
    });
    value.check(read)?;
    Some(source)
}
