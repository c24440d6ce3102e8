//! The token request of the client credentials grant (RFC 6749 section 4.4.2).

use std::fmt::Write;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::redact::Redactor;
use super::{TokenError, TokenErrorKind, auth};
use crate::config::{ClientAuth, Credential, Secret, SecretError};

/// What every request of ours says about itself.
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sidebearer/", env!("CARGO_PKG_VERSION")));
/// JSON is the only form of an answer that we understand.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The values a request is made of, as they could be read at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
    extra_parameters: Vec<Secret>,
    token_headers: Vec<Secret>,
}

/// Header fields and body of a token request.
pub(super) struct GrantRequest {
    pub(super) headers: HeaderMap,
    pub(super) form: Form,
}

/// An `application/x-www-form-urlencoded` body, wiped on drop.
pub(super) struct Form(Zeroizing<String>);

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

impl GrantRequest {
    /// Puts the request together. Fails only on values that do not fit where they go.
    pub(super) fn new(credential: &Credential, secrets: &Secrets) -> Result<Self, TokenError> {
        let mut form = Form::new();
        form.push("grant_type", "client_credentials");
        if !credential.scopes.is_empty() {
            form.push("scope", &credential.scopes.join(" "));
        }
        if let Some(audience) = &credential.audience {
            form.push("audience", audience);
        }
        for resource in &credential.resources {
            form.push("resource", resource);
        }
        let names = credential.extra_parameters.keys();
        for (name, value) in names.zip(&secrets.extra_parameters) {
            form.push(name, value.expose());
        }

        let mut headers = HeaderMap::new();
        let names = credential.token_headers.iter().map(|(name, _)| name);
        for (name, value) in names.zip(&secrets.token_headers) {
            let value = sensitive(value.expose()).ok_or_else(|| {
                let message = format!(
                    "the value of {name} in token_headers holds a character that no header may"
                );
                TokenError::new(TokenErrorKind::Local, message)
            })?;
            headers.insert(name, value);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        auth::authenticate(&credential.auth, secrets, &mut headers, &mut form)?;
        Ok(Self { headers, form })
    }
}

impl Form {
    /// Larger than common forms, so that growing leaves no unwiped copies behind.
    const CAPACITY: usize = 8 * 1024;

    fn new() -> Self {
        Self(Zeroizing::new(String::with_capacity(Self::CAPACITY)))
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        form_encode(name, &mut self.0);
        self.0.push('=');
        form_encode(value, &mut self.0);
    }
}

impl AsRef<[u8]> for Form {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A header value that is never shown or indexed; none if a character does not fit.
pub(super) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Form encoding (RFC 6749 appendix B). A space becomes `%20` and unreserved characters stay, which
/// every decoder of forms and of plain percent-encoding reads alike.
pub(super) fn form_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
}
