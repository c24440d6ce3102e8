//! Requests that wait for a connection of HTTP/1.1.
//!
//! Whoever waits gets what comes first: a connection that was opened, or one that another request gives
//! back. Only so many are being opened at once. A burst that opened one for each of its requests would
//! share the cores out among all those handshakes, and end with the last of them too late for everyone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{Checkout, ConnectError, Pool, RequestBody};

/// What ends just in time may tell how.
const GRACE: Duration = Duration::from_millis(50);

/// Who waits, and how many connections are being opened for them.
pub(super) struct Waiting<B: RequestBody> {
    queue: RefCell<VecDeque<Waiter<B>>>,
    opening: Cell<usize>,
}

struct Waiter<B: RequestBody> {
    since: Instant,
    given: oneshot::Sender<Outcome<B>>,
}

type Outcome<B> = Result<Given<B>, Arc<ConnectError>>;

/// A connection on its way to who waits. If nobody is there any more it goes back to its pool.
struct Given<B: RequestBody>(Option<Checkout<B>>);

impl<B: RequestBody> Drop for Given<B> {
    fn drop(&mut self) {
        if let Some(Checkout::Http1(single)) = self.0.take() {
            single.give_back();
        }
    }
}

impl<B: RequestBody> Default for Waiting<B> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            opening: Cell::new(0),
        }
    }
}

impl<B: RequestBody> Waiting<B> {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Hands a connection to who has waited longest. If nobody waits it goes back to its pool.
    pub(super) fn give(&self, checkout: Checkout<B>) {
        self.tell(Ok(Given(Some(checkout))));
    }

    fn tell(&self, mut outcome: Outcome<B>) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(next) = next else { return };
            match next.given.send(outcome) {
                Ok(()) => return,
                // It has gone away.
                Err(returned) => outcome = returned,
            }
        }
    }

    /// Tells who has waited longest that an attempt has failed, if they were there when it began. Who
    /// came later has one that is younger, or gets one.
    fn fail(&self, began: Instant, error: ConnectError) {
        self.forget_gone();
        let first = self.queue.borrow().front().map(|waiter| waiter.since);
        if first.is_some_and(|since| since <= began) {
            self.tell(Err(Arc::new(error)));
        }
    }

    /// So that they do not count for those who have waited longest.
    fn forget_gone(&self) {
        let mut queue = self.queue.borrow_mut();
        while queue.front().is_some_and(|waiter| waiter.given.is_closed()) {
            queue.pop_front();
        }
    }

    /// Takes a place at the end.
    fn take_place(&self) -> oneshot::Receiver<Outcome<B>> {
        let (given, outcome) = oneshot::channel();
        let since = Instant::now();
        self.forget_gone();
        self.queue.borrow_mut().push_back(Waiter { since, given });
        outcome
    }

    /// Whether one is being opened for each of those who wait.
    fn are_all_served(&self) -> bool {
        self.opening.get() >= self.queue.borrow().len()
    }
}

impl<B: RequestBody> Pool<B> {
    /// Waits for a connection, for as long as opening one may take.
    pub(super) async fn wait(self: &Rc<Self>) -> Result<Checkout<B>, Arc<ConnectError>> {
        let given = self.waiting.take_place();
        self.open_more();
        let within = self.endpoint().connect_timeout;
        let grace = match self.waiting.are_all_served() {
            // Each ends in time, and tells what kept it, unless it is too old for this request.
            true => GRACE,
            false => Duration::ZERO,
        };
        let no_turn = || Arc::new(self.endpoint().connector.no_turn(within));
        match timeout(within + grace, given).await {
            Ok(Ok(Ok(mut given))) => Ok(given.0.take().expect("nobody else takes it")),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err(no_turn()),
        }
    }

    /// Opens connections, one for each of those who wait, as far as that is allowed.
    fn open_more(self: &Rc<Self>) {
        let waiting = &self.waiting;
        let max = self.endpoint().connecting_per_shard;
        while waiting.opening.get() < max && !waiting.are_all_served() {
            waiting.opening.set(waiting.opening.get() + 1);
            let pool = Rc::clone(self);
            // Whoever waits may be served by another one, or go away, and then this is for the next.
            tokio::task::spawn_local(async move {
                let began = Instant::now();
                let opened = pool.connect().await;
                let waiting = &pool.waiting;
                waiting.opening.set(waiting.opening.get() - 1);
                match opened {
                    Ok(checkout) => waiting.give(checkout),
                    Err(error) => waiting.fail(began, error),
                }
                pool.share_streams();
                pool.open_more();
            });
        }
    }

    /// The upstream has begun to speak HTTP/2: one connection is enough for many.
    fn share_streams(self: &Rc<Self>) {
        while !self.waiting.is_empty()
            && let Some(open) = self.free_stream()
        {
            self.waiting.give(Checkout::Http2(self.stream(open, true)));
        }
    }
}
