//! `auth_method` and the keys that go with it.

use std::path::Path;

use super::draft::Files;
use super::read::{Section, Value, one_of};
use super::sources::{read_kept_secret, read_secret};
use super::{
    AssertionAudience, AssertionForm, AuthorizationServer, BasicEncoding, ClientAuth, Secret,
    SecretSource, Tls,
};
use crate::jose::{Algorithm, Certificate, SigningKey};

/// The methods by their RFC 7591 names.
const METHODS: [(&str, Method); 4] = [
    ("client_secret_basic", Method::Basic),
    ("client_secret_post", Method::Post),
    ("client_secret_jwt", Method::SecretJwt),
    ("private_key_jwt", Method::PrivateKeyJwt),
];

/// The keys that only some methods have.
const KEYS: [(&str, &[Method]); 6] = [
    (
        "client_secret",
        &[Method::Basic, Method::Post, Method::SecretJwt],
    ),
    ("basic_encoding", &[Method::Basic]),
    ("private_key", &[Method::PrivateKeyJwt]),
    ("signing_alg", &[Method::SecretJwt, Method::PrivateKeyJwt]),
    ("key_id", &[Method::SecretJwt, Method::PrivateKeyJwt]),
    (
        "assertion_audience",
        &[Method::SecretJwt, Method::PrivateKeyJwt],
    ),
];

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
}

/// Reads who the client is, and how it proves that.
pub(super) fn read(
    section: &Section<'_>,
    files: &Files<'_>,
    server: Option<&AuthorizationServer>,
    tls: &Tls,
) -> Option<(Option<SecretSource>, ClientAuth)> {
    let choices = METHODS.map(|(name, method)| (name, Some(method)));
    let method = match section.has("auth_method") {
        true => section.choice("auth_method", None, &choices),
        false => Some(Method::Basic),
    };
    let reader = Reader { section, files };
    reader.refuse_foreign_keys(method);
    reader.need(
        "client_id",
        "the client's identifier at the authorization server",
    );
    let encodings = [("form", BasicEncoding::Form), ("raw", BasicEncoding::Raw)];
    let encoding = section.choice("basic_encoding", BasicEncoding::Form, &encodings);
    let raw = method == Some(Method::Basic) && encoding == BasicEncoding::Raw;
    let id = section.get("client_id");
    let id = id.map(|value| client_id(&value, files, raw));
    let secret = || reader.client_secret().map(|(_, source, _)| source);
    let auth = match method? {
        Method::Basic => ClientAuth::SecretBasic {
            secret: secret()?,
            encoding,
        },
        Method::Post => ClientAuth::SecretPost { secret: secret()? },
        Method::SecretJwt => reader.secret_jwt(server)?,
        Method::PrivateKeyJwt => reader.private_key_jwt(server, tls)?,
    };
    Some((Some(id??), auth))
}

struct Reader<'s, 'a> {
    section: &'s Section<'a>,
    files: &'s Files<'s>,
}

