//! The callers of one issuer, with its keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::endpoints::TokenEndpoints;
use super::keys::{KeyEndpoint, KeySource};
use super::reviews::Reviews;
use super::rules::{AccountRules, Rules};
use crate::caller::CallerIndex;
use crate::config::{Caller, CallerToken, Kubernetes, ServiceAccount, TokenIssuer};
use crate::metrics::Metrics;
use crate::token::Clock;

/// The callers that the tokens of one issuer tell.
pub(super) struct Group {
    /// The issuer of its tokens, as far as the configuration names it.
    pub(super) named_issuer: Option<String>,
    pub(super) keys: Arc<KeySource>,
    pub(super) rules: Rules,
    /// Whether the API server is asked too.
    pub(super) reviews: Option<Arc<Reviews>>,
}

/// What a group is made from, as the configuration has it: the same one is the same group, under whatever indices.
#[derive(Debug, PartialEq)]
pub(super) enum GroupDefinition<'c> {
    Tokens {
        issuer: &'c TokenIssuer,
        callers: Vec<(&'c str, &'c CallerToken)>,
    },
    ServiceAccounts {
        kubernetes: &'c Kubernetes,
        callers: Vec<(&'c str, &'c ServiceAccount)>,
    },
}

/// A group of before, and what it was made from.
pub(super) type OldGroup<'o> = (&'o GroupDefinition<'o>, &'o Group);

/// What groups are built with.
pub(super) struct GroupContext<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: &'a Metrics,
    pub(super) endpoints: &'a dyn TokenEndpoints,
    /// In the order of the configuration, which gives callers their indices.
    pub(super) callers: &'a BTreeMap<String, Caller>,
    /// Of reviews.
    pub(super) places: usize,
    /// Another way leads to those who are asked than before: through another proxy, or through none.
    pub(super) is_other_way: bool,
}

impl Group {
    /// The issuer of its tokens, as far as it is known.
    pub(super) fn issuer(&self) -> Option<String> {
        let named = self.keys.current().map(|keys| keys.issuer.clone());
        named.or_else(|| self.named_issuer.clone())
    }
}

