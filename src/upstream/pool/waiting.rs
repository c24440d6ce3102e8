//! Requests that wait for an HTTP/1.1 connection.
//!
//! Each gets what comes first: a connection that was opened, or one that another request gives back. Only a
//! limited number is opened at once. A burst that opened one for each of its requests would divide the cores
//! among all those handshakes, and all of them would end late.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::available::Available;
use crate::upstream::error::ConnectError;

/// What a waiting request gets: a connection, or the error of an attempt to open one.
pub(super) type Outcome = Result<Available, Arc<ConnectError>>;

/// The requests that wait for a connection, and how many connections are being opened for them.
#[derive(Default)]
pub(super) struct WaitingRequests {
    queue: RefCell<VecDeque<Waiter>>,
    opening: Cell<usize>,
}

struct Waiter {
    since: Instant,
    outcome: oneshot::Sender<Outcome>,
}

impl WaitingRequests {
    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Hands a connection to the request that has waited longest. Returns it if no request waits.
    pub(super) fn give(&self, connection: Available) -> Option<Available> {
        self.deliver(Ok(connection))?.ok()
    }

    fn deliver(&self, mut outcome: Outcome) -> Option<Outcome> {
        loop {
            let Some(next) = self.queue.borrow_mut().pop_front() else {
                return Some(outcome);
            };
            // The request may have gone away.
            outcome = next.outcome.send(outcome).err()?;
        }
    }

    /// Tells the request that has waited longest that an attempt has failed, if it waited when the attempt
    /// began. Another attempt is or will be made for those that came later.
    pub(super) fn fail(&self, began: Instant, error: ConnectError) {
        self.forget_gone();
        let first = self.queue.borrow().front().map(|waiter| waiter.since);
        if first.is_some_and(|since| since <= began) {
            self.deliver(Err(Arc::new(error)));
        }
    }

    /// Requests that have gone away must not count as those that have waited longest.
    fn forget_gone(&self) {
        let mut queue = self.queue.borrow_mut();
        while queue
            .front()
            .is_some_and(|waiter| waiter.outcome.is_closed())
        {
            queue.pop_front();
        }
    }

    /// Puts a request at the end of the queue.
    pub(super) fn enqueue(&self) -> oneshot::Receiver<Outcome> {
        let (outcome, receiver) = oneshot::channel();
        let since = Instant::now();
        self.forget_gone();
        self.queue.borrow_mut().push_back(Waiter { since, outcome });
        receiver
    }

    /// Whether a connection is being opened for each request that waits.
    pub(super) fn are_all_served(&self) -> bool {
        self.opening.get() >= self.queue.borrow().len()
    }

    /// Connections that are being opened.
    pub(super) fn opening(&self) -> usize {
        self.opening.get()
    }

    /// One more connection is being opened.
    pub(super) fn begin_opening(&self) {
        self.opening.set(self.opening.get() + 1);
    }

    /// An attempt to open one has succeeded or failed.
    pub(super) fn end_opening(&self) {
        self.opening.set(self.opening.get() - 1);
    }
}
