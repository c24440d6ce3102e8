//! Where the keys of an issuer are read: found by discovery, or in a file.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use url::{Host, Url};

use super::{FoundKeys, KeyEndpoint, KeyFetchError};
use crate::blocking;
use crate::caller::token::origin::{OriginClient, ServerReach};
use crate::config::NamedFile;
use crate::http_client::{AddressPolicy, BoxFuture, display_url, max_age};
use crate::jose::KeySet;
use crate::oauth::{TokenErrorKind, discovery};
use crate::redact::Redactor;

/// An issuer whose metadata say where its keys are (RFC 8414, OpenID Connect Discovery 1.0).
pub(in crate::caller::token) struct IssuerEndpoint {
    /// As configured, to the letter.
    issuer: String,
    origin: OriginClient,
    reach: ServerReach,
    redactor: Arc<Redactor>,
    /// Where its keys were last.
    keys: Mutex<Option<Arc<OriginClient>>>,
}

/// A file with the keys of an issuer.
pub(in crate::caller::token) struct JwksFile {
    issuer: String,
    file: NamedFile,
}

impl IssuerEndpoint {
    /// `url` is that of `issuer`.
    pub(in crate::caller::token) fn new(issuer: &str, url: Url, reach: ServerReach) -> Self {
        let redactor = Arc::<Redactor>::default();
        Self {
            issuer: issuer.to_owned(),
            origin: OriginClient::new(url, reach.clone(), None, Arc::clone(&redactor)),
            reach,
            redactor,
            keys: Mutex::default(),
        }
    }

    /// The metadata are read each time, so that keys may move.
    async fn find(&self) -> Result<Arc<OriginClient>, KeyFetchError> {
        let issuer = &self.issuer;
        let mut tried = Vec::new();
        let mut worst = None;
        for url in discovery::candidates(&self.origin.url) {
            let answer = match self.origin.get(&url, json()).await {
                Ok(answer) if discovery::names_issuer(&answer.body) => answer,
                Ok(_) => {
                    tried.push(format!("{} is no document of an issuer", display_url(&url)));
                    continue;
                }
                Err(error) if error.kind == TokenErrorKind::BadResponse => {
                    tried.push(error.message);
                    continue;
                }
                // Another candidate may be there all the same: servers refuse paths that they do not know in many ways.
                Err(error)
                    if matches!(
                        error.kind,
                        TokenErrorKind::Refused | TokenErrorKind::ServerError
                    ) =>
                {
                    tried.push(error.message.clone());
                    worst = Some(error);
                    continue;
                }
                // The other candidates are on the same host.
                Err(error) => return Err(error),
            };
            let found = discovery::jwks_uri(&answer.body, issuer, &self.redactor);
            let found = found.map_err(|what| {
                let message = format!("{} is not usable: {what}", display_url(&url));
                KeyFetchError::new(TokenErrorKind::BadResponse, message)
            })?;
            let policy = AddressPolicy::new(answer.peer, &found, &[]);
            self.check_unseen(&found)?;
            return Ok(self.keys_at(found, policy));
        }
        let (kind, retry_after) = match worst {
            Some(error) => (error.kind, error.retry_after),
            None => (TokenErrorKind::BadResponse, None),
        };
        let tried = tried.join(", ");
        let message = format!(
            "no discovery document of issuer {issuer}: {tried}; jwks_file can name its keys instead"
        );
        Err(KeyFetchError {
            retry_after,
            ..KeyFetchError::new(kind, message)
        })
    }

    /// Through a proxy that resolves names nobody sees the address of another host.
    fn check_unseen(&self, found: &Url) -> Result<(), KeyFetchError> {
        let Some(Host::Domain(name)) = found.host() else {
            return Ok(());
        };
        let is_proxied = self.reach.proxy.proxy_for(found).is_some();
        if !is_proxied || found.host() == self.origin.url.host() {
            return Ok(());
        }
        let message = format!(
            "the keys of issuer {} are at {}, and the address of another host cannot be checked through a proxy; jwks_file can name them",
            self.issuer,
            self.redactor.clean(name)
        );
        Err(KeyFetchError::new(TokenErrorKind::BadResponse, message))
    }

    fn keys_at(&self, url: Url, policy: AddressPolicy) -> Arc<OriginClient> {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Arc<OriginClient>| {
            let kept = known.policy.as_ref();
            known.url == url && kept.is_some_and(|kept| kept.is_same(&policy))
        };
        if let Some(known) = known.as_ref().filter(same) {
            return Arc::clone(known);
        }
        let (reach, redactor) = (self.reach.clone(), Arc::clone(&self.redactor));
        let origin = Arc::new(OriginClient::new(
            url,
            reach,
            Some(Arc::new(policy)),
            redactor,
        ));
        *known = Some(Arc::clone(&origin));
        origin
    }
}

impl KeyEndpoint for IssuerEndpoint {
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>> {
        Box::pin(async {
            let keys = self.find().await?;
            let answer = keys.get(&keys.url, json()).await?;
            let shown = self.redactor.clean(&display_url(&keys.url));
            let max_age = max_age(&answer.headers);
            Ok(FoundKeys {
                issuer: self.issuer.clone(),
                keys: key_set(&answer.body, &shown)?,
                max_age,
            })
        })
    }
}

impl JwksFile {
    pub(in crate::caller::token) fn new(issuer: &str, file: NamedFile) -> Self {
        let issuer = issuer.to_owned();
        Self { issuer, file }
    }
}

impl KeyEndpoint for JwksFile {
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>> {
        Box::pin(async {
            let file = self.file.clone();
            let local = |what: String| {
                let path = self.file.path().display();
                KeyFetchError::new(TokenErrorKind::Local, format!("{path}: {what}"))
            };
            let read = blocking::run(move || file.read())
                .await
                .and_then(|read| read);
            let read = read.map_err(|error| local(format!("it cannot be read: {error}")))?;
            Ok(FoundKeys {
                issuer: self.issuer.clone(),
                keys: KeySet::read(&read).map_err(|what| local(format!("it {what}")))?,
                max_age: None,
            })
        })
    }

    fn is_file(&self) -> bool {
        true
    }
}

/// No keys can be read, for this reason.
pub(in crate::caller::token) struct Unusable(pub(in crate::caller::token) KeyFetchError);

impl KeyEndpoint for Unusable {
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>> {
        Box::pin(std::future::ready(Err(self.0.clone())))
    }
}

/// The keys in an answer of the server at `shown`.
pub(in crate::caller::token) fn key_set(body: &[u8], shown: &str) -> Result<KeySet, KeyFetchError> {
    KeySet::read(body)
        .map_err(|what| KeyFetchError::new(TokenErrorKind::BadResponse, format!("{shown} {what}")))
}

/// What both documents are.
pub(in crate::caller::token) fn json() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))])
}
