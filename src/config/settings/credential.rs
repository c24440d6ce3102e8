//! What a credential is, once it is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::{Dialing, NamedFile, ProxyChoice, RetryPauses, SecretSource, Tls};
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
    /// Whether assertions of ours say `nbf`.
    pub assertion_nbf: bool,
    /// What the client has been granted, and how it shows that.
    pub grant: Grant,
    /// Whether tokens are bound to a key (RFC 9449).
    pub dpop: Option<Dpop>,
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
    /// The `token_type` of an answer that names none; such an answer is refused when absent.
    pub default_token_type: Option<&'static str>,
    /// Longer lifetimes are cut to this.
    pub max_lifetime: Duration,
    /// One token request, whole.
    pub fetch_timeout: Duration,
    /// How its connections are made.
    pub dialing: Dialing,
    /// How long a token request that failed is left alone.
    pub pauses: RetryPauses,
    /// How long a proxied request waits for a token.
    pub acquire_timeout: Duration,
    /// Largest answer of the authorization server, in bytes: of its head, and of its body.
    pub max_response_bytes: usize,
    /// Largest token, in bytes.
    pub max_token_bytes: usize,
    /// Largest nonce that proofs repeat, in bytes.
    pub max_nonce_bytes: usize,
    /// Whether discovered endpoints may be plain http beyond loopback.
    pub allow_plaintext: bool,
    /// Hosts beyond the public that discovery may lead to: names or IP literals, in the form of a
    /// URL's host.
    pub discovery_hosts: Vec<String>,
    /// TLS towards the authorization server.
    pub tls: Tls,
    /// Through which proxy it is reached.
    pub proxy: ProxyChoice,
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
    /// An assertion that someone else writes, such as a platform for its workloads.
    ClientAssertion {
        /// A JWT.
        assertion: SecretSource,
    },
    /// `tls_client_auth` and `self_signed_tls_client_auth`: the certificate of the credential's own
    /// TLS settings (RFC 8705 section 2).
    Certificate {
        /// Whether the server knows the certificate itself, not the CA that signed it.
        self_signed: bool,
    },
    /// `none`: a public client (RFC 6749 section 2.1).
    None,
}

/// `grant`
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// `client_credentials` (RFC 6749 section 4.4): what the client itself may do.
    ClientCredentials,
    /// `jwt-bearer` (RFC 7523 section 2.1): what an assertion says.
    JwtBearer {
        /// A JWT that someone else writes.
        assertion: SecretSource,
    },
    /// `token-exchange` (RFC 8693): another token for one that someone else issued.
    TokenExchange {
        /// Whose token it is about.
        subject: SecurityToken,
        /// Who acts for the subject.
        actor: Option<SecurityToken>,
        /// `requested_token_type`; the server's choice when absent.
        requested_token_type: Option<String>,
    },
}

/// `dpop`: every token request carries a proof of possession.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dpop {
    /// Whether a token that is not bound to the key is a failure.
    pub required: bool,
    /// The key, PEM or JWK; one made at the start when absent.
    pub key: Option<SecretSource>,
}

/// A token that someone else issued.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityToken {
    /// The token.
    pub token: SecretSource,
    /// Its type, a URI (RFC 8693 section 3).
    pub token_type: String,
}

impl SecurityToken {
    /// `urn:ietf:params:oauth:token-type:jwt`
    pub const JWT: &'static str = "urn:ietf:params:oauth:token-type:jwt";
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
    /// Every value that is read again for each token request.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        (self.client_id.iter())
            .chain(self.auth.secret())
            .chain(self.grant.tokens())
            .chain(self.dpop_key())
            .chain(self.extra_parameters.values())
            .chain(self.token_headers.iter().map(|(_, value)| value))
    }
}

impl Credential {
    /// Whether tokens are asked for in the same way as by `other`: only times, limits and
    /// the proxy on the way differ.
    pub fn requests_tokens_as(&self, other: &Self) -> bool {
        let with_its_limits = Self {
            refresh: self.refresh,
            required: self.required,
            default_lifetime: self.default_lifetime,
            max_lifetime: self.max_lifetime,
            fetch_timeout: self.fetch_timeout,
            dialing: self.dialing.clone(),
            proxy: self.proxy.clone(),
            pauses: self.pauses.clone(),
            acquire_timeout: self.acquire_timeout,
            max_response_bytes: self.max_response_bytes,
            max_token_bytes: self.max_token_bytes,
            max_nonce_bytes: self.max_nonce_bytes,
            ..other.clone()
        };
        *self == with_its_limits
    }

    /// Whether a token that `before` asked for may serve the same client until these settings bring one of their
    /// own. Not by another grant, and not where something was only taken away from what is asked for: that is a
    /// revocation.
    pub fn may_inherit_from(&self, before: &Self) -> bool {
        self.grant == before.grant
            && !is_narrowed(&before.scopes, &self.scopes)
            && !is_narrowed(&before.resources, &self.resources)
    }
}

/// Something was taken away and nothing added.
fn is_narrowed(before: &[String], now: &[String]) -> bool {
    now.iter().all(|kept| before.contains(kept)) && before.iter().any(|had| !now.contains(had))
}

impl ClientAuth {
    /// Its RFC 7591 name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SecretBasic { .. } => "client_secret_basic",
            Self::SecretPost { .. } => "client_secret_post",
            Self::SecretJwt { .. } => "client_secret_jwt",
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
            Self::ClientAssertion { .. } => "client_assertion",
            Self::Certificate { self_signed: false } => "tls_client_auth",
            Self::Certificate { self_signed: true } => "self_signed_tls_client_auth",
            Self::None => "none",
        }
    }

    /// The one secret by which the client proves who it is.
    pub fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::SecretBasic { secret, .. }
            | Self::SecretPost { secret }
            | Self::SecretJwt { secret, .. }
            | Self::PrivateKeyJwt { key: secret, .. }
            | Self::ClientAssertion { assertion: secret } => Some(secret),
            Self::Certificate { .. } | Self::None => None,
        }
    }
}

impl Credential {
    /// The files of the keys by which the client proves who it is.
    pub fn key_files(&self) -> impl Iterator<Item = &NamedFile> {
        let certificate = matches!(self.auth, ClientAuth::Certificate { .. });
        let own = match &self.auth {
            ClientAuth::PrivateKeyJwt { key, .. } => key.file(),
            _ => None,
        };
        let tls = self.tls.key_file.as_ref().filter(|_| certificate);
        let proof = self.dpop_key().and_then(SecretSource::file);
        own.into_iter().chain(tls).chain(proof)
    }

    fn dpop_key(&self) -> Option<&SecretSource> {
        self.dpop.as_ref()?.key.as_ref()
    }
}

impl Grant {
    /// The tokens of others that are shown: an assertion, or subject and actor.
    pub fn tokens(&self) -> impl Iterator<Item = &SecretSource> {
        let (first, second) = match self {
            Self::ClientCredentials => (None, None),
            Self::JwtBearer { assertion } => (Some(assertion), None),
            Self::TokenExchange { subject, actor, .. } => (
                Some(&subject.token),
                actor.as_ref().map(|actor| &actor.token),
            ),
        };
        first.into_iter().chain(second)
    }

    /// Its `grant_type`.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer { .. } => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange { .. } => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}
