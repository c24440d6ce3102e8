//! Which caller the claims of one issuer's tokens are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

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

/// Rules by the value of a claim, which mostly tells one caller.
type RulesByValue = HashMap<Box<str>, SmallVec<[TokenRule; 1]>>;

#[derive(Debug, Default)]
pub(super) struct TokenRules {
    /// By one claim that each needs, and its value.
    by_claim: BTreeMap<Box<str>, RulesByValue>,
    /// Those that need no claim but the audience.
    without_claims: Vec<TokenRule>,
}

/// What is needed of a token beyond the claim by which the rule is found.
#[derive(Debug)]
struct TokenRule {
    caller: CallerIndex,
    /// One for all rules with the same audience.
    audience: Arc<str>,
    claims: Box<[(Box<str>, Box<str>)]>,
}

#[derive(Debug)]
pub(super) struct AccountRules {
    audience: String,
    /// By `NAMESPACE:NAME`.
    callers: HashMap<Box<str>, Owner>,
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

impl<'c> FromIterator<(CallerIndex, &'c CallerToken)> for TokenRules {
    fn from_iter<I: IntoIterator<Item = (CallerIndex, &'c CallerToken)>>(callers: I) -> Self {
        let mut rules = Self::default();
        let mut audiences = BTreeSet::new();
        for (caller, token) in callers {
            let audience = match audiences.get(&*token.audience) {
                Some(known) => Arc::clone(known),
                None => Arc::from(&*token.audience),
            };
            audiences.insert(Arc::clone(&audience));
            // Of all claims the subject tells the callers apart best.
            let is_subject = |(name, _): &(Box<str>, Box<str>)| **name == *"sub";
            let found_by = token.claims.iter().position(is_subject).unwrap_or(0);
            let others = token.claims.iter().enumerate();
            let others = others.filter(|(at, _)| *at != found_by);
            let rule = TokenRule {
                caller,
                audience,
                claims: others.map(|(_, claim)| claim.clone()).collect(),
            };
            match token.claims.get(found_by) {
                Some((name, value)) => {
                    let by_value = rules.by_claim.entry(name.clone()).or_default();
                    by_value.entry(value.clone()).or_default().push(rule);
                }
                None => rules.without_claims.push(rule),
            }
        }
        rules
    }
}

impl TokenRules {
    fn owner(&self, claims: Claims<'_>) -> Owner {
        let with_claim = self.by_claim.iter().flat_map(|(name, by_value)| {
            let values = claims.texts(name);
            values.filter_map(|value| by_value.get(value)).flatten()
        });
        let fitting = self.without_claims.iter().chain(with_claim).filter(|rule| {
            let mut required = rule.claims.iter();
            claims.is_for(&rule.audience) && required.all(|(name, value)| claims.has(name, value))
        });
        fitting.fold(Owner::Nobody, |owner, rule| {
            owner.or(Owner::One(Identified {
                caller: rule.caller,
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
        let subject = format!("{}:{}", account.namespace, account.name);
        let owner = self.callers.entry(subject.into());
        let owner = owner.or_insert(Owner::Nobody);
        *owner = owner.or(Owner::One(Identified {
            caller,
            means: IdentificationMeans::ServiceAccount,
        }));
    }

    fn owner(&self, claims: Claims<'_>) -> Owner {
        let account = claims.service_account();
        let owner = account.and_then(|account| self.callers.get(account));
        owner.copied().unwrap_or(Owner::Nobody)
    }
}
