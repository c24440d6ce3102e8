//! `grant` and the keys that go with it.

use url::Url;

use super::draft::FileRules;
use super::keys::CREDENTIAL;
use super::only_with;
use super::read::Section;
use super::report::Expected;
use super::secret_source::need_secret;
use super::{Grant, SecretSource, SecurityToken};

/// What a client has been granted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum GrantKind {
    ClientCredentials,
    JwtBearer,
    TokenExchange,
}

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

/// RFC 8693 section 3
pub(super) fn token_type(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && Url::parse(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a URI such as {:?}", SecurityToken::JWT).into())
    }
}
