//! The open connections of one shard to one endpoint: what is idle, what is shared, and who waits.
//!
//! Nothing here opens a connection, and nothing is shared between threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::available::{Available, Http1State};
use super::http2_connection::Http2Connection;
use super::retirement::{Age, Retirement};
use super::waiting::WaitingRequests;
use crate::http1::Unsolicited;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::UpstreamIo;

/// The open connections of one shard to one endpoint.
pub(super) struct Shelf {
    pub(super) endpoint: Arc<Endpoint>,
    /// HTTP/1.1 connections that no request uses, the newest at the end.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections, whether requests use them or not.
    http2: RefCell<Vec<Rc<Http2Connection>>>,
    pub(super) waiting: WaitingRequests,
    pub(super) retirement: Retirement,
    /// HTTP/1.1 connections that requests use.
    active: Cell<i64>,
    /// What the gauges were last told: active and idle connections.
    reported: Cell<(i64, i64)>,
    /// [`ConnectionPermits::refused`](crate::upstream::ConnectionPermits::refused) as it was last seen.
    refused: Cell<usize>,
    /// [`Budget::shortages`](crate::http2::Budget::shortages) as it was last seen.
    shortages: Cell<usize>,
}

struct Idle {
    io: UpstreamIo,
    state: Box<Http1State>,
    since: Instant,
    /// How long the server promised to keep it.
    keep_alive: Duration,
}

