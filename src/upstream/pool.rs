//! Connections of one shard to one upstream, kept for the next request.
//!
//! Nothing here is shared between threads: checking a connection out is a look at the end of a
//! vector. The newest idle connection goes out first, so that what is not needed grows old and is
//! swept. No task is spawned for a request, nor for a connection of HTTP/1.1: whoever has the request
//! moves it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use super::Endpoint;
use super::answers::Answers;
use super::connect::{Connected, Protocols};
use super::error::ConnectError;
use super::io::Io;
use super::multiplexed::Multiplexed;
use super::places::Place;
use crate::http1::{self, Unsolicited};

mod aging;
mod lease;
mod waiting;

pub use aging::Age;
pub use lease::{Carried, Lease, Single, Stream};
use lease::{Held, Kept};
use waiting::Waiting;

/// What a request body must be for [`Pool`].
pub trait RequestBody:
    Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin + 'static
{
}
impl<B> RequestBody for B
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
}

/// The connections of one shard to one upstream.
pub struct Pool<B: RequestBody> {
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle>>,
    streams: RefCell<Vec<Rc<Multiplexed>>>,
    /// Held while the protocol is unknown or HTTP/2, so that a burst opens one connection.
    dialing: tokio::sync::Mutex<()>,
    http1_known: Cell<bool>,
    waiting: Waiting<B>,
    failure: RefCell<(u64, Option<Arc<ConnectError>>)>,
    active: Cell<i64>,
    reported: Cell<(i64, i64)>,
    /// [`Places::refused`] as it was last seen.
    refused: Cell<usize>,
    /// Where the server is no longer and since when, behind the version of that.
    left: RefCell<(u64, HashMap<IpAddr, Instant>)>,
    /// An old connection is in use, since nobody knows whether there would be a new one.
    wants_proof: Cell<bool>,
    /// When the next one may be opened to know that.
    prove_at: Cell<Option<Instant>>,
}

struct Idle {
    io: Io,
    kept: Box<Kept>,
    since: Instant,
    expires: Instant,
}

/// A connection that is ready for one request.
pub enum Checkout<B: RequestBody> {
    /// All of one.
    Http1(Single<B>),
    /// A stream of one.
    Http2(Stream<B>),
}

impl<B: RequestBody> Checkout<B> {
    /// Whether it is still fit for a request. Time may have passed since it was handed out.
    pub fn is_fit(&mut self) -> bool {
        match self {
            Self::Http1(single) => single.is_fit(),
            Self::Http2(_) => true,
        }
    }
}

