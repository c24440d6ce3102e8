//! How one request was sent: with which token, and how often.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::snapshot::Injection;
use crate::token::Token;

/// How a request was sent to its upstream. It is written down at once, because the future that sends the request may
/// be dropped at any time.
#[derive(Debug, Default)]
pub struct SendRecord {
    attempts: Cell<u32>,
    /// The token that it carries, or will.
    token: RefCell<Option<Arc<Token>>>,
}

impl SendRecord {
    /// How many attempts have begun.
    pub fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// The token that it carries.
    pub fn token(&self) -> Option<Arc<Token>> {
        self.token.borrow().clone()
    }

    /// What a look at the token that it carries finds, if there is one.
    pub fn with_token<T>(&self, look: impl FnOnce(&Token) -> T) -> Option<T> {
        self.token.borrow().as_deref().map(look)
    }

    /// From now on it carries this token.
    pub fn set_token(&self, token: Arc<Token>) {
        *self.token.borrow_mut() = Some(token);
    }

    /// Whether its token is bound to a key, so that a proof goes with it.
    pub fn has_bound_token(&self) -> bool {
        let token = self.token.borrow();
        token
            .as_ref()
            .is_some_and(|token| token.binding().is_some())
    }

    /// Whether its token may no longer be sent.
    pub fn has_expired_token(&self, injection: &Injection) -> bool {
        let token = self.token.borrow();
        let token = token.as_ref();
        token.is_some_and(|token| !token.is_usable(injection.now()))
    }

    /// Counts an attempt, which `begin` begins with the token that is to be sent.
    pub fn begin_attempt<T>(&self, begin: impl FnOnce(Option<&Token>) -> T) -> T {
        self.attempts.update(|sent| sent + 1);
        begin(self.token.borrow().as_deref())
    }
}
