//! `auth_method` and the keys that go with it.

use super::belonging::{self, Belongings};
use super::draft::Files;
use super::read::{Section, Value};
use super::sources::{need_key_or_token, need_secret, read_secret};
use super::{
    AssertionAudience, AssertionForm, AuthorizationServer, BasicEncoding, ClientAuth, Grant,
    NamedFile, SecretSource, Tls,
};
use crate::jose::{Algorithm, Certificate, SigningKey};

/// The methods by their RFC 7591 names.
const METHODS: [(&str, Method); 8] = [
    ("client_secret_basic", Method::Basic),
    ("client_secret_post", Method::Post),
    ("client_secret_jwt", Method::SecretJwt),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("client_assertion", Method::ClientAssertion),
    ("tls_client_auth", Method::Certificate),
    ("self_signed_tls_client_auth", Method::SelfSigned),
    ("none", Method::None),
];

const KEYS: Belongings<'_> = &[
    (
        "client_secret",
        &[
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
        ],
    ),
    ("basic_encoding", &["client_secret_basic"]),
    ("private_key", &["private_key_jwt"]),
    ("signing_alg", &["client_secret_jwt", "private_key_jwt"]),
    ("key_id", &["client_secret_jwt", "private_key_jwt"]),
    (
        "assertion_audience",
        &["client_secret_jwt", "private_key_jwt"],
    ),
    ("client_assertion", &["client_assertion"]),
];

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
    ClientAssertion,
    Certificate,
    SelfSigned,
    None,
}

/// Reads who the client is, and how it proves that.
pub(super) fn read(
    section: &Section<'_>,
    files: &Files<'_>,
    server: Option<&AuthorizationServer>,
    tls: &Tls,
    grant: Option<&Grant>,
) -> Option<(Option<SecretSource>, ClientAuth)> {
    let choices = METHODS.map(|(name, method)| (name, Some(method)));
    let method = match section.has("auth_method") {
        true => section.choice("auth_method", None, &choices),
        false => Some(Method::Basic),
    };
    let chosen = METHODS.iter().find(|(_, other)| Some(*other) == method);
    let chosen = chosen.map(|(name, _)| *name);
    belonging::check(section, "auth_method", chosen, KEYS);
    let id = section.get("client_id");
    // Where a token of someone else says who asks, no id may be needed.
    let needless = match method {
        Some(Method::ClientAssertion) | None => true,
        Some(Method::None) => grant != Some(&Grant::ClientCredentials),
        _ => false,
    };
    if id.is_none() && !needless {
        let expected = "the client's identifier at the authorization server";
        section.missing("client_id", expected);
    }
    let encodings = [("form", BasicEncoding::Form), ("raw", BasicEncoding::Raw)];
    let encoding = section.choice("basic_encoding", BasicEncoding::Form, &encodings);
    let raw = method == Some(Method::Basic) && encoding == BasicEncoding::Raw;
    let reader = Reader { section, files };
    let need = |key, expected| {
        let found = need_secret(section, files, key, expected);
        found.map(|(_, source, _)| source)
    };
    let id = id.map(|value| client_id(&value, files, raw));
    let auth = match method? {
        Method::Basic => {
            need("client_secret", SECRET).map(|secret| ClientAuth::SecretBasic { secret, encoding })
        }
        Method::Post => {
            need("client_secret", SECRET).map(|secret| ClientAuth::SecretPost { secret })
        }
        Method::SecretJwt => reader.secret_jwt(server),
        Method::PrivateKeyJwt => reader.private_key_jwt(server, tls),
        Method::ClientAssertion => {
            let expected = "`{ file = \"PATH\" }` of a JWT";
            let found = need_key_or_token(section, files, "client_assertion", expected);
            found.map(|(_, assertion, _)| ClientAuth::ClientAssertion { assertion })
        }
        Method::Certificate => reader.certificate(tls, false),
        Method::SelfSigned => reader.certificate(tls, true),
        Method::None => Some(ClientAuth::None),
    };
    let id = match id {
        None if needless => None,
        id => Some(id??),
    };
    Some((id, auth?))
}

const SECRET: &str = "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`";

struct Reader<'s, 'a> {
    section: &'s Section<'a>,
    files: &'s Files<'s>,
}

impl Reader<'_, '_> {
    fn secret_jwt(&self, server: Option<&AuthorizationServer>) -> Option<ClientAuth> {
        let secret = need_secret(self.section, self.files, "client_secret", SECRET);
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
        let expected = "`{ file = \"PATH\" }` of a PEM or JWK file";
        let key = need_key_or_token(self.section, self.files, "private_key", expected);
        let algorithm = self.signing_alg(&Algorithm::ASYMMETRIC);
        let form = self.form(server);
        let (value, source, text) = key?;
        let read = SigningKey::read(text.expose(), algorithm).map_err(|e| match source.file() {
            // It could be read, so that this is no secret that slipped to where a path is expected.
            Some(file) => format!("{}: {e}", file.path().display()).into(),
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

    fn certificate(&self, tls: &Tls, self_signed: bool) -> Option<ClientAuth> {
        if tls.certificate_file.is_none() {
            let expected = "the client's certificate, PEM, beside `tls.key_file`";
            self.section.missing("tls.certificate_file", expected);
            return None;
        }
        Some(ClientAuth::Certificate { self_signed })
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
fn check_certificate(value: &Value<'_>, key: &SigningKey, file: &NamedFile) {
    let certificate = file.read().ok();
    let certificate = certificate.and_then(|pem| Certificate::from_pem(&pem));
    if certificate.is_some_and(|certificate| !certificate.is_of(key)) {
        let message = format!("{} is not the key of `tls.certificate_file`", value.name());
        let help = format!(
            "assertions will not name the certificate in {} (x5t#S256)",
            file.path().display()
        );
        value.report.warning(&value.place, message, help);
    }
}
