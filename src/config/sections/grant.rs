//! Reads `grant` and the keys that go with it.

use super::super::file_rules::FileRules;
use super::super::keys::{CREDENTIAL, GrantKind};
use super::super::read::Section;
use super::super::settings::{Grant, SecretSource, SecurityToken};
use super::only_with;
use super::secret_source::need_secret;

/// Reads the grant.
pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Grant> {
    let (name, kind) = section.choose(&CREDENTIAL.grant, |_| true).unzip();
    only_with::check(section, &CREDENTIAL.grant, name);
    let need = |key| -> Option<SecretSource> {
        let found = need_secret(section, files, key);
        found.map(|(_, source, _)| source)
    };
    let token = |key, type_key| {
        let token_type = section.read(type_key);
        Some(SecurityToken {
            token: need(key)?,
            token_type: token_type?,
        })
    };
    Some(match kind? {
        GrantKind::ClientCredentials => Grant::ClientCredentials,
        GrantKind::JwtBearer => Grant::JwtBearer {
            assertion: need(&CREDENTIAL.assertion)?,
        },
        GrantKind::TokenExchange => {
            let subject = token(&CREDENTIAL.subject_token, &CREDENTIAL.subject_token_type);
            let acts =
                section.has(&CREDENTIAL.actor_token) || section.has(&CREDENTIAL.actor_token_type);
            let actor = acts.then(|| token(&CREDENTIAL.actor_token, &CREDENTIAL.actor_token_type));
            let requested_token_type = section.read(&CREDENTIAL.requested_token_type);
            Grant::TokenExchange {
                subject: subject?,
                actor: match actor {
                    Some(actor) => Some(actor?),
                    None => None,
                },
                requested_token_type,
            }
        }
    })
}
