//! `[credentials.NAME]`. Nothing here repeats a value in a message: it may be a secret in the
//! wrong place.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::address::{http_url, is_loopback};
use super::draft::Files;
use super::general::SOME;
use super::read::{Section, Value};
use super::report::Expected;
use super::upstreams::{header, no_tls};
use super::{
    AuthorizationServer, BasicEncoding, ClientAuth, Credential, Refresh, Secret, SecretError,
    SecretSource, Tls,
};

/// Form fields of a token request that have their own keys.
const FIELDS: [&str; 8] = [
    "audience",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "grant_type",
    "resource",
    "scope",
];

/// Headers of a token request that are set already.
const HEADERS: [&str; 3] = ["accept", "authorization", "content-type"];

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Basic,
    Post,
}

/// Reads one credential.
pub(super) fn read(name: &str, section: Section<'_>, files: &Files<'_>) -> Option<Credential> {
    let needed = [
        (
            "client_id",
            "the client's identifier at the authorization server",
        ),
        (
            "client_secret",
            "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`",
        ),
    ];
    for (key, expected) in needed {
        // An empty one is reported where it is read.
        if !section.has(key) {
            section.missing(key, expected);
        }
    }
    let allow_plaintext = section.boolean("allow_plaintext", false);
    let tls = Tls::read(&section, files);
    let server = server(&section, allow_plaintext, &tls);
    let methods = [
        ("client_secret_basic", Method::Basic),
        ("client_secret_post", Method::Post),
    ];
    let method = section.choice("auth_method", Method::Basic, &methods);
    let encodings = [("form", BasicEncoding::Form), ("raw", BasicEncoding::Raw)];
    let encoding = section.choice("basic_encoding", BasicEncoding::Form, &encodings);
    let raw = method == Method::Basic && encoding == BasicEncoding::Raw;
    let client_id = section
        .get("client_id")
        .and_then(|value| client_id(&value, files, raw));
    let secret = section.get("client_secret").and_then(|value| {
        let (source, _) = read_secret(&value, files)?;
        if matches!(source, SecretSource::Literal(_)) {
            let message = format!("{} is written in the file itself", value.name());
            let help = "prefer `{ file = \"PATH\" }` or `{ env = \"NAME\" }`";
            value.report.warning(&value.place, message, help);
        }
        Some(source)
    });
    let scopes = section.parse_each("scopes", scope);
    let audience = section.parse("audience", |text| Ok(text.to_owned()));
    let resources = section.parse_each("resources", resource);
    let extra_parameters = extra_parameters(&section, files);
    let token_headers = token_headers(&section, files);
    let refreshes = [("eager", Refresh::Eager), ("lazy", Refresh::Lazy)];
    let refresh = section.choice("refresh", Refresh::Eager, &refreshes);
    let required = section.boolean("required", true);
    let time = |key, seconds, least| section.duration(key, Duration::from_secs(seconds), least);
    let second = Duration::from_secs(1);
    let default_lifetime = time("default_lifetime", 5 * 60, second);
    let max_lifetime = time("max_lifetime", 24 * 60 * 60, second);
    let fetch_timeout = time("fetch_timeout", 10, SOME);
    let acquire_timeout = time("acquire_timeout", 5, SOME);
    section.finish();

    let secret = secret?;
    Some(Credential {
        name: name.to_owned(),
        server: server?,
        client_id: client_id?,
        auth: match method {
            Method::Basic => ClientAuth::SecretBasic { secret, encoding },
            Method::Post => ClientAuth::SecretPost { secret },
        },
        scopes,
        audience,
        resources,
        extra_parameters,
        token_headers,
        refresh,
        required,
        default_lifetime,
        max_lifetime,
        fetch_timeout,
        acquire_timeout,
        allow_plaintext,
        tls,
    })
}

fn server(section: &Section<'_>, allow_plaintext: bool, tls: &Tls) -> Option<AuthorizationServer> {
    let issuer = section.text("issuer");
    let endpoint = section.text("token_endpoint");
    let (value, text, discovered) = match (issuer, endpoint) {
        (Some(_), Some((value, _))) => {
            value.error(
                "stands beside `issuer`",
                "keep one: `issuer` finds the token endpoint by discovery",
            );
            return None;
        }
        (None, None) => {
            // A wrong type is reported already.
            let key = if section.has("issuer") {
                "issuer"
            } else {
                "token_endpoint"
            };
            section.missing(key, "`token_endpoint`, or `issuer` for discovery");
            return None;
        }
        (Some((value, text)), None) => (value, text, true),
        (None, Some((value, text))) => (value, text, false),
    };
    let url: Url = value.check(http_url(text, !discovered))?;
    if url.scheme() == "http" {
        if !allow_plaintext && !is_loopback(&url) {
            value.error(
                "would carry the client secret in plain text",
                "use https, or allow it with `allow_plaintext = true`",
            );
        }
        no_tls(section, tls);
    }
    Some(match discovered {
        true => AuthorizationServer::Issuer(text.to_owned(), url),
        false => AuthorizationServer::TokenEndpoint(url),
    })
}

