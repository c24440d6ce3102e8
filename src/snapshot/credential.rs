//! The credentials of a snapshot, and how a certificate that tokens are bound to is rotated.
//!
//! A bound token is of use only on connections that present the certificate it was asked for with
//! (RFC 8705 section 3). So both sides get the same [`ClientCertificate`], held in memory: the connections to
//! the token endpoint by the [`TokenSource`], those to the API by the upstream. When the files hold
//! another, a second source stands by until it has a token for it; then both sides change at once,
//! with the snapshot.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::context::{BuildContext, BuildError};
use super::succession::{FormerToken, Provenance, Succession};
use super::{BuiltCredential, Snapshot, StandbyCertificate};
use crate::config;
use crate::oauth;
use crate::token::{CredentialPhase, Inheritance, Policy, TokenSource};
use crate::upstream::{ClientCertificate, TlsError};

impl BuiltCredential {
    /// What is in use, and what stands by.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<TokenSource>> {
        let next = self.next.as_ref().map(|next| &next.source);
        [&self.source].into_iter().chain(next)
    }

    /// Whether this upstream may get a token that was asked for before a reload changed how.
    pub(super) fn may_leave_to(&self, upstream: &config::Upstream) -> bool {
        let succession = self.succession.as_ref();
        succession.is_some_and(|it| it.goes_to(upstream))
    }

    /// Whether a reload added it, and it has had no token yet.
    fn is_new(&self) -> bool {
        self.added_by_reload && self.source.last_token().is_none()
    }

    /// Whether no request would miss its source: there is no usable token, and none on its way.
    fn has_nothing_to_lose(&self) -> bool {
        let phase = self.source.status().state;
        matches!(
            phase,
            CredentialPhase::Idle | CredentialPhase::BackingOff | CredentialPhase::Refused
        )
    }
}

