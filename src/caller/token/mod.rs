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

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::CallerIndex;
use crate::config::{Caller, Config, Kubernetes, ProxyChoice};
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

/// What a configuration says of the callers that tokens tell.
#[derive(Debug, Clone, Copy)]
pub struct TokenCallers<'c> {
    /// All callers, whose order gives them their indices.
    pub callers: &'c BTreeMap<String, Caller>,
    /// How tokens of service accounts are checked.
    pub kubernetes: Option<&'c Kubernetes>,
}

impl<'c> TokenCallers<'c> {
    /// Those of a configuration.
    pub fn of(config: &'c Config) -> Self {
        Self {
            callers: &config.callers,
            kubernetes: config.kubernetes.as_ref(),
        }
    }

    fn groups(self) -> Vec<GroupDefinition<'c>> {
        GroupDefinition::all(self.callers, self.kubernetes)
    }
}

/// What a [`TokenVerifier`] is built with.
pub struct VerifierContext<'a> {
    /// What tokens end by.
    pub clock: Arc<dyn Clock>,
    /// Where everything is counted.
    pub metrics: &'a Metrics,
    /// What is asked about tokens.
    pub endpoints: &'a dyn TokenEndpoints,
    /// Through which proxy: keys that were read through another are read anew, and serve until then.
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
    /// taken over: their keys, and what is known of their tokens. It comes with the callers that it was built for.
    pub fn build(
        of: TokenCallers<'_>,
        old: Option<(&Self, TokenCallers<'_>)>,
        context: &VerifierContext<'_>,
    ) -> Self {
        let definitions = of.groups();
        if definitions.is_empty() {
            return Self::default();
        }
        let callers = of.callers;
        let old = old.and_then(|(old, before)| Some((old.0.as_ref()?, before)));
        let is_other_way = old.is_some_and(|(old, _)| old.proxy != *context.proxy);
        let old_definitions = old.map_or_else(Vec::new, |(_, before)| before.groups());
        if let Some((old, before)) = old
            && !is_other_way
            && before.callers.keys().eq(callers.keys())
            && old_definitions == definitions
        {
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
            is_other_way,
        };
        let old_groups = old.map_or(&[][..], |(old, _)| &old.groups);
        let known: Vec<_> = old_definitions.iter().zip(old_groups).collect();
        let groups = definitions.iter();
        let verifier = Verifier::new(
            groups.map(|group| group.build(&known, &with)).collect(),
            context.proxy.clone(),
            places,
            Arc::clone(&context.clock),
        );
        if let Some((old, before)) = old {
            let was = |group| old_definitions.iter().position(|known| known == group);
            let same: Vec<_> = definitions.iter().map(was).collect();
            let names = callers.keys().map(String::as_str);
            let indices: HashMap<&str, CallerIndex> = names.zip(0..).collect();
            let now = |name: &String| indices.get(name.as_str()).copied();
            let moved: Vec<_> = before.callers.keys().map(now).collect();
            verifier.take_over(old, &same, &moved);
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
    of: TokenCallers<'_>,
    endpoints: &dyn TokenEndpoints,
) -> Vec<(String, Arc<dyn KeyEndpoint>)> {
    let named = |definition: GroupDefinition<'_>| {
        let (name, endpoint) = definition.key_endpoint(endpoints);
        (name.to_owned(), endpoint)
    };
    of.groups().into_iter().map(named).collect()
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}
