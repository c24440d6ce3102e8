//! How the client proves who it is at the token endpoint (RFC 6749 section 2.3).
//!
//! A method may add header fields and form parameters; nothing beyond this file knows which.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use url::Url;
use zeroize::Zeroizing;

use super::assertion::{OwnAssertion, checked_jwt};
use super::form::form_encode;
use super::key::Signer;
use super::request::TokenRequest;
use super::secrets::{Secrets, sensitive};
use super::{TokenError, TokenErrorKind};
use crate::config::{AssertionAudience, AssertionForm, BasicEncoding, ClientAuth};
use crate::jose::SigningKey;

/// RFC 7523 section 2.2
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Authenticates the client in one token request.
pub(super) struct ClientAuthenticator<'a> {
    pub(super) auth: &'a ClientAuth,
    pub(super) secrets: &'a Secrets,
    /// The client's own key, if it has one.
    pub(super) signer: Option<&'a Signer>,
    /// Where the request goes.
    pub(super) token_endpoint: &'a Url,
    /// The time of the request.
    pub(super) now: SystemTime,
    /// The same for an assertion of ours, as the server dates it, in seconds since the Unix epoch.
    pub(super) issued_at: u64,
    /// Whether an assertion of ours says `nbf`.
    pub(super) not_before: bool,
}

impl ClientAuthenticator<'_> {
    /// Adds to a token request what its method needs.
    pub(super) fn authenticate(&self, request: &mut TokenRequest) -> Result<(), TokenError> {
        let (id, secret) = (self.secrets.client_id(), self.secrets.client_secret());
        match self.auth {
            ClientAuth::SecretBasic { encoding, .. } => {
                let value = Zeroizing::new(format!("Basic {}", &*basic(id, secret, *encoding)?));
                let value = sensitive(&value).expect("base64 fits into a header");
                request.headers.insert(AUTHORIZATION, value);
            }
            ClientAuth::SecretPost { .. } => {
                request.form.push("client_id", id);
                request.form.push("client_secret", secret);
            }
            ClientAuth::SecretJwt {
                algorithm, form, ..
            } => {
                let key = SigningKey::from_secret(secret.as_bytes(), *algorithm);
                self.assert(request, &self.statement(form).sign(&key, self.issued_at));
            }
            ClientAuth::PrivateKeyJwt { form, .. } => {
                let signer = self.signer.ok_or_else(|| unread("private_key"))?;
                let statement = OwnAssertion {
                    thumbprint: signer.thumbprint(),
                    ..self.statement(form)
                };
                self.assert(request, &statement.sign(signer.key(), self.issued_at));
            }
            ClientAuth::ClientAssertion { assertion } => {
                let jwt = self.secrets.client_secret.as_ref();
                let jwt = jwt.ok_or_else(|| unread("client_assertion"))?;
                self.assert(request, checked_jwt(jwt, assertion, self.now)?);
            }
            // The certificate is shown when the connection is made.
            ClientAuth::Certificate { .. } | ClientAuth::None => self.identify(request),
        }
        Ok(())
    }

    fn statement<'a>(&'a self, form: &'a AssertionForm) -> OwnAssertion<'a> {
        OwnAssertion {
            client_id: self.secrets.client_id(),
            audience: match &form.audience {
                AssertionAudience::TokenEndpoint => self.token_endpoint.as_str(),
                AssertionAudience::Exactly(audience) => audience,
            },
            key_id: form.key_id.as_deref(),
            thumbprint: None,
            not_before: self.not_before,
        }
    }

    fn identify(&self, request: &mut TokenRequest) {
        if let Some(id) = &self.secrets.client_id {
            request.form.push("client_id", id.expose());
        }
    }

    /// Some servers look for the client by its id even where the assertion names it.
    fn assert(&self, request: &mut TokenRequest, assertion: &str) {
        self.identify(request);
        request.form.push("client_assertion_type", JWT_BEARER);
        request.form.push("client_assertion", assertion);
        request.redactor.add_jwt(assertion);
    }
}

/// Whether id and secret come out differently by the two ways of Basic authentication, so that one
/// may be refused where the other is not.
pub(super) fn encodings_differ(auth: &ClientAuth, secrets: &Secrets) -> bool {
    let differs = |text: &str| {
        let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
        form_encode(text, &mut encoded);
        *encoded != text
    };
    matches!(auth, ClientAuth::SecretBasic { .. })
        && (differs(secrets.client_id()) || differs(secrets.client_secret()))
}

