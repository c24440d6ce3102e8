//! The credentials of a snapshot, and how a certificate that tokens are bound to is rotated.
//!
//! A bound token is of use only on connections that present the certificate it was asked for with
//! (RFC 8705 section 3). So both sides get the same [`Identity`], held in memory: the connections to
//! the token endpoint by the [`Source`], those to the API by the upstream. When the files hold
//! another, a second source stands by until it has a token for it; then both sides change at once,
//! with the snapshot.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::build::{BuildError, Builder};
use super::{Credential, Snapshot, Successor, Upstream};
use crate::config;
use crate::oauth;
use crate::token::{Phase, Policy, Source};
use crate::upstream::{Identity, TlsError};

impl Credential {
    /// What is in use, and what stands by.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        let next = self.next.as_ref().map(|next| &next.source);
        [&self.source].into_iter().chain(next)
    }

    /// Whether no request would miss its source: there is no usable token, and none on its way.
    fn has_nothing_to_lose(&self) -> bool {
        let phase = self.source.status().state;
        matches!(phase, Phase::Idle | Phase::BackingOff | Phase::Refused)
    }
}

impl Snapshot {
    /// Resolves when a certificate can be put in use because a token bound to it is there; never,
    /// if none stands by.
    pub async fn token_for_next_certificate(&self) {
        let next = self.credentials.values().filter_map(|it| it.next.as_ref());
        let mut waits: Vec<_> = next.map(|next| Box::pin(next.source.obtained())).collect();
        poll_fn(|cx| {
            for wait in &mut waits {
                if wait.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether a certificate stands by.
    pub fn is_rotating(&self) -> bool {
        self.credentials.values().any(|it| it.next.is_some())
    }

    /// It serves now, `old` no more: what stood by and is in use now is told so, and the log which
    /// certificates came.
    pub fn take_over_from(&self, old: &Self) {
        for (credential, now) in &self.credentials {
            now.source.take_over();
            let Some(before) = old.credentials.get(credential) else {
                continue;
            };
            if let (Some(now), Some(before)) = (&now.identity, &before.identity)
                && !Arc::ptr_eq(now, before)
            {
                let certificate = now.thumbprint();
                tracing::info!(credential, certificate, "the new certificate is in use");
            }
            let known = before.next.as_ref().map(|next| Arc::as_ptr(&next.identity));
            if let Some(next) = &now.next
                && known != Some(Arc::as_ptr(&next.identity))
            {
                let certificate = next.identity.thumbprint();
                tracing::info!(
                    credential,
                    certificate,
                    "the certificate has changed: in use with the first token bound to it"
                );
            }
        }
    }
}

impl Builder {
    /// Puts certificates in use that have a token by now, lets those stand by that the files hold by
    /// now, and asks again for their tokens; none if that changes nothing. All else stays as it is:
    /// other files are not looked at.
    ///
    /// # Errors
    /// The CA of an upstream whose certificate would change cannot be used.
    pub fn rotate(&self, old: &Snapshot) -> Result<Option<Snapshot>, BuildError> {
        let mut changed = BTreeSet::new();
        let mut credentials = old.credentials.clone();
        for (name, credential) in &mut credentials {
            let config = old.config.credentials.get(name);
            let (Some(config), Some(identity)) = (config, credential.identity.clone()) else {
                continue;
            };
            // Files that cannot be used are told of by a reload.
            let Ok(now) = self.looked_at_again(config, credential, &identity) else {
                continue;
            };
            if !now
                .sources()
                .map(Arc::as_ptr)
                .eq(credential.sources().map(Arc::as_ptr))
            {
                changed.insert(name.clone());
                *credential = now;
            }
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let upstream = |known: &Arc<Upstream>| {
            let credential = known.config.credential.as_ref();
            match credential.is_some_and(|name| changed.contains(name)) {
                true => self.upstream(&known.config, &credentials, Some(old)),
                false => Ok(Arc::clone(known)),
            }
        };
        let upstreams: Vec<_> = old
            .upstreams
            .iter()
            .map(upstream)
            .collect::<Result<_, _>>()?;
        let config = old.config.clone();
        Ok(Some(self.assemble(
            config,
            credentials,
            upstreams,
            Some(old),
        )))
    }

    /// What `old` has, if nothing was changed; `bound` if an upstream presents its certificate.
    pub(super) fn credential(
        &self,
        config: &config::Credential,
        bound: bool,
        old: Option<&Snapshot>,
    ) -> Result<Credential, BuildError> {
        let kept = old
            .filter(|old| old.config.credentials.get(&config.name) == Some(config))
            .and_then(|old| old.credentials.get(&config.name))
            .filter(|kept| kept.identity.is_some() == bound);
        if let Some(kept) = kept {
            return match &kept.identity {
                None => Ok(kept.clone()),
                Some(identity) => self.looked_at_again(config, kept, identity),
            };
        }
        let identity = bound.then(|| Identity::read(&config.tls)).transpose();
        let identity = identity
            .map_err(|reason| unusable(config, reason))?
            .map(Arc::new);
        let before = old.and_then(|old| old.credentials.get(&config.name));
        let client = self.client(config, identity.clone(), before)?;
        Ok(Credential {
            proof_key: client.own_proof_key(),
            max_nonce_bytes: config.max_nonce_bytes,
            source: self.source(config, client),
            identity,
            next: None,
            added_by_reload: old.is_some(),
        })
    }

    /// A bound credential, by what its files hold now.
    fn looked_at_again(
        &self,
        config: &config::Credential,
        kept: &Credential,
        current: &Identity,
    ) -> Result<Credential, BuildError> {
        let next = match (Identity::read(&config.tls), &kept.next) {
            (Ok(read), _) if read.is_same(current) => {
                return Ok(Credential {
                    next: None,
                    ..kept.clone()
                });
            }
            (Ok(read), Some(next)) if read.is_same(&next.identity) => next.clone(),
            (Ok(read), _) => {
                let identity = Arc::new(read);
                let client = self.client(config, Some(Arc::clone(&identity)), Some(kept))?;
                let source = self.source(config, client);
                Successor { source, identity }
            }
            // The last good one is the one that stands by.
            (Err(_), Some(next)) => next.clone(),
            (Err(reason), None) => return Err(unusable(config, reason)),
        };
        if next.source.current().is_some() || kept.has_nothing_to_lose() {
            return Ok(Credential {
                source: next.source,
                identity: Some(next.identity),
                next: None,
                ..kept.clone()
            });
        }
        // Whatever brought us here, it may also cure what a request for its token failed of.
        next.source.stand_by();
        Ok(Credential {
            next: Some(next),
            ..kept.clone()
        })
    }

    /// A client with the key that was made for the one `before` it.
    fn client(
        &self,
        config: &config::Credential,
        identity: Option<Arc<Identity>>,
        before: Option<&Credential>,
    ) -> Result<oauth::Client, BuildError> {
        let client = oauth::Client::presenting(identity, config);
        let client = client.map_err(|reason| unusable(config, reason))?;
        let client = client.with_nonce(self.nonce_of_server(config));
        Ok(match before.and_then(|before| before.proof_key.clone()) {
            Some(key) => client.with_proof_key(key),
            None => client,
        })
    }

    fn source(&self, config: &config::Credential, client: oauth::Client) -> Arc<Source> {
        Source::start(
            &config.name,
            Policy::from(config),
            Arc::new(client),
            self.gate(config),
            Arc::clone(&self.clock),
            self.metrics.credential(&config.name),
        )
    }
}

fn unusable(config: &config::Credential, reason: TlsError) -> BuildError {
    BuildError {
        place: format!("[credentials.{}]", config.name),
        reason,
    }
}
