//! Whose token an upstream gets, and how it is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, Method};

use crate::caller::CallerIndex;
use crate::config::EVERY_CALLER;
use crate::dpop::{LastNonce, Nonce, ProofClaims};
use crate::redact::Redactor;
use crate::server_clock::ServerClock;
use crate::token::{
    CredentialStatus, FreshTokenRejections, Moment, Token, TokenRejections, TokenSource,
    Unavailable,
};

/// The credentials whose tokens one upstream gets.
#[derive(Debug, Default)]
pub struct Injections {
    /// One for each credential, in the order of their names.
    all: Box<[Arc<Injection>]>,
    by_caller: Option<CredentialsByCaller>,
}

/// Which of the credentials of an upstream is for whom, by their indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsByCaller {
    /// Sorted.
    named: Box<[(CallerIndex, u32)]>,
    /// For all other callers.
    others: Option<u32>,
}

/// The upstream has credentials, and none of them is for this caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no credential of the upstream is for this caller")]
pub struct NoCredential;

/// The tokens of one credential for one upstream, and how they are written.
#[derive(Debug)]
pub struct Injection {
    /// Where the token comes from.
    pub source: Arc<TokenSource>,
    /// The tokens that this upstream rejected.
    pub rejections: TokenRejections,
    /// The fresh tokens that it rejected. A reload keeps this while URL and credential stay the same.
    pub fresh: Arc<FreshTokenRejections>,
    /// The header it goes into.
    pub header: HeaderName,
    pub(super) prefix: Option<String>,
    /// The last value built with `prefix`, and the token it was built from.
    pub(super) prefixed: ArcSwapOption<(u64, HeaderValue)>,
    /// Cleans what the upstream says, challenges for one: it sees the tokens.
    pub redactor: Arc<Redactor>,
    /// What the upstream wants in proofs.
    pub nonce: Arc<LastNonce>,
    /// By what proofs to the upstream are dated.
    pub clock: Arc<ServerClock>,
    /// Bytes of the largest one that is repeated.
    pub max_nonce_bytes: usize,
}

impl Injections {
    /// These; with `by_caller` only callers get one of them.
    pub fn new(all: Vec<Arc<Injection>>, by_caller: Option<CredentialsByCaller>) -> Self {
        let all = all.into();
        Self { all, by_caller }
    }

    /// Every one.
    pub fn all(&self) -> &[Arc<Injection>] {
        &self.all
    }

    /// Which one is for whom, if that makes a difference.
    pub fn by_caller(&self) -> Option<&CredentialsByCaller> {
        self.by_caller.as_ref()
    }

    /// The one for this caller, or for nobody known; `None` if there are none at all.
    ///
    /// # Errors
    /// There are some, and none of them is for the caller.
    pub fn choose(&self, caller: Option<CallerIndex>) -> Result<Option<&Injection>, NoCredential> {
        let Some(by_caller) = &self.by_caller else {
            return Ok(self.all.first().map(Arc::as_ref));
        };
        let chosen = caller.and_then(|caller| by_caller.credential_of(caller));
        let chosen = chosen.and_then(|at| self.all.get(at as usize));
        chosen.map(|chosen| Some(&**chosen)).ok_or(NoCredential)
    }
}

impl CredentialsByCaller {
    /// What `[upstreams.NAME.credentials]` says, where the credentials are in the order of `names`; `None` if it says
    /// nothing.
    pub fn new(
        configured: &BTreeMap<String, String>,
        names: &[&str],
        callers: &HashMap<&str, CallerIndex>,
    ) -> Option<Self> {
        let index = |name: &String| names.binary_search(&name.as_str()).ok();
        let others = configured.get(EVERY_CALLER).and_then(index);
        let named = configured.iter().filter_map(|(caller, credential)| {
            let caller = *callers.get(caller.as_str())?;
            Some((caller, index(credential)? as u32))
        });
        let mut named: Box<[_]> = named.collect();
        named.sort_unstable();
        (!configured.is_empty()).then_some(Self {
            named,
            others: others.map(|at| at as u32),
        })
    }

    fn credential_of(&self, caller: CallerIndex) -> Option<u32> {
        let named = self.named.binary_search_by_key(&caller, |known| known.0);
        match named {
            Ok(at) => Some(self.named[at].1),
            Err(_) => self.others,
        }
    }
}

impl Injection {
    /// The token to send now, if there is one.
    pub fn ready_token(&self) -> Option<Arc<Token>> {
        self.rejections.current(&self.source)
    }

    /// The token to send, waiting for one if that can help.
    pub async fn acquire(&self) -> Result<Arc<Token>, Unavailable> {
        self.rejections.acquire(&self.source).await
    }

    /// The scheme that stands before the token where the configuration names one.
    pub fn scheme(&self) -> Option<&str> {
        self.prefix.as_deref().filter(|prefix| !prefix.is_empty())
    }

    /// The last token, usable or not, that this upstream may be sent.
    pub fn last_token(&self) -> Option<Arc<Token>> {
        let held = self.source.last_token();
        held.filter(|token| self.rejections.may_get(token))
    }

    /// How the credential is for this upstream.
    pub fn status(&self) -> CredentialStatus {
        self.source.status_for(self.rejections.may_inherit())
    }

    /// What time it is for a token.
    pub fn now(&self) -> Moment {
        self.source.now()
    }

    /// The proof that goes with one request (RFC 9449 section 7); `None` for a bearer token.
    pub fn prove(
        &self,
        token: &Token,
        method: &Method,
        target: [&str; 3],
        nonce: Option<&Nonce>,
    ) -> Option<HeaderValue> {
        let binding = token.binding()?;
        Some(binding.key.prove(ProofClaims {
            method: method.as_str(),
            target,
            issued_at: self.clock.date(self.now().wall),
            token_hash: Some(&binding.token_hash),
            nonce: nonce.map(Nonce::as_str),
        }))
    }

    /// The header's value with `***` in the place of the token, whose type is `token_type` if none has come yet.
    pub fn masked_value(&self, token_type: &str) -> String {
        match self.prefix.as_deref() {
            Some("") => "***".to_owned(),
            Some(prefix) => format!("{prefix} ***"),
            None => {
                let held = self.last_token();
                let token_type = held.as_ref().map_or(token_type, |held| held.token_type());
                format!("{token_type} ***")
            }
        }
    }

    /// The header's value: built once for each token.
    pub fn value(&self, token: &Token) -> HeaderValue {
        let Some(prefix) = &self.prefix else {
            return token.authorization().clone();
        };
        let last = self.prefixed.load();
        if let Some((id, value)) = last.as_deref()
            && *id == token.id()
        {
            return value.clone();
        }
        let token_text = token.access_token().expose();
        let text = match prefix.as_str() {
            "" => zeroize::Zeroizing::new(token_text.to_owned()),
            prefix => zeroize::Zeroizing::new(format!("{prefix} {token_text}")),
        };
        let mut value =
            HeaderValue::from_str(&text).unwrap_or_else(|_| token.authorization().clone());
        value.set_sensitive(true);
        self.prefixed
            .store(Some(Arc::new((token.id(), value.clone()))));
        value
    }
}