/// What to look at when the server answers `invalid_client`.
pub(super) fn invalid_client_hint(auth: &ClientAuth) -> &'static str {
    match auth {
        ClientAuth::SecretBasic {
            encoding: BasicEncoding::Form,
            ..
        } => {
            "check client_id and client_secret; if they hold special characters, the server may \
             not decode them (basic_encoding = \"raw\"), or it may want auth_method = \
             \"client_secret_post\""
        }
        ClientAuth::SecretBasic {
            encoding: BasicEncoding::Raw,
            ..
        } => {
            "check client_id and client_secret; if they hold special characters, the server may \
             decode them (basic_encoding = \"form\"), or it may want auth_method = \
             \"client_secret_post\""
        }
        ClientAuth::SecretPost { .. } => {
            "check client_id and client_secret; the server may want auth_method = \
             \"client_secret_basic\""
        }
        ClientAuth::SecretJwt { .. } => {
            "check client_id and client_secret; the server may want another signing_alg or \
             assertion_audience, and its clock must agree with ours to five minutes"
        }
        ClientAuth::PrivateKeyJwt { .. } => {
            "check client_id and that the server knows the public half of private_key; it may \
             want a key_id, another signing_alg or assertion_audience, and its clock must agree \
             with ours to five minutes"
        }
        ClientAuth::ClientAssertion { .. } => {
            "check that the server trusts who signed the client_assertion, and its issuer, subject \
             and audience"
        }
        ClientAuth::Certificate { self_signed: false } => {
            "check client_id, that the subject of tls.certificate_file is the one registered, and \
             that the server trusts the CA that signed it"
        }
        ClientAuth::Certificate { self_signed: true } => {
            "check client_id, and that tls.certificate_file is the certificate registered for it"
        }
        ClientAuth::None => {
            "check client_id; the server may want the client to authenticate: see auth_method"
        }
    }
}

/// Rather no request than one without proof.
fn unread(key: &str) -> TokenError {
    TokenError::new(TokenErrorKind::Local, format!("{key} was not read"))
}

fn basic(id: &str, secret: &str, encoding: BasicEncoding) -> Result<Zeroizing<String>, TokenError> {
    let longest = 3 * (id.len() + secret.len()) + 1;
    let mut pair = Zeroizing::new(String::with_capacity(longest));
    match encoding {
        BasicEncoding::Form => {
            form_encode(id, &mut pair);
            pair.push(':');
            form_encode(secret, &mut pair);
        }
        BasicEncoding::Raw if id.contains(':') => {
            let message = "client_id holds a colon, which Basic authentication cannot carry with \
                           basic_encoding = \"raw\"";
            return Err(TokenError::new(TokenErrorKind::Local, message));
        }
        BasicEncoding::Raw => {
            pair.push_str(id);
            pair.push(':');
            pair.push_str(secret);
        }
    }
    Ok(Zeroizing::new(STANDARD.encode(pair.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(id: &str, secret: &str, encoding: BasicEncoding) -> String {
        let value = basic(id, secret, encoding).unwrap();
        String::from_utf8(STANDARD.decode(&*value).unwrap()).unwrap()
    }

    #[test]
    fn basic_is_the_example_of_rfc_6749() {
        let value = basic("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", BasicEncoding::Form);
        assert_eq!(
            *value.unwrap(),
            "czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
    }

    #[test]
    fn form_encoding_escapes_all_but_unreserved_characters() {
        assert_eq!(
            decoded("a:b@c%d", "+/&= ~-._Z9", BasicEncoding::Form),
            "a%3Ab%40c%25d:%2B%2F%26%3D%20~-._Z9"
        );
        assert_eq!(
            decoded("\u{e9}", "\u{20ac}", BasicEncoding::Form),
            "%C3%A9:%E2%82%AC"
        );
    }

    #[test]
    fn raw_encoding_changes_nothing() {
        assert_eq!(
            decoded("a@c%d", "p:+/&= ~", BasicEncoding::Raw),
            "a@c%d:p:+/&= ~"
        );
    }

    #[test]
    fn a_raw_colon_in_the_id_is_refused() {
        let error = basic("a:b", "c", BasicEncoding::Raw).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Local);
        assert!(error.message.contains("basic_encoding"));
    }
}
