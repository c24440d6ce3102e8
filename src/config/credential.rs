//! What a credential is, once it is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::{SecretSource, Tls};
use crate::jose::Algorithm;

/// `[credentials.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// Where tokens come from.
    pub server: AuthorizationServer,
    /// `client_id` (RFC 6749 section 2.2); absent only where something else says who asks.
    pub client_id: Option<SecretSource>,
    /// How the client authenticates.
    pub auth: ClientAuth,
    /// Requested scopes; empty sends no `scope`.
    pub scopes: Vec<String>,
    /// `audience` form parameter.
    pub audience: Option<String>,
    /// `resource` parameters (RFC 8707).
    pub resources: Vec<String>,
    /// More form fields.
    pub extra_parameters: BTreeMap<String, SecretSource>,
    /// More headers of the token request.
    pub token_headers: Vec<(HeaderName, SecretSource)>,
    /// When tokens are renewed.
    pub refresh: Refresh,
    /// Whether readiness waits for it.
    pub required: bool,
    /// The lifetime of a token that came without `expires_in`.
    pub default_lifetime: Duration,
    /// Longer lifetimes are cut to this.
    pub max_lifetime: Duration,
    /// One token request, whole.
    pub fetch_timeout: Duration,
    /// How long a proxied request waits for a token.
    pub acquire_timeout: Duration,
    /// Whether discovered endpoints may be plain http beyond loopback.
    pub allow_plaintext: bool,
    /// TLS towards the authorization server.
    pub tls: Tls,
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationServer {
    /// Found by discovery (RFC 8414, OpenID Connect Discovery). The string is exactly what was
    /// configured: the document's `issuer` must equal it.
    Issuer(String, Url),
    /// Named directly.
    TokenEndpoint(Url),
}

/// `auth_method`, by its RFC 7591 name, with what it needs.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientAuth {
    /// `client_secret_basic`
    SecretBasic {
        /// The client secret.
        secret: SecretSource,
        /// How id and secret are encoded in the header.
        encoding: BasicEncoding,
    },
    /// `client_secret_post`
    SecretPost {
        /// The client secret.
        secret: SecretSource,
    },
    /// `client_secret_jwt`: an assertion signed with the client secret (RFC 7523 section 2.2).
    SecretJwt {
        /// The client secret.
        secret: SecretSource,
        /// One of [`Algorithm::SYMMETRIC`].
        algorithm: Algorithm,
        /// What the assertion says.
        form: AssertionForm,
    },
    /// `private_key_jwt`: an assertion signed with the client's own key (RFC 7523 section 2.2).
    PrivateKeyJwt {
        /// PEM or JWK.
        key: SecretSource,
        /// One of [`Algorithm::ASYMMETRIC`]; what fits the key when absent.
        algorithm: Option<Algorithm>,
        /// What the assertion says.
        form: AssertionForm,
    },
}

/// What is configurable about an assertion that we sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionForm {
    /// `kid` of its header; that of the JWK when absent.
    pub key_id: Option<String>,
    /// Its `aud`.
    pub audience: AssertionAudience,
}

/// `assertion_audience`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The URL it is sent to.
    TokenEndpoint,
    /// These characters: the issuer, or whatever the server goes by.
    Exactly(String),
}

/// `basic_encoding`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasicEncoding {
    /// RFC 6749 section 2.3.1: both parts form-encoded first.
    Form,
    /// As they are, for servers that do not decode.
    Raw,
}

/// `refresh`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// In the background, before anyone waits.
    Eager,
    /// When a request needs it.
    Lazy,
}

impl Credential {
    /// Every value that is read anew for each token request.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        (self.client_id.iter())
            .chain(self.auth.secret())
            .chain(self.extra_parameters.values())
            .chain(self.token_headers.iter().map(|(_, value)| value))
    }
}

impl ClientAuth {
    /// The one secret by which the client proves who it is.
    pub fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::SecretBasic { secret, .. }
            | Self::SecretPost { secret }
            | Self::SecretJwt { secret, .. }
            | Self::PrivateKeyJwt { key: secret, .. } => Some(secret),
        }
    }
}
