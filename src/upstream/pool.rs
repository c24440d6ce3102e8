//! Connections of one shard to one upstream, kept for the next request.
//!
//! Nothing here is shared between threads: checking a connection out is a look at the end of a
//! vector. The newest idle connection goes out first, so that what is not needed grows old and is
//! swept. No task is spawned for a request, nor for a connection of HTTP/1.1: whoever has the request
//! moves it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::answers::{Answers, Wire};
use super::connect::{Connected, Protocols};
use super::error::ConnectError;
use super::io::Io;
use super::keep_alive;
use super::multiplexed::Multiplexed;
use super::places::Place;
use super::waiting::Waiting;
use super::{Endpoint, HyperIo};
use crate::deadline::Deadline;
use crate::http1::{self, RoundTrip, Sent};

/// What a request body must be for [`Pool`].
pub trait RequestBody:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static
{
}
impl<B> RequestBody for B
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
}

/// The connections of one shard to one upstream.
pub struct Pool<B: RequestBody> {
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle>>,
    streams: RefCell<Vec<Rc<Multiplexed<B>>>>,
    /// Held while the protocol is unknown or HTTP/2, so that a burst opens one connection.
    dialing: tokio::sync::Mutex<()>,
    http1_known: Cell<bool>,
    pub(super) waiting: Waiting<B>,
    failure: RefCell<(u64, Option<Arc<ConnectError>>)>,
    active: Cell<i64>,
    reported: Cell<(i64, i64)>,
    /// [`Places::refused`] as it was last seen.
    refused: Cell<usize>,
}

struct Idle {
    io: Io,
    kept: Kept,
    expires: Instant,
}

/// What stays of a connection of HTTP/1.1 from one request to the next, beside its bytes.
struct Kept {
    _place: Place,
    /// For whoever waits for an answer: one that is armed already costs next to nothing.
    timer: Deadline,
}

/// A connection that is ready for one request.
pub enum Checkout<B: RequestBody> {
    /// All of one.
    Http1(Single<B>),
    /// A stream of one.
    Http2(Stream<B>),
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
    open: Rc<Multiplexed<B>>,
    lease: Lease<B>,
    /// Whether the connection carried a request before.
    pub reused: bool,
}

/// A connection while it carries a request. Dropping it closes an HTTP/1.1 connection, or gives an
/// HTTP/2 stream back.
pub struct Lease<B: RequestBody> {
    pool: Rc<Pool<B>>,
    held: Held<B>,
    keep_alive: Option<Duration>,
}