impl Shelf {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            endpoint,
            idle: RefCell::default(),
            http2: RefCell::default(),
            waiting: WaitingRequests::default(),
            retirement: Retirement::default(),
            active: Cell::new(0),
            reported: Cell::new((0, 0)),
            refused: Cell::new(0),
            shortages: Cell::new(0),
        })
    }

    /// A connection that is open and free. The newest idle one is taken first, so that those that are
    /// not needed become old and are swept.
    pub(super) fn take(&self) -> Option<Available> {
        if let Some(shared) = self.available_http2() {
            return Some(shared);
        }
        loop {
            let mut newest = self.idle.borrow_mut().pop()?;
            let now = Instant::now();
            let idle_for = now - newest.since;
            if idle_for >= self.max_idle(newest.keep_alive, now) {
                continue;
            }
            match newest.io.unsolicited() {
                None => {
                    newest.state.idle_for = idle_for;
                    return Some(Available::Http1 {
                        io: newest.io,
                        state: newest.state,
                        reused: true,
                    });
                }
                Some(came) => self.record_lost_idle(came, idle_for),
            }
        }
    }

    /// How long a connection may be idle, of which the server promised this much.
    fn max_idle(&self, keep_alive: Duration, now: Instant) -> Duration {
        let learnt = self.endpoint.history.max_idle(now);
        keep_alive.min(learnt).min(self.endpoint.pool_idle_timeout)
    }

    /// A connection that had been idle for this time was given up, because `came` was found on it.
    #[cold]
    pub(super) fn record_lost_idle(&self, came: Unsolicited, idle_for: Duration) {
        self.endpoint.record_idle_close(idle_for);
        if came == Unsolicited::Stray {
            self.endpoint.record_unsolicited();
            // The others may have unsolicited bytes on the way too.
            self.idle.borrow_mut().clear();
        }
    }

    /// A request uses one more HTTP/1.1 connection.
    pub(super) fn begin_use(&self) {
        self.active.set(self.active.get() + 1);
    }

    /// A request does not use its HTTP/1.1 connection any more.
    pub(super) fn end_use(&self) {
        self.active.set(self.active.get() - 1);
    }

    /// A connection that no request uses any more: the next one gets it, or it becomes idle. It is closed
    /// if it should not carry another request. `keep_alive` is how long the server promised to keep it.
    pub(super) fn put(&self, available: Available, keep_alive: Duration) {
        let Available::Http1 {
            mut io, mut state, ..
        } = available
        else {
            return; // The shelf keeps these all the time.
        };
        let now = Instant::now();
        if self.endpoint.pool_idle_per_shard == 0
            || self.max_idle(keep_alive, now).is_zero()
            || self.should_retire(&state.age, now)
        {
            return;
        }
        if !self.waiting.is_empty() {
            match io.unsolicited() {
                None => {
                    state.idle_for = Duration::ZERO;
                    let unwanted = self.waiting.give(Available::Http1 {
                        io,
                        state,
                        reused: true,
                    });
                    if let Some(Available::Http1 { io, state, .. }) = unwanted {
                        self.keep(io, state, keep_alive, now);
                    }
                }
                Some(came) => self.record_lost_idle(came, Duration::ZERO),
            }
            return;
        }
        self.keep(io, state, keep_alive, now);
    }

    fn keep(&self, io: UpstreamIo, state: Box<Http1State>, keep_alive: Duration, since: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.endpoint.pool_idle_per_shard {
            idle.push(Idle {
                io,
                state,
                since,
                keep_alive,
            });
        }
    }

    /// Adds a new HTTP/2 connection.
    pub(super) fn add_http2(&self, connection: Rc<Http2Connection>) {
        self.http2.borrow_mut().push(connection);
    }

    /// An HTTP/2 connection that takes another stream.
    pub(super) fn available_http2(&self) -> Option<Available> {
        let http2 = self.http2.borrow();
        let found = http2.iter().find(|open| open.is_available()).cloned();
        found.map(|connection| Available::Http2 {
            connection,
            reused: true,
        })
    }

    /// An HTTP/2 connection that takes another stream although it was retired, or is crowded.
    pub(super) fn retired_http2(&self) -> Option<Rc<Http2Connection>> {
        let http2 = self.http2.borrow();
        http2.iter().find(|open| open.has_room()).cloned()
    }

    /// Forgets HTTP/2 connections that have been closed.
    pub(super) fn forget_closed(&self) {
        self.http2.borrow_mut().retain(|open| {
            let is_closed = open.is_closed();
            if is_closed && open.streams() == 0 {
                self.endpoint
                    .record_idle_close(open.idle_for(Instant::now()));
            }
            !is_closed
        });
    }

    /// Closes the connection that has been idle for longest. Whether there was one.
    pub(super) fn drop_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let any = !idle.is_empty();
        idle.drain(..usize::from(any));
        any
    }

    /// Whether no connection is open.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_in_use() && self.idle.borrow().is_empty() && self.http2.borrow().is_empty()
    }

    /// Whether a request uses a connection.
    pub(super) fn is_in_use(&self) -> bool {
        self.active.get() > 0 || self.http2.borrow().iter().any(|open| open.streams() > 0)
    }

    /// Closes what has been idle for too long, and what the server has closed.
    pub(super) fn sweep_idle(&self, now: Instant) {
        let mut lost = Vec::new();
        self.idle.borrow_mut().retain_mut(|idle| {
            // The runtime has looked at all sockets since the last request.
            let came = idle.io.known_unsolicited();
            let idle_for = now.saturating_duration_since(idle.since);
            lost.extend(came.map(|came| (came, idle_for)));
            came.is_none() && idle_for < self.max_idle(idle.keep_alive, now)
        });
        for (came, idle_for) in lost {
            self.record_lost_idle(came, idle_for);
        }
        self.forget_closed();
    }

    /// Closes idle connections when another shard needs their permits, and HTTP/2 connections that have
    /// been idle for too long or were retired. Others give their windows back when those are needed elsewhere.
    pub(super) fn sweep_surplus(&self, now: Instant) {
        let refused = self.endpoint.permits.refused();
        let is_needed_elsewhere = self.refused.replace(refused) != refused;
        if is_needed_elsewhere {
            self.idle.borrow_mut().clear();
        }
        let learnt = self.endpoint.history.max_idle(now);
        let max_idle = if is_needed_elsewhere {
            Duration::ZERO
        } else if learnt.is_zero() {
            // Unsolicited bytes are a fault of HTTP/1.1 alone.
            self.endpoint.pool_idle_timeout
        } else {
            self.endpoint.pool_idle_timeout.min(learnt)
        };
        self.http2.borrow_mut().retain(|open| {
            let is_fresh = open.idle_for(now) < max_idle && !open.is_retired();
            is_fresh || open.streams() > 0
        });
        let shortages = self.endpoint.windows.shortages();
        if self.shortages.replace(shortages) != shortages {
            let http2 = self.http2.borrow();
            let idle = http2.iter().filter(|open| open.streams() == 0);
            idle.for_each(|open| open.give_width_back());
        }
    }

    /// Closes old connections that are idle, and retires those that are not.
    pub(super) fn retire_old(&self, now: Instant) {
        self.retirement.refresh(&self.endpoint);
        self.idle
            .borrow_mut()
            .retain(|idle| !self.should_retire(&idle.state.age, now));
        // One in use keeps its permit until its last stream ends: where there are no more permits, no
        // other connection could take its place before.
        let is_full = self.endpoint.permits.is_full();
        for open in self.http2.borrow().iter() {
            let stays = open.is_retired() || is_full && open.streams() > 0;
            if !stays && self.should_retire(open.age(), now) {
                open.retire();
            }
        }
    }

    fn should_retire(&self, age: &Age, now: Instant) -> bool {
        self.retirement.is_due(&self.endpoint, age, now)
    }

    /// Brings the gauges up to date.
    pub(super) fn report(&self) {
        let http2 = self.http2.borrow();
        let idle_http2 = http2.iter().filter(|open| open.streams() == 0).count();
        let busy_http2 = http2.len() - idle_http2;
        let idle = (self.idle.borrow().len() + idle_http2) as i64;
        let active = self.active.get() + busy_http2 as i64;
        let (before_active, before_idle) = self.reported.replace((active, idle));
        self.endpoint.metrics.active.add(active - before_active);
        self.endpoint.metrics.idle.add(idle - before_idle);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let (active, idle) = self.reported.get();
        self.endpoint.metrics.active.sub(active);
        self.endpoint.metrics.idle.sub(idle);
    }
}