impl<'c> GroupDefinition<'c> {
    /// Those of a configuration.
    pub(super) fn all(
        callers: &'c BTreeMap<String, Caller>,
        kubernetes: Option<&'c Kubernetes>,
    ) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (name, caller) in callers {
            let Some(token) = &caller.token else { continue };
            let own = |group: &mut Self| match group {
                Self::Tokens { issuer, callers } if **issuer == *token.issuer => {
                    callers.push((name, token));
                    true
                }
                _ => false,
            };
            if !groups.iter_mut().any(own) {
                groups.push(Self::Tokens {
                    issuer: &token.issuer,
                    callers: vec![(name, token)],
                });
            }
        }
        let accounts = callers
            .iter()
            .filter_map(|(name, caller)| Some((&**name, caller.service_account.as_ref()?)));
        let accounts: Vec<_> = accounts.collect();
        if let Some(kubernetes) = kubernetes.filter(|_| !accounts.is_empty()) {
            groups.push(Self::ServiceAccounts {
                kubernetes,
                callers: accounts,
            });
        }
        groups
    }

    /// The issuer of its tokens, as far as the configuration names it.
    fn issuer(&self) -> Option<&'c str> {
        match self {
            Self::Tokens { issuer, .. } => Some(&issuer.name),
            Self::ServiceAccounts { kubernetes, .. } => kubernetes.issuer.as_deref(),
        }
    }

    /// The name of its keys, for operators.
    fn name(&self) -> &'c str {
        self.issuer().unwrap_or("kubernetes")
    }

    /// The name of its keys, and where they are.
    pub(super) fn key_endpoint(
        &self,
        endpoints: &dyn TokenEndpoints,
    ) -> (&'c str, Arc<dyn KeyEndpoint>) {
        let endpoint = match self {
            Self::Tokens { issuer, .. } => endpoints.issuer_keys(&issuer.name, &issuer.keys),
            Self::ServiceAccounts { kubernetes, .. } => endpoints.account_keys(kubernetes),
        };
        (self.name(), endpoint)
    }

    /// Whether both have the same keys.
    fn has_keys_of(&self, other: &GroupDefinition<'_>) -> bool {
        match (self, other) {
            (Self::Tokens { issuer, .. }, GroupDefinition::Tokens { issuer: other, .. }) => {
                **issuer == **other
            }
            (
                Self::ServiceAccounts { kubernetes, .. },
                GroupDefinition::ServiceAccounts {
                    kubernetes: other, ..
                },
            ) => kubernetes.has_keys_of(other),
            _ => false,
        }
    }

    /// Whether both have the same reviews.
    fn has_reviews_of(&self, other: &GroupDefinition<'_>) -> bool {
        match (self, other) {
            (
                Self::ServiceAccounts { kubernetes, .. },
                GroupDefinition::ServiceAccounts {
                    kubernetes: other, ..
                },
            ) => kubernetes.is_reviewed_as(other),
            _ => false,
        }
    }

    /// Builds it, with the keys and reviews that one of the groups of before has.
    pub(super) fn build(&self, old: &[OldGroup<'_>], context: &GroupContext<'_>) -> Group {
        let kept = old
            .iter()
            .find(|(definition, _)| self.has_keys_of(definition))
            .map(|(_, old)| Arc::clone(&old.keys));
        // A reload says that something has changed, files for one.
        if let Some(keys) = &kept {
            if context.is_other_way {
                keys.ask_at(self.key_endpoint(context.endpoints).1);
            }
            keys.look_again();
        }
        let keys = kept.unwrap_or_else(|| {
            let (name, endpoint) = self.key_endpoint(context.endpoints);
            let metrics = context.metrics.caller_keys(name);
            KeySource::start(name, endpoint, Arc::clone(context.clock), metrics)
        });
        let reviews = self.reviews(old, context);
        Group {
            named_issuer: self.issuer().map(str::to_owned),
            rules: self.rules(context.callers),
            keys,
            reviews,
        }
    }

    /// Those that one of the groups of before has, or new ones, where there are to be any.
    fn reviews(&self, old: &[OldGroup<'_>], context: &GroupContext<'_>) -> Option<Arc<Reviews>> {
        let Self::ServiceAccounts { kubernetes, .. } = self else {
            return None;
        };
        if !kubernetes.review {
            return None;
        }
        let kept = old
            .iter()
            .find(|(definition, _)| self.has_reviews_of(definition))
            .and_then(|(_, old)| old.reviews.clone());
        if let Some(kept) = kept {
            kept.set_grace(kubernetes.review_grace);
            if context.is_other_way {
                kept.ask_at(context.endpoints.reviews(kubernetes));
            }
            return Some(kept);
        }
        Some(Arc::new(Reviews::start(
            &kubernetes.audience,
            kubernetes.review_grace,
            context.endpoints.reviews(kubernetes),
            Arc::clone(context.clock),
            context.metrics.caller_reviews(),
            context.places,
        )))
    }

    fn rules(&self, all: &BTreeMap<String, Caller>) -> Rules {
        let names = all.keys().map(String::as_str);
        let indices: HashMap<&str, CallerIndex> = names.zip(0..).collect();
        let index = |name: &str| indices.get(name).copied();
        match self {
            Self::Tokens { callers, .. } => {
                let callers = callers.iter();
                let indexed = callers.filter_map(|(name, token)| Some((index(name)?, *token)));
                Rules::Tokens(indexed.collect())
            }
            Self::ServiceAccounts {
                kubernetes,
                callers,
            } => {
                let mut rules = AccountRules::new(&kubernetes.audience);
                for (name, account) in callers {
                    index(name)
                        .into_iter()
                        .for_each(|at| rules.add(at, account));
                }
                Rules::ServiceAccounts(rules)
            }
        }
    }
}
