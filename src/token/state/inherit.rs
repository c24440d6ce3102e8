//! What a source before has left, and whom it serves.

use std::sync::Arc;
use std::time::Duration;

use super::TokenState;
use crate::token::inheritance::{HeldToken, Inheritance, Pending};
use crate::token::schedule::Backoff;
use crate::token::{Moment, Token};

impl TokenState {
    /// A reload changed what is asked for, and this is what is there from before. Nothing if there is a token of
    /// its own.
    pub(in crate::token) fn inherit(&mut self, inheritance: Option<Inheritance>) {
        if self.own_token().is_some() {
            return;
        }
        let (token, pending) = match inheritance {
            None => (None, Some(Pending::default())),
            Some(Inheritance::Own(token)) => {
                // The next attempt is the renewal of this token.
                self.backoff = Backoff::default();
                self.not_before = Duration::ZERO;
                (Some(token), None)
            }
            Some(Inheritance::Kept(token)) => {
                let before = Some(token);
                let pending = Pending {
                    before,
                    ..Pending::default()
                };
                (None, Some(pending))
            }
            Some(Inheritance::Serves {
                token,
                withheld_from,
                is_enough,
            }) => {
                let inherited = Arc::new(token.to_inherited());
                let before = Some(token);
                (
                    Some(inherited),
                    Some(Pending {
                        before,
                        withheld_from,
                        is_enough,
                    }),
                )
            }
        };
        self.token = token;
        self.pending = pending;
    }

    /// Whether what a reload changed has not brought a token yet.
    pub(in crate::token) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The last token that there is while it lives, whoever may get it.
    pub(in crate::token) fn held(&self, now: Moment) -> Option<HeldToken> {
        let held = match self.own_token() {
            Some(own) => HeldToken::Own(Arc::clone(own)),
            None => HeldToken::Before(self.pending.as_ref()?.before.clone()?),
        };
        held.token().is_usable(now).then_some(held)
    }

    /// Whether it has a token that was asked for as others are now.
    pub(in crate::token) fn has_own_token(&self) -> bool {
        self.own_token().is_some()
    }

    /// The upstreams of the credential that must not get the token that serves.
    pub(in crate::token) fn withheld_from(&self, now: Moment) -> &[String] {
        let serves = self.token().is_some_and(|token| token.is_usable(now));
        let pending = self.pending.as_ref().filter(|_| serves);
        pending.map_or(&[], |pending| &pending.withheld_from)
    }

    /// Whether there is a token to be sent, to all upstreams that got tokens of the credential before.
    pub(in crate::token) fn is_supplied(&self, now: Moment) -> bool {
        self.token().is_some_and(|token| token.is_usable(now))
            && self
                .pending
                .as_ref()
                .is_none_or(|pending| pending.is_enough)
    }

    fn own_token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref().filter(|token| !token.is_inherited())
    }
}
