//! A connection while it carries a request.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request};
use tokio::time::Instant;

use super::{Age, Checkout, Idle, Pool, RequestBody};
use crate::deadline::Deadline;
use crate::http1::{RequestHead, RoundTrip, Unsolicited};
use crate::http2;
use crate::upstream::answers::Wire;
use crate::upstream::io::Io;
use crate::upstream::keep_alive;
use crate::upstream::multiplexed::Multiplexed;
use crate::upstream::places::Place;

/// What stays of a connection of HTTP/1.1 from one request to the next, beside its bytes. On the heap, so
/// that a lease is no larger than it must be.
pub(super) struct Kept {
    _place: Place,
    /// For whoever waits for an answer: one that is armed already costs next to nothing.
    timer: Deadline,
    age: Age,
    /// How long it had been idle before the request that it carries.
    pub(super) idle_for: Duration,
}

impl Kept {
    /// Of a connection that has just been opened.
    pub(super) fn new(place: Place, age: Age) -> Box<Self> {
        Box::new(Self {
            _place: place,
            timer: Deadline::default(),
            age,
            idle_for: Duration::ZERO,
        })
    }

    /// Since when it is open.
    pub(super) fn age(&self) -> &Age {
        &self.age
    }
}

/// A connection of HTTP/1.1 that is ready for one request.
pub struct Single<B: RequestBody> {
    io: Io,
    lease: Lease<B>,
    /// Whether it carried a request before: the upstream may have closed it meanwhile.
    pub reused: bool,
}

/// A place for one request on a connection of HTTP/2.
pub struct Stream<B: RequestBody> {
    open: Rc<Multiplexed>,
    lease: Lease<B>,
    /// Whether the connection carried a request before.
    pub reused: bool,
}

/// A connection while it carries a request. Dropping it closes an HTTP/1.1 connection, or gives an
/// HTTP/2 stream back.
pub struct Lease<B: RequestBody> {
    pool: Rc<Pool<B>>,
    held: Held,
    keep_alive: Option<Duration>,
}

/// A request over HTTP/1.1 and the connection that carries it.
pub type Carried<B> = Box<(RoundTrip<Io, B>, Lease<B>)>;

pub(super) enum Held {
    Http1(Box<Kept>),
    Http2(Rc<Multiplexed>),
    Nothing,
}

impl<B: RequestBody> Single<B> {
    pub(super) fn new(io: Io, lease: Lease<B>, reused: bool) -> Self {
        Self { io, lease, reused }
    }

    /// No other request is to follow.
    pub(super) fn retire(&mut self) {
        self.lease.retire();
    }

    /// Nobody has a use for it now.
    pub(super) fn give_back(self) {
        self.lease.release(self.io);
    }

    /// Whether it is still fit for a request. Time may have passed since it was handed out.
    pub fn is_fit(&mut self) -> bool {
        if !self.reused {
            // What a new one says at once is the answer.
            return true;
        }
        let came = self.io.unsolicited();
        let idle_for = self.lease.idle_for();
        let ended = |came: &Unsolicited| self.lease.pool.ended(*came, idle_for);
        came.inspect(ended).is_none()
    }

    /// Begins a request with this body. On the heap, where it stays until the end of the response.
    pub fn begin(self, request: RequestHead<'_>, body: Option<B>) -> Carried<B> {
        let endpoint = &self.lease.pool.endpoint;
        let trip = RoundTrip::new(
            self.io,
            request,
            body,
            endpoint.limits(),
            endpoint.body_buffer,
        );
        Box::new((trip, self.lease))
    }
}

impl<B: RequestBody> Stream<B> {
    pub(super) fn new(pool: &Rc<Pool<B>>, open: Rc<Multiplexed>, reused: bool) -> Self {
        open.begin_stream();
        Self {
            lease: Lease::new(pool, Held::Http2(Rc::clone(&open))),
            open,
            reused,
        }
    }

    /// Whether the upstream takes extended CONNECT (RFC 8441) on it.
    pub async fn supports_connect(&self) -> bool {
        let patience = self.lease.pool.endpoint.connect_protocol_timeout;
        self.open.supports_connect(patience).await
    }

