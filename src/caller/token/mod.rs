//! Callers that are known by a JWT (RFC 7519) of an issuer that the configuration names, or by the token of
//! a Kubernetes service account.
//!
//! A request asks the [`TokenVerifier`] of its snapshot, which never blocks. What was found out about a token is
//! remembered until the token ends.
//!
//! - `verifier`: from a token to its caller, in the order of what it costs.
//! - `verification`: what is said about a token.
//! - `claims`, `rules`: what a token claims, and which caller that is.
//! - `table`, `digest`: what was found out, bounded, by the digests of tokens.
//! - `group`: the callers of one issuer, and what of them a reload takes over.
//! - `keys`: the keys of one issuer, read in the background on the main thread.
//! - `reviews`: what the API server of Kubernetes says about tokens.
//! - `endpoints`, `origin`, `api_server`: what is asked over the network.

mod api_server;
mod claims;
mod digest;
mod endpoints;
mod group;
mod keys;
mod origin;
mod reviews;
mod rules;
mod table;
mod verification;
mod verifier;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Caller, Kubernetes, ProxyChoice};
use crate::jose::UnverifiedJwt;
use crate::metrics::Metrics;
use crate::token::Clock;
use claims::Claims;
use group::{GroupContext, GroupDefinition};
use verifier::Verifier;

pub use endpoints::{NetworkEndpoints, TokenEndpoints};
pub use keys::{FoundKeys, KeyEndpoint, KeyFetchError, KeySource, KeyStatus, LastKeyError};
pub use reviews::{Review, ReviewEndpoint, ReviewStatus};
pub use verification::{CallerUnavailable, PendingVerification, Verification, Verified};

/// When a token ends to be good, since the Unix epoch; `None` of what is no token, or has no end.
pub fn end_of(token: &str) -> Option<Duration> {
    let jwt = UnverifiedJwt::parse(token).ok()?;
    Claims(&jwt.claims).end().ok()
}

/// Tells callers by the tokens that they present. One for each snapshot; the default one knows nobody.
#[derive(Clone, Default)]
pub struct TokenVerifier(Option<Arc<Verifier>>);

/// What a [`TokenVerifier`] is built with.
pub struct VerifierContext<'a> {
    /// What tokens end by.
    pub clock: Arc<dyn Clock>,
    /// Where everything is counted.
    pub metrics: &'a Metrics,
    /// What is asked about tokens.
    pub endpoints: &'a dyn TokenEndpoints,
    /// Through which proxy: keys that were read through another are read anew.
    pub proxy: &'a ProxyChoice,
}

/// What an operator sees of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifierStatus {
    /// The keys of each issuer.
    pub keys: Vec<KeyStatus>,
    /// Where the API server reviews tokens.
    pub reviews: Option<ReviewStatus>,
}

/// How many tokens are known by sight, for each caller, and at least and at most in all.
const VERDICTS_EACH: usize = 4;
const LEAST_VERDICTS: usize = 1024;
const MOST_VERDICTS: usize = 64 * 1024;

impl TokenVerifier {
    /// Builds it, and begins to read keys on the current runtime. What `old` has of issuers that did not change is
    /// taken over: their keys, and what is known of their tokens.
    pub fn build(
        callers: &BTreeMap<String, Caller>,
        kubernetes: Option<&Kubernetes>,
        old: Option<&Self>,
        context: &VerifierContext<'_>,
    ) -> Self {
        let definitions = GroupDefinition::all(callers, kubernetes);
        if definitions.is_empty() {
            return Self::default();
        }
        let old = old.and_then(|old| old.0.as_ref());
        let old = old.filter(|old| old.proxy == *context.proxy);
        let names: Vec<_> = callers.keys().cloned().collect();
        if let Some(old) = old.filter(|old| old.names == names && old.has(&definitions)) {
            old.groups.iter().for_each(|group| group.keys.look_again());
            return Self(Some(Arc::clone(old)));
        }
        let places = (callers.len() * VERDICTS_EACH).clamp(LEAST_VERDICTS, MOST_VERDICTS);
        let with = GroupContext {
            clock: &context.clock,
            metrics: context.metrics,
            endpoints: context.endpoints,
            callers,
            places,
        };
        let known = old.map_or(&[][..], |old| &old.groups);
        let build = |definition: GroupDefinition| definition.build(known, &with);
        let verifier = Verifier::new(
            definitions.into_iter().map(build).collect(),
            names,
            context.proxy.clone(),
            places,
            Arc::clone(&context.clock),
        );
        if let Some(old) = old {
            verifier.take_over(old);
        }
        Self(Some(Arc::new(verifier)))
    }

    /// Whether no caller is known by a token, so that none need be asked about.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Who presented `token`, which is the whole of it. Never blocks. For a token that is known it takes no lock and
    /// no memory.
    pub fn verify(&self, token: &str) -> Verification {
        match &self.0 {
            Some(verifier) => verifier.verify(token),
            None => Verification::Unknown("no caller is known by a token"),
        }
    }

    /// How often keys have been read, of all issuers: another number says that what was found out about a token may not
    /// hold any more.
    pub fn key_readings(&self) -> u64 {
        let groups = self.0.iter().flat_map(|verifier| &verifier.groups);
        groups.map(|group| group.keys.readings()).sum()
    }

    /// Whether it has keys of this issuer, as metrics name it.
    pub fn has_issuer(&self, name: &str) -> bool {
        let mut groups = self.0.iter().flat_map(|verifier| &verifier.groups);
        groups.any(|group| group.keys.name() == name)
    }

    /// The sources of keys that `other` does not have.
    pub fn sources_not_in(&self, other: &Self) -> Vec<Arc<KeySource>> {
        let sources = |verifier: &Self| -> Vec<_> {
            let groups = verifier.0.iter().flat_map(|verifier| &verifier.groups);
            groups.map(|group| Arc::clone(&group.keys)).collect()
        };
        let known = sources(other);
        let is_new =
            |source: &Arc<KeySource>| !known.iter().any(|known| Arc::ptr_eq(known, source));
        sources(self).into_iter().filter(is_new).collect()
    }

    /// Forgets the metrics of issuers that the verifier of before had, and this one has not.
    pub fn forget_series_of(&self, before: &Self, metrics: &Metrics) {
        let own = self.sources_not_in(&Self::default());
        for gone in before.sources_not_in(self) {
            if !own.iter().any(|own| own.name() == gone.name()) {
                metrics.forget_caller_keys(gone.name());
            }
        }
    }

    /// What an operator sees; `None` if no caller is known by a token.
    pub fn status(&self) -> Option<VerifierStatus> {
        let groups = &self.0.as_ref()?.groups;
        Some(VerifierStatus {
            keys: groups.iter().map(|group| group.keys.status()).collect(),
            reviews: groups
                .iter()
                .find_map(|group| Some(group.reviews.as_ref()?.status())),
        })
    }
}

/// Where the keys are of each issuer whose tokens tell callers, and of the API server of Kubernetes; with the name of
/// each, for operators.
pub fn key_endpoints(
    callers: &BTreeMap<String, Caller>,
    kubernetes: Option<&Kubernetes>,
    endpoints: &dyn TokenEndpoints,
) -> Vec<(String, Arc<dyn KeyEndpoint>)> {
    let named = |definition: GroupDefinition| {
        let (name, endpoint) = definition.key_endpoint(endpoints);
        (name.to_owned(), endpoint)
    };
    let definitions = GroupDefinition::all(callers, kubernetes);
    definitions.into_iter().map(named).collect()
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}