/// Where the value comes from, and what it is now.
fn read_secret(value: &Value<'_>, files: &Files<'_>) -> Option<(SecretSource, Secret)> {
    const EXPECTED: &str = "`{ file = \"PATH\" }`, `{ env = \"NAME\" }` or a string";
    let source = if value.is_table() {
        let section = value.section(value.name().to_owned(), EXPECTED)?;
        let file = section.text("file");
        let env = section.text("env");
        let place = section.place.clone();
        section.finish();
        match (file, env) {
            (Some((_, path)), None) => SecretSource::File(files.path(path)),
            (None, Some((_, name))) => SecretSource::Env(name.to_owned()),
            _ => {
                let message = format!("invalid {}", value.name());
                let help = "expected exactly one of `file` and `env`";
                value.report.error(&place, message, help);
                return None;
            }
        }
    } else {
        SecretSource::Literal(Secret::new(value.text(EXPECTED)?))
    };
    let found = match source.read() {
        Ok(secret) if secret.expose().is_empty() => Err(SecretError::Empty(String::new())),
        found => found,
    };
    match found {
        Ok(secret) => Some((source, secret)),
        Err(error) => {
            let (message, help) = unreadable(&error, files);
            value.error(&message, help);
            None
        }
    }
}

/// The error without the value it names: the quoted line says which one, masked or not.
fn unreadable(error: &SecretError, files: &Files<'_>) -> (String, String) {
    match error {
        SecretError::File { reason, .. } => (
            format!("cannot be read from its file: {reason}"),
            format!(
                "expected a readable file; a relative path starts at {}",
                files.base()
            ),
        ),
        SecretError::Env(_) => (
            "names an environment variable that is not set".to_owned(),
            "set the variable, or name a file with `{ file = \"PATH\" }`".to_owned(),
        ),
        SecretError::Empty(_) => (
            "is empty".to_owned(),
            "expected a value of at least one character".to_owned(),
        ),
    }
}

fn client_id(value: &Value<'_>, files: &Files<'_>, raw: bool) -> Option<SecretSource> {
    let (source, id) = read_secret(value, files)?;
    if raw && id.expose().contains(':') {
        value.error(
            "holds a colon",
            "with `basic_encoding = \"raw\"` it could not be told from the secret (RFC 7617)",
        );
    }
    Some(source)
}

/// RFC 6749 section 3.3
fn scope(text: &str) -> Result<String, Expected> {
    let in_token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    if text.contains(' ') {
        return Err("write one scope a string: [\"a\", \"b\"]".into());
    }
    if text.is_empty() || !text.bytes().all(in_token) {
        return Err("expected visible ASCII characters except `\"` and `\\`".into());
    }
    Ok(text.to_owned())
}

/// RFC 8707 section 2
fn resource(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || text.contains('#') || Url::parse(text).is_err() {
        return Err("expected an absolute URI without fragment".into());
    }
    Ok(text.to_owned())
}

fn extra_parameters(section: &Section<'_>, files: &Files<'_>) -> BTreeMap<String, SecretSource> {
    let mut parameters = BTreeMap::new();
    let Some(entries) = section.section("extra_parameters") else {
        return parameters;
    };
    let report = section.report;
    for (name, place, value) in entries.entries() {
        if name.is_empty() || FIELDS.contains(&name) {
            let message = format!("invalid parameter {}", value.name());
            let help = match name {
                "" => "expected a name".to_owned(),
                "scope" => "use `scopes`".to_owned(),
                "resource" => "use `resources`".to_owned(),
                "audience" | "client_id" | "client_secret" => format!("use the key `{name}`"),
                _ => "sidebearer sets this field itself".to_owned(),
            };
            report.error(&place, message, help);
        }
        if let Some((source, _)) = read_secret(&value, files) {
            parameters.insert(name.to_owned(), source);
        }
    }
    parameters
}

fn token_headers(section: &Section<'_>, files: &Files<'_>) -> Vec<(HeaderName, SecretSource)> {
    let mut headers: Vec<(HeaderName, SecretSource)> = Vec::new();
    let Some(entries) = section.section("token_headers") else {
        return headers;
    };
    let report = section.report;
    for (name, place, value) in entries.entries() {
        let parsed = header(name).and_then(|name| match name.as_str() {
            ours if HEADERS.contains(&ours) => Err("sidebearer sets this header itself".into()),
            _ if headers.iter().any(|(other, _)| *other == name) => {
                Err("header names differ by more than case".into())
            }
            _ => Ok(name),
        });
        let found = read_secret(&value, files);
        if let Some((_, secret)) = &found
            && HeaderValue::from_str(secret.expose()).is_err()
        {
            value.error(
                "cannot be a header's value",
                "expected visible characters and spaces",
            );
        }
        match (parsed, found) {
            (Ok(name), Some((source, _))) => headers.push((name, source)),
            (Ok(_), None) => {}
            (Err(help), _) => {
                let message = format!("invalid header {}", value.name());
                report.error(&place, message, help);
            }
        }
    }
    headers
}