    /// Whether its connection takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.open.is_closed()
    }

    /// What becomes of the bytes of its connection.
    pub fn wire(&self) -> &Wire {
        self.open.wire()
    }

    /// Its server may have vanished: no other request is to follow on its connection.
    pub fn doubt(&self) {
        self.open.doubt();
    }

    /// A timer for whoever waits for the answer.
    pub fn timer(&self) -> Deadline {
        self.open.timer()
    }

    /// The answer is there, and the next stream may have it.
    pub fn keep_timer(&self, timer: Deadline) {
        self.open.keep_timer(timer);
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send(&self, request: Request<B>) -> Result<http2::RoundTrip, http2::Error> {
        self.open.send(request)
    }

    /// Its request has been answered. What it holds, until the response has been read.
    pub fn answered(self) -> Lease<B> {
        let idle_for = self.open.answered();
        self.lease.pool.endpoint.habits.answered(idle_for);
        self.lease
    }
}

impl<B: RequestBody> Lease<B> {
    pub(super) fn new(pool: &Rc<Pool<B>>, held: Held) -> Self {
        Self {
            pool: Rc::clone(pool),
            held,
            keep_alive: None,
        }
    }

    /// The upstream has answered with these headers.
    pub fn answered(&mut self, headers: &HeaderMap) {
        let promised = keep_alive::timeout(headers);
        self.keep_alive = self.keep_alive.or(promised);
        self.pool.endpoint.habits.answered(self.idle_for());
    }

    /// No other request is to follow on it, however its response ends.
    pub fn retire(&mut self) {
        self.keep_alive = Some(Duration::ZERO);
    }

    /// The timer of its connection.
    pub fn timer(&mut self) -> Option<&mut Deadline> {
        match &mut self.held {
            Held::Http1(kept) => Some(&mut kept.timer),
            _ => None,
        }
    }

    /// The upstream had ended the connection when the request came.
    #[cold]
    pub fn ended(&self) {
        self.pool.endpoint.ended(self.idle_for());
    }

    fn idle_for(&self) -> Duration {
        match &self.held {
            Held::Http1(kept) => kept.idle_for,
            _ => Duration::ZERO,
        }
    }

    /// Something came behind the response that nothing had asked for.
    pub fn strayed(&self) {
        self.pool.endpoint.strayed();
    }

    /// The response has been read to its end: the connection may serve the next request.
    pub fn release(mut self, mut io: Io) {
        let (endpoint, now) = (&self.pool.endpoint, Instant::now());
        let keep = self.keep_alive.unwrap_or(Duration::MAX);
        let keep = keep.min(endpoint.habits.keep(now));
        let keep = keep.min(endpoint.pool_idle_timeout);
        let retires = |kept: &Kept| self.pool.retires(&kept.age, now);
        if keep.is_zero()
            || endpoint.pool_idle_per_shard == 0
            || matches!(&self.held, Held::Http1(kept) if retires(kept))
        {
            return;
        }
        if let Held::Http1(mut kept) = std::mem::replace(&mut self.held, Held::Nothing) {
            let pool = &self.pool;
            pool.active.set(pool.active.get() - 1);
            if !pool.waiting.is_empty() {
                match io.unsolicited() {
                    None => {
                        kept.idle_for = Duration::ZERO;
                        let single = pool.single(io, kept, true);
                        pool.waiting.give(Checkout::Http1(single));
                    }
                    Some(came) => pool.ended(came, Duration::ZERO),
                }
                return;
            }
            let mut idle = pool.idle.borrow_mut();
            if idle.len() < pool.endpoint.pool_idle_per_shard {
                let expires = now + keep;
                idle.push(Idle {
                    io,
                    kept,
                    since: now,
                    expires,
                });
            }
        }
    }
}

impl<B: RequestBody> Drop for Lease<B> {
    fn drop(&mut self) {
        match &self.held {
            Held::Http1(_) => self.pool.active.set(self.pool.active.get() - 1),
            Held::Http2(open) => open.end_stream(),
            Held::Nothing => {}
        }
    }
}
