//! Reads `auth_method` and the keys that go with it.

use super::super::file_rules::FileRules;
use super::super::keys::{AuthMethod, CREDENTIAL, TLS};
use super::super::read::Section;
use super::super::settings::{
    AssertionAudience, AssertionForm, AuthorizationServer, BasicEncoding, ClientAuth, Grant,
    NamedFile, SecretSource, Tls,
};
use super::super::value::Value;
use super::only_with;
use super::secret_source::{need_secret, read_secret};
use crate::jose::{Algorithm, Certificate, SigningKey};

/// Reads who the client is, and how it proves that.
pub(super) fn read(
    section: &Section<'_>,
    files: &FileRules<'_>,
    server: Option<&AuthorizationServer>,
    tls: &Tls,
    grant: Option<&Grant>,
) -> Option<(Option<SecretSource>, ClientAuth)> {
    let (name, method) = section.choose(&CREDENTIAL.auth_method, |_| true).unzip();
    only_with::check(section, &CREDENTIAL.auth_method, name);
    let id = section.read(&CREDENTIAL.client_id);
    // Where a token of someone else says who asks, no id may be needed.
    let needless = match method {
        Some(AuthMethod::ClientAssertion) | None => true,
        Some(AuthMethod::None) => grant != Some(&Grant::ClientCredentials),
        _ => false,
    };
    if id.is_none() && !needless {
        section.missing(&CREDENTIAL.client_id, CREDENTIAL.client_id.kind.expected);
    }
    let encoding = section.read(&CREDENTIAL.basic_encoding);
    let raw = method == Some(AuthMethod::Basic) && encoding == BasicEncoding::Raw;
    let reader = Reader { section, files };
    let need = |key| {
        let found = need_secret(section, files, key);
        found.map(|(_, source, _)| source)
    };
    let id = id.map(|value| client_id(&value, files, raw));
    let auth = match method? {
        AuthMethod::Basic => need(&CREDENTIAL.client_secret)
            .map(|secret| ClientAuth::SecretBasic { secret, encoding }),
        AuthMethod::Post => {
            need(&CREDENTIAL.client_secret).map(|secret| ClientAuth::SecretPost { secret })
        }
        AuthMethod::SecretJwt => reader.secret_jwt(server),
        AuthMethod::PrivateKeyJwt => reader.private_key_jwt(server, tls),
        AuthMethod::ClientAssertion => {
            let assertion = need(&CREDENTIAL.client_assertion);
            assertion.map(|assertion| ClientAuth::ClientAssertion { assertion })
        }
        AuthMethod::Certificate => reader.certificate(tls, false),
        AuthMethod::SelfSigned => reader.certificate(tls, true),
        AuthMethod::None => Some(ClientAuth::None),
    };
    let id = match id {
        None if needless => None,
        id => Some(id??),
    };
    Some((id, auth?))
}

struct Reader<'s, 'a> {
    section: &'s Section<'a>,
    files: &'s FileRules<'s>,
}

impl Reader<'_, '_> {
    fn secret_jwt(&self, server: Option<&AuthorizationServer>) -> Option<ClientAuth> {
        let secret = need_secret(self.section, self.files, &CREDENTIAL.client_secret);
        let algorithm = self.signing_alg(&Algorithm::SYMMETRIC);
        let algorithm = algorithm.unwrap_or(Algorithm::HS256);
        let form = self.form(server);
        let (value, source, secret) = secret?;
        let (name, least) = (algorithm.name(), algorithm.min_secret_bytes());
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
        let key = need_secret(self.section, self.files, &CREDENTIAL.private_key);
        let algorithm = self.signing_alg(&Algorithm::ASYMMETRIC);
        let form = self.form(server);
        let (value, source, text) = key?;
        let read = SigningKey::read(text.expose(), algorithm).map_err(|e| match source.file() {
            // It could be read, so that this is not a secret that slipped to where a path is expected.
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
            let key = format!("{}.{}", CREDENTIAL.tls.name, TLS.certificate_file.name);
            self.section.report_missing(&key, expected);
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
        let key_id = self.section.read(&CREDENTIAL.key_id);
        let audience = match (self.section.read(&CREDENTIAL.assertion_audience), issuer) {
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
        let fits =
            |algorithm: Option<Algorithm>| algorithm.is_none_or(|one| allowed.contains(&one));
        let (_, algorithm) = self.section.choose(&CREDENTIAL.signing_alg, fits)?;
        algorithm
    }
}

fn client_id(value: &Value<'_>, files: &FileRules<'_>, raw: bool) -> Option<SecretSource> {
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
    if certificate.is_some_and(|certificate| !certificate.belongs_to(key)) {
        let message = format!("{} is not the key of `tls.certificate_file`", value.name());
        let help = format!(
            "assertions will not name the certificate in {} (x5t#S256)",
            file.path().display()
        );
        value.report.warning(&value.place, message, help);
    }
}
