//! `grant` and the keys that go with it.

use url::Url;

use super::belonging::{self, Belongings};
use super::draft::Files;
use super::read::Section;
use super::report::Expected;
use super::sources::need_key_or_token;
use super::{Grant, SecretSource, SecurityToken};

const GRANTS: [(&str, Kind); 3] = [
    ("client_credentials", Kind::ClientCredentials),
    ("jwt-bearer", Kind::JwtBearer),
    ("token-exchange", Kind::TokenExchange),
];

const KEYS: Belongings<'_> = &[
    ("assertion", &["jwt-bearer"]),
    ("subject_token", &["token-exchange"]),
    ("subject_token_type", &["token-exchange"]),
    ("actor_token", &["token-exchange"]),
    ("actor_token_type", &["token-exchange"]),
    ("requested_token_type", &["token-exchange"]),
];

const JWT_FILE: &str = "`{ file = \"PATH\" }` of a JWT";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ClientCredentials,
    JwtBearer,
    TokenExchange,
}

/// Reads the grant.
pub(super) fn read(section: &Section<'_>, files: &Files<'_>) -> Option<Grant> {
    let choices = GRANTS.map(|(name, kind)| (name, Some(kind)));
    let kind = match section.has("grant") {
        true => section.choice("grant", None, &choices),
        false => Some(Kind::ClientCredentials),
    };
    let chosen = GRANTS.iter().find(|(_, other)| Some(*other) == kind);
    let chosen = chosen.map(|(name, _)| *name);
    belonging::check(section, "grant", chosen, KEYS);
    let need = |key, expected| -> Option<SecretSource> {
        let found = need_key_or_token(section, files, key, expected);
        found.map(|(_, source, _)| source)
    };
    let token = |key, type_key| {
        let token_type = section.parse(type_key, token_type);
        Some(SecurityToken {
            token: need(key, "`{ file = \"PATH\" }` of a token")?,
            token_type: token_type.unwrap_or_else(|| SecurityToken::JWT.to_owned()),
        })
    };
    Some(match kind? {
        Kind::ClientCredentials => Grant::ClientCredentials,
        Kind::JwtBearer => Grant::JwtBearer {
            assertion: need("assertion", JWT_FILE)?,
        },
        Kind::TokenExchange => {
            let subject = token("subject_token", "subject_token_type");
            let acts = section.has("actor_token") || section.has("actor_token_type");
            let actor = acts.then(|| token("actor_token", "actor_token_type"));
            let requested_token_type = section.parse("requested_token_type", token_type);
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
fn token_type(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    match visible && Url::parse(text).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(format!("expected a URI such as {:?}", SecurityToken::JWT).into()),
    }
}
