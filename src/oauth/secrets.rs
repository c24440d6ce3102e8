//! The secret values of a token request, read anew each time.

use http::HeaderValue;

use super::redact::Redactor;
use crate::config::{ClientAuth, Credential, Secret, SecretError, SecretSource};
use crate::upstream;

/// The values a request is made of, as they could be read at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) client_id: Option<Secret>,
    /// What the client proves itself with, unless that is a key: see [`super::key`].
    pub(super) client_secret: Option<Secret>,
    /// The tokens of others that are shown, as [`crate::config::Grant::tokens`] names them.
    pub(super) tokens: Vec<Secret>,
    pub(super) extra_parameters: Vec<Secret>,
    pub(super) token_headers: Vec<Secret>,
    /// Stands for the files of the TLS settings: a certificate may be what a server refused.
    tls: u64,
}

impl Secrets {
    /// Reads every file and variable anew.
    pub(super) fn read(credential: &Credential) -> Result<Self, SecretError> {
        let client_secret = match &credential.auth {
            ClientAuth::PrivateKeyJwt { .. } => None,
            auth => auth.secret(),
        };
        let tokens = credential.grant.tokens();
        let extra = credential.extra_parameters.values();
        let headers = credential.token_headers.iter();
        Ok(Self {
            client_id: read_if_any(credential.client_id.as_ref())?,
            client_secret: read_if_any(client_secret)?,
            tokens: tokens.map(SecretSource::read).collect::<Result<_, _>>()?,
            extra_parameters: extra.map(|value| value.read()).collect::<Result<_, _>>()?,
            token_headers: headers
                .map(|(_, value)| value.read())
                .collect::<Result<_, _>>()?,
            tls: upstream::fingerprint(&credential.tls),
        })
    }

    /// Empty where who the client is shows otherwise.
    pub(super) fn client_id(&self) -> &str {
        self.client_id.as_ref().map_or("", Secret::expose)
    }

    /// Empty where the method has none.
    pub(super) fn client_secret(&self) -> &str {
        self.client_secret.as_ref().map_or("", Secret::expose)
    }

    /// Hides all of them but the client's id, which error messages are about, and the tokens, which
    /// are added in the form they are sent in.
    pub(super) fn redactor(&self) -> Redactor {
        let more = self.extra_parameters.iter().chain(&self.token_headers);
        let secrets = more.chain(&self.client_secret);
        Redactor::new(secrets.map(Secret::expose))
    }
}

/// A header value that is never shown or indexed; none if a character does not fit.
pub(super) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn read_if_any(source: Option<&SecretSource>) -> Result<Option<Secret>, SecretError> {
    source.map(SecretSource::read).transpose()
}
