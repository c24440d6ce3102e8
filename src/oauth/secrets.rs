//! What a token request carries that nobody else may see.

use http::HeaderValue;

use super::redact::Redactor;
use crate::config::{ClientAuth, Credential, Secret, SecretError};

/// The values a request is made of, as they could be read at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
    pub(super) extra_parameters: Vec<Secret>,
    pub(super) token_headers: Vec<Secret>,
}

impl Secrets {
    /// Reads every file and variable anew.
    pub(super) fn read(credential: &Credential) -> Result<Self, SecretError> {
        let (ClientAuth::SecretBasic { secret, .. } | ClientAuth::SecretPost { secret }) =
            &credential.auth;
        let extra = credential.extra_parameters.values();
        let headers = credential.token_headers.iter();
        Ok(Self {
            client_id: credential.client_id.read()?,
            client_secret: secret.read()?,
            extra_parameters: extra.map(|value| value.read()).collect::<Result<_, _>>()?,
            token_headers: headers
                .map(|(_, value)| value.read())
                .collect::<Result<_, _>>()?,
        })
    }

    /// Hides all of them but the client's id, which error messages are about.
    pub(super) fn redactor(&self) -> Redactor {
        let more = self.extra_parameters.iter().chain(&self.token_headers);
        let secrets = more.chain([&self.client_secret]);
        Redactor::new(secrets.map(Secret::expose))
    }
}

/// A header value that is never shown or indexed; none if a character does not fit.
pub(super) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
