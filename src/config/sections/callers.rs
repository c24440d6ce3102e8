//! Reads `[callers.NAME]`, and the lists of callers of other tables.

use std::collections::BTreeMap;

use super::super::draft::{Draft, NameUse};
use super::super::file_rules::FileRules;
use super::super::keys::{CALLER, CALLER_TOKEN, CHECKED_CLAIMS, OF_EVERY_CALLER};
use super::super::kinds::List;
use super::super::parse::address::{http_url, is_loopback};
use super::super::parse::caller::caller_name;
use super::super::permissions;
use super::super::read::{Key, Section};
use super::super::report::{Expected, SourceSpan};
use super::super::settings::caller::EVERY_CALLER;
use super::super::settings::file::shown;
use super::super::settings::{
    Caller, CallerList, CallerToken, IssuerKeys, Limits, NamedFile, Secret, SecretSource, Tls,
    TokenIssuer,
};
use super::super::value::Value;
use super::super::words::QuotedWord;
use super::secret_source::read_keys;
use super::{limits, user};

/// What identifies a caller.
const MEANS: &str =
    "one of `spiffe_id`, `certificate_name`, `service_account`, `token`, `user` and `key`";

/// Reads one caller; `None` after a mistake.
pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    files: &FileRules<'_>,
    draft: &mut Draft,
) -> Option<Caller> {
    if let Err(help) = caller_name(name) {
        let message = format!("invalid name of caller {}", QuotedWord(name));
        section.report.error(&section.place, message, help);
    }
    let before = section.report.errors();
    let key = read_key(section, files);
    if let Some((_, secret)) = &key {
        draft.caller_keys.push((name.to_owned(), secret.clone()));
    }
    let caller = Caller {
        name: name.to_owned(),
        spiffe_id: section.read(&CALLER.spiffe_id),
        certificate_name: section.read(&CALLER.certificate_name),
        service_account: section.read(&CALLER.service_account),
        token: read_token(section, files, draft).map(Box::new),
        user: section
            .read(&CALLER.user)
            .and_then(|value| user::read(&value)),
        key: key.map(|(source, _)| source),
        limits: Limits::read(section, &CALLER.limits),
    };
    if section.report.errors() > before {
        return None;
    }
    if !caller.has_means() {
        let message = format!("caller {} has no means to be known by", QuotedWord(name));
        let help = format!("expected {MEANS}");
        section.report.error(&section.place, message, help);
        return None;
    }
    Some(caller)
}

/// Reads `[callers."*"]`, which has limits alone.
pub(super) fn read_defaults(section: &Section<'_>) -> Limits {
    for key in section.declared_keys() {
        if !OF_EVERY_CALLER.keys.contains(&key.name())
            && let Some(value) = section.value(key.name())
        {
            value.error(
                "identifies nobody",
                "\"*\" has only `limits`, for every caller that says nothing of its own",
            );
        }
    }
    let limits = Limits::read(section, &CALLER.limits);
    limits::refuse_burst_alone(section, &CALLER.limits, &limits);
    limits
}

impl Caller {
    fn has_means(&self) -> bool {
        self.spiffe_id.is_some()
            || self.certificate_name.is_some()
            || self.service_account.is_some()
            || self.token.is_some()
            || self.user.is_some()
            || self.key.is_some()
    }
}

fn read_token(
    section: &Section<'_>,
    files: &FileRules<'_>,
    draft: &mut Draft,
) -> Option<CallerToken> {
    let section = section.read(&CALLER.token)?;
    let issuer = section.read(&CALLER_TOKEN.issuer);
    let audience = section.read(&CALLER_TOKEN.audience);
    let claims = read_claims(&section);
    let jwks_file = section.read(&CALLER_TOKEN.jwks_file);
    let tls = section.read(&CALLER_TOKEN.tls);
    let tls = tls.map(|section| Tls::read_keys(&section, files));
    let (issued_by, issuer) = issuer?;
    let keys = match jwks_file {
        Some((named, path)) => {
            let file = files.named(path, &named.place);
            permissions::check(&named, &file);
            named.check(check_keys(&file));
            if tls.is_some()
                && let Some(value) = section.written(&CALLER_TOKEN.tls)
            {
                value.error("has no effect", "the keys are in `jwks_file`");
            }
            IssuerKeys::File(file)
        }
        None => {
            let url = issued_by.check(http_url(issuer, false))?;
            if url.scheme() == "http" && !is_loopback(&url) {
                issued_by.error(
                    "would be asked for its keys in plain text",
                    "use https, or name its keys with `jwks_file`",
                );
            }
            if url.scheme() == "http"
                && tls.is_some()
                && let Some(value) = section.written(&CALLER_TOKEN.tls)
            {
                value.error("has no effect", "`issuer` is http://, not https://");
            }
            IssuerKeys::Discovery(Box::new(tls.unwrap_or_default()))
        }
    };
    Some(CallerToken {
        issuer: draft.shared_issuer(TokenIssuer {
            name: issuer.to_owned(),
            keys,
        }),
        audience: audience?.1.into(),
        claims,
    })
}