impl<'a> Reader<'_, 'a> {
    /// Every key of a method is known, and an error where its method is not chosen.
    fn refuse_foreign_keys(&self, method: Option<Method>) {
        for (key, methods) in KEYS {
            let (Some(value), Some(method)) = (self.section.get(key), method) else {
                continue;
            };
            if methods.contains(&method) || value.is_empty() {
                continue;
            }
            let names: Vec<_> = methods.iter().map(|method| name(*method)).collect();
            let message = format!("does not belong to `auth_method = \"{}\"`", name(method));
            let help = format!("it belongs to {}", one_of(&names, '"'));
            value.error(&message, help);
        }
    }

    /// An empty one is reported where it is read.
    fn need(&self, key: &'static str, expected: &str) {
        if !self.section.has(key) {
            self.section.missing(key, expected);
        }
    }

    fn client_secret(&self) -> Option<(Value<'a>, SecretSource, Secret)> {
        self.kept(
            "client_secret",
            "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`",
        )
    }

    fn secret_jwt(&self, server: Option<&AuthorizationServer>) -> Option<ClientAuth> {
        let secret = self.client_secret();
        let algorithm = self.signing_alg(&Algorithm::SYMMETRIC);
        let algorithm = algorithm.unwrap_or(Algorithm::HS256);
        let form = self.form(server);
        let (value, source, secret) = secret?;
        let (name, least) = (algorithm.name(), algorithm.least_secret());
        if secret.expose().len() < least {
            let message = format!(
                "{} is shorter than the {least} bytes that {name} calls for",
                value.name()
            );
            let help = "a server may refuse it (RFC 7518 section 3.2)";
            value.report.warning(&value.place, message, help);
        }
        Some(ClientAuth::SecretJwt {
            secret: source,
            algorithm,
            form: form?,
        })
    }

    fn private_key_jwt(
        &self,
        server: Option<&AuthorizationServer>,
        tls: &Tls,
    ) -> Option<ClientAuth> {
        let key = self.kept("private_key", "`{ file = \"PATH\" }` of a PEM or JWK file");
        let algorithm = self.signing_alg(&Algorithm::ASYMMETRIC);
        let form = self.form(server);
        let (value, source, text) = key?;
        let read = SigningKey::read(text.expose(), algorithm).map_err(|e| match source.file() {
            // It could be read, so that this is no secret that slipped to where a path is expected.
            Some(file) => format!("{}: {e}", file.display()).into(),
            None => e.to_string().into(),
        });
        let key = value.check(read)?;
        if let Some(file) = &tls.certificate_file {
            check_certificate(&value, &key, file);
        }
        Some(ClientAuth::PrivateKeyJwt {
            key: source,
            algorithm,
            form: form?,
        })
    }

    fn form(&self, server: Option<&AuthorizationServer>) -> Option<AssertionForm> {
        let issuer = match server {
            Some(AuthorizationServer::Issuer(issuer, _)) => Some(issuer),
            _ => None,
        };
        let exactly = |text: &str| AssertionAudience::Exactly(text.to_owned());
        let key_id = self.section.parse("key_id", |text| Ok(text.to_owned()));
        let audience = match (self.section.text("assertion_audience"), issuer) {
            (Some((_, "token_endpoint")), _) => AssertionAudience::TokenEndpoint,
            (Some((_, "issuer")) | None, Some(issuer)) => exactly(issuer),
            (Some((value, "issuer")), None) => {
                // Without a server, its own mistake is reported.
                server?;
                value.error(
                    "needs `issuer`",
                    "beside `token_endpoint`, write the issuer out: \"https://...\"",
                );
                return None;
            }
            (Some((_, text)), _) => exactly(text),
            (None, None) => AssertionAudience::TokenEndpoint,
        };
        Some(AssertionForm { key_id, audience })
    }

    fn signing_alg(&self, allowed: &[Algorithm]) -> Option<Algorithm> {
        let choices: Vec<_> = allowed.iter().map(|alg| (alg.name(), Some(*alg))).collect();
        self.section.choice("signing_alg", None, &choices)
    }

    /// A secret that the chosen method needs.
    fn kept(&self, key: &'static str, expected: &str) -> Option<(Value<'a>, SecretSource, Secret)> {
        self.need(key, expected);
        let value = self.section.get(key)?;
        let (source, secret) = read_kept_secret(&value, self.files)?;
        Some((value, source, secret))
    }
}

fn name(method: Method) -> &'static str {
    let found = METHODS.iter().find(|(_, other)| *other == method);
    found.map_or("", |(name, _)| name)
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

/// One certificate for TLS and another key for assertions is common, and a mistake as often.
fn check_certificate(value: &Value<'_>, key: &SigningKey, file: &Path) {
    let certificate = std::fs::read(file).ok();
    let certificate = certificate.and_then(|pem| Certificate::from_pem(&pem));
    if certificate.is_some_and(|certificate| !certificate.is_of(key)) {
        let message = format!("{} is not the key of `tls.certificate_file`", value.name());
        let help = format!(
            "assertions will not name the certificate in {} (x5t#S256)",
            file.display()
        );
        value.report.warning(&value.place, message, help);
    }
}
