//! A token request (RFC 6749 section 4.4.2, and by extension RFC 7523 and RFC 8693).

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use url::{Position, Url};

use super::form::Form;
use super::secrets::{Secrets, sensitive};
use super::{TokenError, TokenErrorKind};
use crate::config::Credential;
use crate::dpop::{DPOP, Nonce, ProofClaims, ProofKey};
use crate::redact::Redactor;

/// Header fields and body of a token request.
pub(super) struct TokenRequest {
    pub(super) headers: HeaderMap,
    pub(super) form: Form,
    /// Knows what is secret in it.
    pub(super) redactor: Arc<Redactor>,
}

impl TokenRequest {
    /// An empty one.
    pub(super) fn new(secrets: &Secrets, redactor: Arc<Redactor>) -> Self {
        secrets.register_with(&redactor);
        Self {
            headers: HeaderMap::new(),
            form: Form::new(),
            redactor,
        }
    }

    /// Adds what is asked for. Fails only on values that do not fit where they go.
    pub(super) fn add_requested_token(
        &mut self,
        credential: &Credential,
        secrets: &Secrets,
    ) -> Result<(), TokenError> {
        let form = &mut self.form;
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

        let headers = &mut self.headers;
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
        Ok(())
    }

    /// Adds a proof to the server at `url` that the client holds `key` (RFC 9449 section 5), made at
    /// `issued_at`, in seconds since the Unix epoch.
    pub(super) fn prove(
        &mut self,
        key: &ProofKey,
        url: &Url,
        nonce: Option<Nonce>,
        issued_at: u64,
    ) {
        let proof = key.prove(ProofClaims {
            method: "POST",
            target: [
                url.scheme(),
                &url[Position::BeforeHost..Position::AfterPort],
                url.path(),
            ],
            issued_at,
            token_hash: None,
            nonce: nonce.as_ref().map(Nonce::as_str),
        });
        // Every byte of it is visible ASCII.
        self.redactor.add_jwt(proof.to_str().unwrap_or_default());
        self.headers.insert(DPOP, proof);
    }
}