impl Snapshot {
    /// Resolves when a certificate can be put in use because a token bound to it is there; never,
    /// if none stands by.
    pub async fn token_for_next_certificate(&self) {
        let next = self.credentials.values().filter_map(|it| it.next.as_ref());
        let mut waits: Vec<_> = next
            .map(|next| Box::pin(next.source.wait_for_token()))
            .collect();
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
    /// certificates came. What only `old` has is renewed no more, and the series of what is gone end.
    pub fn take_over_from(&self, old: &Self) {
        for (credential, now) in &self.credentials {
            now.source.take_over();
            let config = self.config.credentials.get(credential);
            if let (Some(client), Some(config)) = (&now.reconfigured, config) {
                now.source.configure(Policy::from(config), client.clone());
            }
            let Some(before) = old.credentials.get(credential) else {
                continue;
            };
            // The token may have been renewed since the snapshot was built, and upstreams may have moved.
            let former = now.succession.as_ref().zip(former_token(credential, old));
            if let Some(inheritance) = former.and_then(|(succession, former)| {
                succession.inheritance(former, self.config.upstreams_of(credential))
            }) {
                now.source.inherit(inheritance);
            }
            if let (Some(now), Some(before)) = (&now.certificate, &before.certificate)
                && !Arc::ptr_eq(now, before)
            {
                let certificate = now.thumbprint();
                tracing::info!(credential, certificate, "the new certificate is in use");
            }
            let known = before
                .next
                .as_ref()
                .map(|next| Arc::as_ptr(&next.certificate));
            if let Some(next) = &now.next
                && known != Some(Arc::as_ptr(&next.certificate))
            {
                let certificate = next.certificate.thumbprint();
                tracing::info!(
                    credential,
                    certificate,
                    "the certificate has changed: in use with the first token bound to it"
                );
            }
        }
        let keys = &self.caller_tokens;
        keys.forget_series_of(&old.caller_tokens, &self.metrics);
        for source in old.sources_not_in(self) {
            source.retire();
            if !self.credentials.contains_key(source.name()) {
                self.metrics.forget_credential(source.name());
            }
        }
    }
}

/// What `old` has, as far as the changes leave it; `bound` if an upstream presents its certificate.
///
/// Where only times and limits change, source and token stay. Where it changes what is asked for,
/// another source asks, and may inherit the token until it has its own.
pub fn build(
    context: &BuildContext,
    all: &config::Config,
    config: &config::Credential,
    bound: bool,
    old: Option<&Snapshot>,
) -> Result<BuiltCredential, BuildError> {
    let before = old.and_then(|old| {
        let was = old.config.credentials.get(&config.name)?;
        Some((was, old.credentials.get(&config.name)?))
    });
    if let Some((was, kept)) = before
        && kept.certificate.is_some() == bound
        && config.requests_tokens_as(was)
    {
        let mut kept = kept.clone();
        if was != config {
            let client = client(context, config, kept.certificate.clone(), Some(&kept))?;
            kept.reconfigured = Some(Arc::new(client));
            kept.max_nonce_bytes = config.max_nonce_bytes;
            // What stands by asks by the settings of before.
            kept.next = None;
        }
        return match kept.certificate.clone() {
            None => Ok(kept),
            Some(certificate) => reread_certificate(context, config, &kept, &certificate),
        };
    }
    let kept = before.map(|(_, kept)| kept);
    let former = old.and_then(|old| former_token(&config.name, old));
    let known = [
        kept.and_then(|kept| kept.certificate.as_ref()),
        former.as_ref().and_then(FormerToken::certificate),
    ];
    let certificate = certificate(config, bound, known)?;
    let client = client(context, config, certificate.clone(), kept)?;
    // It stays also while nothing is bound to it: a token that is may serve again.
    let before = kept.and_then(|kept| kept.proof_key.clone());
    let proof_key = client.own_proof_key().or(before);
    let succession = former
        .as_ref()
        .map(|former| Succession::new(former, config, certificate.as_ref(), client.identity()));
    let inheritance = succession.as_ref().zip(former);
    let inheritance = inheritance.and_then(|(succession, former)| {
        succession.inheritance(former, all.upstreams_of(&config.name))
    });
    let succeeds = kept.map(|_| inheritance);
    let source = source(context, config, client, succeeds);
    Ok(BuiltCredential {
        proof_key,
        max_nonce_bytes: config.max_nonce_bytes,
        source,
        certificate,
        next: None,
        added_by_reload: kept.map_or_else(
            || old.is_some_and(|old| !replaces_another(&config.name, all, old)),
            BuiltCredential::is_new,
        ),
        succession,
        reconfigured: None,
    })
}

/// Whether an upstream names it in place of a credential that counts already, as when that was renamed: requests have
/// counted on that one. An upstream that has another name now is known by its URL.
fn replaces_another(name: &str, now: &config::Config, old: &Snapshot) -> bool {
    let is_same = |was: &config::Upstream, upstream: &config::Upstream| {
        let is_renamed = !now.upstreams.contains_key(&was.name) && was.url == upstream.url;
        was.name == upstream.name || is_renamed
    };
    let counts = |former: &str| {
        let built = old.credentials.get(former);
        built.is_some_and(|built| !built.is_new())
    };
    now.upstreams_of(name).any(|upstream| {
        let names = upstream.credential_names();
        let before = old.config.upstreams.values();
        before
            .filter(|was| is_same(was, upstream))
            .flat_map(config::Upstream::credential_names)
            .any(|former| !names.contains(former) && counts(former))
    })
}

/// What the credential of this name leaves to one that takes its place; none if it has no token that could be sent.
fn former_token(name: &str, old: &Snapshot) -> Option<FormerToken> {
    let built = old.credentials.get(name)?;
    let settings = old.config.credentials.get(name)?;
    let of_own = || Provenance {
        settings: settings.clone(),
        certificate: built.certificate.clone(),
        upstreams: old.config.upstreams_of(name).cloned().collect(),
    };
    let held = built.source.held_token()?;
    FormerToken::new(held, of_own, built.succession.as_ref())
}

/// What its files hold, if it is bound; one of the `known` if it is the same.
fn certificate(
    config: &config::Credential,
    bound: bool,
    known: [Option<&Arc<ClientCertificate>>; 2],
) -> Result<Option<Arc<ClientCertificate>>, BuildError> {
    if !bound {
        return Ok(None);
    }
    let read = ClientCertificate::read(&config.tls).map_err(|reason| unusable(config, reason))?;
    let same = known
        .into_iter()
        .flatten()
        .find(|known| read.is_same(known));
    let same = same.cloned();
    Ok(Some(same.unwrap_or_else(|| Arc::new(read))))
}

/// A bound credential, by what its files hold now.
pub fn reread_certificate(
    context: &BuildContext,
    config: &config::Credential,
    kept: &BuiltCredential,
    current: &ClientCertificate,
) -> Result<BuiltCredential, BuildError> {
    let next = match (ClientCertificate::read(&config.tls), &kept.next) {
        (Ok(read), _) if read.is_same(current) => {
            return Ok(BuiltCredential {
                next: None,
                ..kept.clone()
            });
        }
        (Ok(read), Some(next)) if read.is_same(&next.certificate) => next.clone(),
        (Ok(read), _) => {
            let certificate = Arc::new(read);
            let client = client(context, config, Some(Arc::clone(&certificate)), Some(kept))?;
            let source = source(context, config, client, None);
            StandbyCertificate {
                source,
                certificate,
            }
        }
        // The last good one is the one that stands by.
        (Err(_), Some(next)) => next.clone(),
        (Err(reason), None) => return Err(unusable(config, reason)),
    };
    if next.source.current().is_some() || kept.has_nothing_to_lose() {
        return Ok(BuiltCredential {
            source: next.source,
            certificate: Some(next.certificate),
            next: None,
            added_by_reload: kept.is_new(),
            succession: None,
            reconfigured: None,
            ..kept.clone()
        });
    }
    // Whatever brought us here, it may also cure what a request for its token failed of.
    next.source.stand_by();
    Ok(BuiltCredential {
        next: Some(next),
        ..kept.clone()
    })
}

/// A client with the key that was made for the one `before` it.
fn client(
    context: &BuildContext,
    config: &config::Credential,
    certificate: Option<Arc<ClientCertificate>>,
    before: Option<&BuiltCredential>,
) -> Result<oauth::Client, BuildError> {
    let redactor = context.redactor(&config.name);
    let own_sockets = Arc::clone(&context.own_sockets);
    let client = oauth::Client::with_certificate(certificate, config, own_sockets, redactor);
    let client = client.map_err(|reason| unusable(config, reason))?;
    let client = client
        .with_nonce(context.authorization_server_nonce(config))
        .with_clock(context.authorization_server_clock(config));
    Ok(match before.and_then(|before| before.proof_key.clone()) {
        Some(key) => client.with_proof_key(key),
        None => client,
    })
}

/// A source that begins with what is left to it, if it takes the place of one that asked for something else.
fn source(
    context: &BuildContext,
    config: &config::Credential,
    client: oauth::Client,
    succeeds: Option<Option<Inheritance>>,
) -> Arc<TokenSource> {
    let (name, policy) = (&config.name, Policy::from(config));
    let client = Arc::new(client);
    let gate = context.fetch_limit(config);
    let clock = Arc::clone(&context.clock);
    let metrics = context.metrics.credential(name);
    let source = match succeeds {
        None => TokenSource::start(name, policy, client, gate, clock, metrics),
        Some(inheritance) => {
            TokenSource::start_after(inheritance, name, policy, client, gate, clock, metrics)
        }
    };
    source.record_in(&context.audit);
    source.trace_in(&context.tracer);
    source
}

fn unusable(config: &config::Credential, reason: TlsError) -> BuildError {
    BuildError {
        table: format!("[credentials.{}]", config.name),
        reason: reason.into(),
    }
}