/// Whether a file holds a JWK set with some key (RFC 7517 section 5). Keys of kinds that are of no use are left out later.
fn check_keys(file: &NamedFile) -> Result<(), Expected> {
    let name = shown(file.path());
    let text = file.read();
    let text = text.map_err(|error| format!("{name}: cannot read the file: {error}"))?;
    let set: Result<serde_json::Value, _> = serde_json::from_slice(&text);
    let keys = set
        .as_ref()
        .ok()
        .and_then(|set| set.get("keys")?.as_array());
    match keys {
        Some(keys) if !keys.is_empty() => Ok(()),
        Some(_) => Err(format!("{name}: the file holds no key").into()),
        None => Err(format!("{name}: expected a JWK set: {{ \"keys\": [...] }}").into()),
    }
}

fn read_claims(section: &Section<'_>) -> Box<[(Box<str>, Box<str>)]> {
    let mut claims = BTreeMap::new();
    for (name, place, value, text) in section.read(&CALLER_TOKEN.claims) {
        if CHECKED_CLAIMS.contains(&name) {
            let message = format!("invalid claim {}", value.name());
            let help = match name {
                "" => "expected a name",
                "aud" => "use `audience`",
                "iss" => "use `issuer`",
                _ => "times are always checked",
            };
            section.report.error(&place, message, help);
        }
        claims.insert(name.into(), text.into());
    }
    claims.into_iter().collect()
}

fn read_key(section: &Section<'_>, files: &FileRules<'_>) -> Option<(SecretSource, Secret)> {
    let value = section.read(&CALLER.key)?;
    let (source, secret) = read_keys(&value, files)?;
    let mut keys = Caller::keys_of(&secret).peekable();
    if keys.peek().is_none() {
        value.error("holds no key", "expected one key in each line");
    }
    for key in keys {
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            value.error(
                "has a key with other than visible ASCII characters",
                "a client could not send it: expected letters, digits and signs without spaces",
            );
        } else if key.len() < Caller::SHORTEST_KEY {
            let message = format!("has a key of {} characters", key.len());
            let help = format!(
                "expected {} or more, such as those of `openssl rand -hex 32`",
                Caller::SHORTEST_KEY
            );
            value.error(&message, help);
        }
    }
    Some((source, secret))
}

/// Reads a list of callers; `None` after a mistake. That they exist is checked later.
pub(super) fn read_list(
    section: &Section<'_>,
    key: &'static Key<List<String>>,
    draft: &mut Draft,
) -> Option<CallerList> {
    let before = section.report.errors();
    let list = read_names(section, key, draft);
    (section.report.errors() == before).then_some(list)
}

fn read_names(
    section: &Section<'_>,
    key: &'static Key<List<String>>,
    draft: &mut Draft,
) -> CallerList {
    let names: Vec<_> = section.read(key).into_iter().flatten().collect();
    let is_every = |name: &String| name == EVERY_CALLER;
    if names.iter().any(is_every) {
        if names.len() > 1
            && let Some(value) = section.written(key)
        {
            value.error("names callers beside \"*\"", "\"*\" stands for all of them");
        }
        return CallerList::Any;
    }
    let places = section.places_within(key);
    for (name, place) in names.iter().zip(places) {
        let name = name.clone();
        draft.references.callers.push(NameUse { name, place });
    }
    if names.is_empty() {
        CallerList::Unsaid
    } else {
        CallerList::Named(names)
    }
}

/// Reads `credentials` of an upstream, by caller.
pub(super) fn read_credentials(
    entries: Vec<(&str, SourceSpan, Value<'_>, &str)>,
    draft: &mut Draft,
) -> BTreeMap<String, String> {
    let mut credentials = BTreeMap::new();
    for (caller, place, value, credential) in entries {
        draft
            .references
            .credentials
            .push(NameUse::new(credential, &value));
        if caller != EVERY_CALLER {
            let name = caller.to_owned();
            draft.references.callers.push(NameUse { name, place });
        }
        credentials.insert(caller.to_owned(), credential.to_owned());
    }
    credentials
}