enum Held<B> {
    Http1(Kept),
    Http2(Rc<Multiplexed<B>>),
    Nothing,
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
        let mut idle = self.idle.borrow_mut();
        while let Some(mut newest) = idle.pop() {
            if newest.expires > Instant::now() && http1::is_quiet(&mut newest.io) {
                return Some(Checkout::Http1(self.single(newest.io, newest.kept, true)));
            }
        }
        None
    }

    /// A connection when none is idle: a new one, or one that is given back meanwhile. `new`: a request
    /// has failed on an old one.
    pub async fn open(self: &Rc<Self>, new: bool) -> Result<Checkout<B>, Arc<ConnectError>> {
        self.streams.borrow_mut().retain(|open| !open.is_closed());
        // Boxed, since a request that finds an idle one must not be as large as a handshake.
        Box::pin(self.dial(new)).await
    }

    /// Closes what has been idle for too long and brings the gauges up to date.
    pub fn sweep(&self, now: Instant) {
        self.idle
            .borrow_mut()
            .retain_mut(|idle| idle.expires > now && http1::is_quiet(&mut idle.io));
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
        self.streams.borrow_mut().retain(|open| {
            let fresh = open.in_flight() > 0 || open.idle_since() + keep > now;
            fresh && !open.is_closed()
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

    pub(super) fn free_stream(&self) -> Option<Rc<Multiplexed<B>>> {
        let streams = self.streams.borrow();
        streams.iter().find(|open| open.is_free()).cloned()
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
        let idle = self
            .idle()
            .filter(|idle| !new || matches!(idle, Checkout::Http2(_)));
        if let Some(idle) = idle {
            // Opened for another one, while this one waited.
            return Ok(idle);
        }
        if self.http1_known.get() {
            // Learnt while this one waited: from here on they dial side by side.
            drop(turn);
            return self.one_of_http1(new).await;
        }
        self.connect().await.map_err(|error| {
            let error = Arc::new(error);
            let mut failure = self.failure.borrow_mut();
            *failure = (failure.0 + 1, Some(Arc::clone(&error)));
            error
        })
    }

    async fn one_of_http1(self: &Rc<Self>, new: bool) -> Result<Checkout<B>, Arc<ConnectError>> {
        match new {
            true => self.connect().await.map_err(Arc::new),
            false => self.wait().await,
        }
    }

    pub(super) async fn connect(self: &Rc<Self>) -> Result<Checkout<B>, ConnectError> {
        self.make_room().await;
        let (connected, place) = self.endpoint.connect(Protocols::Any).await?;
        self.http1_known.set(!connected.http2);
        if connected.http2 {
            let stream = self.begin_http2(connected, place).await?;
            return Ok(Checkout::Http2(stream));
        }
        let kept = Kept {
            _place: place,
            timer: Deadline::default(),
        };
        Ok(Checkout::Http1(self.single(connected.io, kept, false)))
    }

    /// Opens one connection that speaks HTTP/1.1 for a single request, which may upgrade it.
    pub async fn dedicated(self: &Rc<Self>) -> Result<Single<B>, ConnectError> {
        self.make_room().await;
        let (connected, place) = self.endpoint.connect(Protocols::Http1).await?;
        let kept = Kept {
            _place: place,
            timer: Deadline::default(),
        };
        let mut single = self.single(connected.io, kept, false);
        single.lease.retire();
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
        let io = Answers::holding(place, connected.io);
        let wire = io.wire();
        let open = Multiplexed::begin(HyperIo::new(io), wire, &self.endpoint)
            .await
            .map_err(|error| self.endpoint.connector.handshake_failed(&error))?;
        self.streams.borrow_mut().push(Rc::clone(&open));
        Ok(self.stream(open, false))
    }

    fn single(self: &Rc<Self>, io: Io, kept: Kept, reused: bool) -> Single<B> {
        self.active.set(self.active.get() + 1);
        Single {
            io,
            lease: self.lease(Held::Http1(kept)),
            reused,
        }
    }

    pub(super) fn stream(self: &Rc<Self>, open: Rc<Multiplexed<B>>, reused: bool) -> Stream<B> {
        open.stream_begins();
        Stream {
            lease: self.lease(Held::Http2(Rc::clone(&open))),
            open,
            reused,
        }
    }

    fn lease(self: &Rc<Self>, held: Held<B>) -> Lease<B> {
        Lease {
            pool: Rc::clone(self),
            held,
            keep_alive: None,
        }
    }
}

impl<B: RequestBody> Drop for Pool<B> {
    fn drop(&mut self) {
        let (active, idle) = self.reported.get();
        self.endpoint.metrics.active.sub(active);
        self.endpoint.metrics.idle.sub(idle);
    }
}

impl<B: RequestBody> Single<B> {
    /// Nobody has a use for it now.
    pub(super) fn give_back(self) {
        self.lease.release(self.io);
    }

    /// Begins a request with this body. On the heap, where it stays until the end of the response.
    pub fn begin(self, request: Sent<'_>, body: Option<B>) -> Box<(RoundTrip<Io, B>, Lease<B>)> {
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
    /// Whether the upstream takes extended CONNECT (RFC 8441) on it.
    pub async fn takes_connect(&self) -> bool {
        let patience = self.lease.pool.endpoint.connect_protocol_timeout;
        self.open.takes_connect(patience).await
    }

    /// What becomes of the bytes of its connection.
    pub fn wire(&self) -> &Wire {
        self.open.wire()
    }

    /// Sends one request. An error gives the request back when nothing of it was written.
    pub async fn send(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<hyper::body::Incoming>, TrySendError<Request<B>>> {
        let response = self.open.sender().try_send_request(request).await?;
        self.open.answered();
        Ok(response)
    }

    /// The stream, until the response has been read.
    pub fn into_lease(self) -> Lease<B> {
        self.lease
    }
}

impl<B: RequestBody> Lease<B> {
    /// The upstream has answered with these headers.
    pub fn answered(&mut self, headers: &HeaderMap) {
        let promised = keep_alive::timeout(headers);
        self.keep_alive = self.keep_alive.or(promised);
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

    /// The response has been read to its end: the connection may serve the next request.
    pub fn release(mut self, mut io: Io) {
        let keep = self.keep_alive.unwrap_or(Duration::MAX);
        let keep = keep.min(self.pool.endpoint.pool_idle_timeout);
        if keep.is_zero() {
            return;
        }
        if let Held::Http1(kept) = std::mem::replace(&mut self.held, Held::Nothing) {
            let pool = &self.pool;
            pool.active.set(pool.active.get() - 1);
            if !pool.waiting.is_empty() {
                if http1::is_quiet(&mut io) {
                    let single = pool.single(io, kept, true);
                    pool.waiting.give(Checkout::Http1(single));
                }
                return;
            }
            let mut idle = pool.idle.borrow_mut();
            if idle.len() < pool.endpoint.pool_idle_per_shard {
                let expires = Instant::now() + keep;
                idle.push(Idle { io, kept, expires });
            }
        }
    }
}

impl<B: RequestBody> Drop for Lease<B> {
    fn drop(&mut self) {
        match &self.held {
            Held::Http1(_) => self.pool.active.set(self.pool.active.get() - 1),
            Held::Http2(open) => open.stream_ended(),
            Held::Nothing => {}
        }
    }
}
