//! `[callers.NAME]`: who may use listeners, and how they are known.

use std::fmt;
use std::sync::Arc;

use super::{Limits, NamedFile, Secret, SecretSource, SpiffePattern, Tls};

/// Stands for every caller.
pub const EVERY_CALLER: &str = "*";

/// `[callers.NAME]`: known by any of its means, of which it has one at least
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name: visible ASCII characters.
    pub name: String,
    /// The SPIFFE IDs of its certificates.
    pub spiffe_id: Option<SpiffePattern>,
    /// A DNS name of its certificates, in lower case without a trailing dot.
    pub certificate_name: Option<String>,
    /// Its account in Kubernetes.
    pub service_account: Option<ServiceAccount>,
    /// What its JWTs say.
    pub token: Option<Box<CallerToken>>,
    /// The user whose processes it is, by unix sockets; never that of nobody.
    pub user: Option<u32>,
    /// Where its keys are read from: one in each line.
    pub key: Option<SecretSource>,
    /// How much it may ask for. What `[callers."*"]` says holds where it says nothing of its own.
    pub limits: Limits,
}

/// `callers.NAME.service_account`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// `callers.NAME.token`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerToken {
    /// Who signs them; one for all callers that name it alike.
    pub issuer: Arc<TokenIssuer>,
    /// What the claim `aud` has to name.
    pub audience: Box<str>,
    /// Further claims and what each has to be, exactly; in the order of their names.
    pub claims: Box<[(Box<str>, Box<str>)]>,
}

/// An issuer of tokens: all callers that name the same one have the same `keys`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenIssuer {
    /// The claim `iss`, exactly.
    pub name: String,
    /// Where its keys come from.
    pub keys: IssuerKeys,
}

/// Where the keys come from that an issuer signs with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IssuerKeys {
    /// A file with a JWK set (RFC 7517 section 5).
    File(NamedFile),
    /// The metadata of the issuer, which is an https URL, or http on loopback.
    Discovery(Box<Tls>),
}

/// `callers` of a listener, a route or a rule
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum CallerList {
    /// Nothing is said: a listener identifies nobody; a route or a rule is for all that the listener lets in.
    #[default]
    Unsaid,
    /// `["*"]`: every caller that is identified.
    Any,
    /// These; never empty.
    Named(Vec<String>),
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl CallerList {
    /// Whether a caller is in it that was identified.
    pub fn has(&self, caller: &str) -> bool {
        match self {
            Self::Unsaid => false,
            Self::Any => true,
            Self::Named(names) => names.iter().any(|name| name == caller),
        }
    }

    /// Whether it stands for everyone whom the other one stands for. A list that says nothing stands for all.
    pub(in crate::config) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unsaid, _) | (Self::Any, Self::Any | Self::Named(_)) => true,
            (Self::Named(_), Self::Named(others)) => others.iter().all(|name| self.has(name)),
            (Self::Any, Self::Unsaid) | (Self::Named(_), Self::Unsaid | Self::Any) => false,
        }
    }

    /// The names as they are written; none where nothing is said.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Unsaid => Vec::new(),
            Self::Any => vec![EVERY_CALLER],
            Self::Named(names) => names.iter().map(String::as_str).collect(),
        }
    }

    /// Whether nothing is said.
    pub fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

impl CallerToken {
    /// What a claim has to be, exactly; `None` where it may be anything.
    pub(in crate::config) fn claim(&self, name: &str) -> Option<&str> {
        let mut claims = self.claims.iter();
        let (_, value) = claims.find(|(known, _)| **known == *name)?;
        Some(value)
    }
}

impl TokenIssuer {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        let (file, tls) = match &self.keys {
            IssuerKeys::File(file) => (Some(file), None),
            IssuerKeys::Discovery(tls) => (None, Some(tls.files())),
        };
        file.into_iter().chain(tls.into_iter().flatten())
    }
}

impl Caller {
    /// A shorter key could be guessed, in characters.
    pub const SHORTEST_KEY: usize = 32;

    /// The keys of a caller that its secret holds: one in each line, less empty lines.
    pub fn keys_of(secret: &Secret) -> impl Iterator<Item = &str> {
        let lines = secret.expose().lines();
        lines.filter(|line| !line.is_empty())
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        let key = self.key.as_ref().and_then(SecretSource::file);
        let token = self.token.iter().flat_map(|token| token.issuer.files());
        key.into_iter().chain(token)
    }
}
