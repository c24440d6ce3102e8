//! Which caller the claims of one issuer's tokens are.

use std::collections::{BTreeMap, HashMap};

use super::claims::Claims;
use crate::caller::{CallerIndex, IdentificationMeans, Identified};
use crate::config::{CallerToken, ServiceAccount};

/// Who the claims of a token belong to, if its signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    One(Identified),
    Several,
}

impl Owner {
    /// Either of both.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, owner) | (owner, Self::Nobody) => owner,
            (Self::One(one), Self::One(two)) if one.caller == two.caller => self,
            _ => Self::Several,
        }
    }
}

/// The callers that tokens of one issuer tell, found by what they claim however many there are.
#[derive(Debug)]
pub(super) enum Rules {
    Tokens(TokenRules),
    ServiceAccounts(AccountRules),
}

#[derive(Debug, Default)]
pub(super) struct TokenRules {
    rules: Vec<(CallerIndex, CallerToken)>,
    /// By one claim that each needs, and its value.
    by_claim: BTreeMap<String, HashMap<String, Vec<usize>>>,
    /// Those that need no claim but the audience.
    without_claims: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct AccountRules {
    audience: String,
    callers: HashMap<String, HashMap<String, Owner>>,
}

impl Rules {
    /// The caller that the claims are those of. The reason says what they lack, if they are nobody's.
    pub(super) fn owner(&self, claims: Claims<'_>) -> Result<Owner, &'static str> {
        let owner = match self {
            Self::Tokens(rules) => rules.owner(claims),
            Self::ServiceAccounts(rules) if !claims.is_for(&rules.audience) => {
                return Err("the token is for another audience");
            }
            Self::ServiceAccounts(rules) => rules.owner(claims),
        };
        match owner {
            Owner::Nobody => Err("the claims of the token are those of no caller"),
            owner => Ok(owner),
        }
    }
}

impl TokenRules {
    pub(super) fn add(&mut self, caller: CallerIndex, token: CallerToken) {
        let at = self.rules.len();
        // Of all claims the subject tells the callers apart best.
        let subject = token.claims.get_key_value("sub");
        match subject.or_else(|| token.claims.first_key_value()) {
            Some((name, value)) => {
                let by_value = self.by_claim.entry(name.clone()).or_default();
                by_value.entry(value.clone()).or_default().push(at);
            }
            None => self.without_claims.push(at),
        }
        self.rules.push((caller, token));
    }

    fn owner(&self, claims: Claims<'_>) -> Owner {
        let with_claim = self.by_claim.iter().flat_map(|(name, by_value)| {
            let values = claims.texts(name);
            values.filter_map(|value| by_value.get(value)).flatten()
        });
        let fitting = self
            .without_claims
            .iter()
            .chain(with_claim)
            .map(|at| &self.rules[*at])
            .filter(|(_, token)| {
                let mut required = token.claims.iter();
                claims.is_for(&token.audience)
                    && required.all(|(name, value)| claims.has(name, value))
            });
        fitting.fold(Owner::Nobody, |owner, (caller, _)| {
            owner.or(Owner::One(Identified {
                caller: *caller,
                means: IdentificationMeans::Token,
            }))
        })
    }
}

impl AccountRules {
    pub(super) fn new(audience: &str) -> Self {
        Self {
            audience: audience.to_owned(),
            callers: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, caller: CallerIndex, account: &ServiceAccount) {
        let names = self.callers.entry(account.namespace.clone()).or_default();
        let owner = names.entry(account.name.clone()).or_insert(Owner::Nobody);
        *owner = owner.or(Owner::One(Identified {
            caller,
            means: IdentificationMeans::ServiceAccount,
        }));
    }

    fn owner(&self, claims: Claims<'_>) -> Owner {
        let owner = claims
            .service_account()
            .and_then(|(namespace, name)| self.callers.get(namespace)?.get(name));
        owner.copied().unwrap_or(Owner::Nobody)
    }
}