impl<B: RequestBody> Pool<B> {
    /// An empty pool.
    pub fn new(endpoint: Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            endpoint,
            idle: RefCell::default(),
            streams: RefCell::default(),
            dialing: tokio::sync::Mutex::default(),
            http1_known: Cell::new(false),
            waiting: Waiting::default(),
            failure: RefCell::default(),
            active: Cell::new(0),
            reported: Cell::new((0, 0)),
            refused: Cell::new(0),
            left: RefCell::default(),
            wants_proof: Cell::new(false),
            prove_at: Cell::new(None),
        })
    }

    /// The upstream it connects to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// An idle connection, if there is one.
    pub fn idle(self: &Rc<Self>) -> Option<Checkout<B>> {
        if let Some(open) = self.free_stream() {
            return Some(Checkout::Http2(self.stream(open, true)));
        }
        loop {
            let mut newest = self.idle.borrow_mut().pop()?;
            let now = Instant::now();
            if newest.expires <= now {
                continue;
            }
            let idle_for = now - newest.since;
            match newest.io.unsolicited() {
                None => {
                    newest.kept.idle_for = idle_for;
                    return Some(Checkout::Http1(self.single(newest.io, newest.kept, true)));
                }
                Some(came) => self.ended(came, idle_for),
            }
        }
    }

    /// This came on a connection that had been idle for so long, which was given up for it.
    #[cold]
    fn ended(&self, came: Unsolicited, idle_for: Duration) {
        self.endpoint.ended(idle_for);
        if came == Unsolicited::Stray {
            self.endpoint.strayed();
            // There may be more of that on the others.
            self.idle.borrow_mut().clear();
        }
    }

    /// A connection when none is idle: a new one, or one that is given back meanwhile. `new`: a request
    /// has failed on an old one.
    pub async fn open(self: &Rc<Self>, new: bool) -> Result<Checkout<B>, Arc<ConnectError>> {
        self.forget_closed();
        // Boxed, since a request that finds an idle one must not be as large as a handshake.
        Box::pin(self.dial(new)).await
    }

    /// Those of HTTP/2 that have ended.
    fn forget_closed(&self) {
        self.streams.borrow_mut().retain(|open| {
            let closed = open.is_closed();
            if closed && open.in_flight() == 0 {
                self.endpoint.ended(open.idle_for(Instant::now()));
            }
            !closed
        });
    }

    /// Closes what has been idle or open for too long and brings the gauges up to date.
    pub fn sweep(self: &Rc<Self>, now: Instant) {
        let mut came = Vec::new();
        self.idle.borrow_mut().retain_mut(|idle| {
            // The runtime has looked at all sockets since the last request.
            let unsolicited = http1::unsolicited(&mut idle.io);
            came.extend(unsolicited.map(|unsolicited| (unsolicited, now - idle.since)));
            idle.expires > now && unsolicited.is_none()
        });
        for (came, idle_for) in came {
            self.ended(came, idle_for);
        }
        let learnt = self.endpoint.habits.keep(now);
        if learnt.is_zero() {
            self.idle.borrow_mut().clear();
        }
        self.forget_closed();
        self.retire_old(now);
        let refused = self.endpoint.places.refused();
        let wanted = self.refused.replace(refused) != refused;
        if wanted {
            // Somebody, perhaps of another shard, needs one more than there may be.
            self.idle.borrow_mut().clear();
        }
        let keep = if wanted {
            Duration::ZERO
        } else {
            self.endpoint.pool_idle_timeout
        };
        // What is distrusted is of HTTP/1.1 alone.
        let keep = if learnt.is_zero() {
            keep
        } else {
            keep.min(learnt)
        };
        self.streams.borrow_mut().retain(|open| {
            let idle_for = open.idle_for(now);
            let fresh = !open.is_retired() && idle_for < keep;
            fresh || open.in_flight() > 0
        });
        self.report();
    }

    fn report(&self) {
        let streaming = self.streams.borrow();
        let idle_streams = streaming
            .iter()
            .filter(|open| open.in_flight() == 0)
            .count();
        let busy_streams = streaming.len() - idle_streams;
        let idle = (self.idle.borrow().len() + idle_streams) as i64;
        let active = self.active.get() + busy_streams as i64;
        let (before_active, before_idle) = self.reported.replace((active, idle));
        self.endpoint.metrics.active.add(active - before_active);
        self.endpoint.metrics.idle.add(idle - before_idle);
    }

    fn free_stream(&self) -> Option<Rc<Multiplexed>> {
        let streams = self.streams.borrow();
        streams.iter().find(|open| open.is_free()).cloned()
    }

    /// One that had been replaced, when there is none in its place after all.
    fn retired_stream(&self) -> Option<Rc<Multiplexed>> {
        let streams = self.streams.borrow();
        streams.iter().find(|open| open.has_room()).cloned()
    }

    async fn dial(self: &Rc<Self>, new: bool) -> Result<Checkout<B>, Arc<ConnectError>> {
        if self.http1_known.get() || self.endpoint.connector.only_http1() {
            return self.one_of_http1(new).await;
        }
        let failures = self.failure.borrow().0;
        let turn = self.dialing.lock().await;
        if let (count, Some(error)) = &*self.failure.borrow()
            && *count != failures
        {
            return Err(Arc::clone(error));
        }
        // Opened for another one, while this one waited.
        if let Some(open) = self.free_stream() {
            return Ok(Checkout::Http2(self.stream(open, true)));
        }
        if !new && let Some(idle) = self.idle() {
            return Ok(idle);
        }
        if self.http1_known.get() {
            // Learnt while this one waited: from here on they dial side by side.
            drop(turn);
            return self.one_of_http1(new).await;
        }
        self.connect().await.or_else(|error| {
            if let Some(open) = self.retired_stream() {
                open.serve_on();
                return Ok(Checkout::Http2(self.stream(open, true)));
            }
            let error = Arc::new(error);
            let mut failure = self.failure.borrow_mut();
            *failure = (failure.0 + 1, Some(Arc::clone(&error)));
            Err(error)
        })
    }

    async fn one_of_http1(self: &Rc<Self>, new: bool) -> Result<Checkout<B>, Arc<ConnectError>> {
        match new {
            true => self.connect().await.map_err(Arc::new),
            false => self.wait().await,
        }
    }

    async fn connect(self: &Rc<Self>) -> Result<Checkout<B>, ConnectError> {
        self.make_room().await;
        let (connected, place) = self.endpoint.connect(Protocols::Any).await?;
        self.http1_known.set(!connected.http2);
        if connected.http2 {
            let stream = self.begin_http2(connected, place).await?;
            return Ok(Checkout::Http2(stream));
        }
        let kept = Kept::new(place, self.age(&connected));
        Ok(Checkout::Http1(self.single(connected.io, kept, false)))
    }

    /// Opens one connection that speaks HTTP/1.1 for a single request, which may upgrade it.
    pub async fn dedicated(self: &Rc<Self>) -> Result<Single<B>, ConnectError> {
        self.make_room().await;
        let (connected, place) = self.endpoint.connect(Protocols::Http1).await?;
        let kept = Kept::new(place, self.age(&connected));
        let mut single = self.single(connected.io, kept, false);
        single.retire();
        Ok(single)
    }

    /// Where there are as many connections as there may be, the oldest idle one gives way.
    async fn make_room(&self) {
        if !self.endpoint.places.is_full() {
            return;
        }
        // What nobody holds any more is closed by its own task, which runs before this one goes on.
        tokio::task::yield_now().await;
        if self.endpoint.places.is_full() && self.drop_oldest() {
            tokio::task::yield_now().await;
        }
    }

    fn drop_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let any = !idle.is_empty();
        idle.drain(..usize::from(any));
        any
    }

    async fn begin_http2(
        self: &Rc<Self>,
        connected: Connected,
        place: Place,
    ) -> Result<Stream<B>, ConnectError> {
        let age = self.age(&connected);
        let io = Answers::holding(place, connected.io);
        let open = Multiplexed::begin(io, age, &self.endpoint)
            .await
            .map_err(|error| self.endpoint.connector.handshake_failed(&error))?;
        self.streams.borrow_mut().push(Rc::clone(&open));
        Ok(self.stream(open, false))
    }

    fn age(&self, connected: &Connected) -> Age {
        Age::new(&self.endpoint, connected.peer.ip())
    }

    fn single(self: &Rc<Self>, io: Io, kept: Box<Kept>, reused: bool) -> Single<B> {
        self.active.set(self.active.get() + 1);
        Single::new(io, Lease::new(self, Held::Http1(kept)), reused)
    }

    fn stream(self: &Rc<Self>, open: Rc<Multiplexed>, reused: bool) -> Stream<B> {
        Stream::new(self, open, reused)
    }
}

impl<B: RequestBody> Drop for Pool<B> {
    fn drop(&mut self) {
        let (active, idle) = self.reported.get();
        self.endpoint.metrics.active.sub(active);
        self.endpoint.metrics.idle.sub(idle);
    }
}
