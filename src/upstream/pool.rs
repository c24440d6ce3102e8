//! Connections of one shard to one upstream, kept for the next request.
//!
//! Nothing here is shared between threads: checking a connection out is a look at the end of a
//! vector. The newest idle connection goes out first, so that what is not needed grows old and is
//! swept. No task is spawned per request; one drives each connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::time::Instant;

use super::answers::{Answers, Wire};
use super::connect::Protocols;
use super::error::ConnectError;
use super::keep_alive;
use super::multiplexed::Multiplexed;
use super::{Endpoint, HyperIo};
use crate::deadline::Deadline;

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
pub struct Pool<B> {
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle<B>>>,
    streams: RefCell<Vec<Rc<Multiplexed<B>>>>,
    /// Held while the protocol is unknown or HTTP/2, so that a burst opens one connection.
    dialing: tokio::sync::Mutex<()>,
    http1_known: Cell<bool>,
    failure: RefCell<(u64, Option<Arc<ConnectError>>)>,
    active: Cell<i64>,
    reported: Cell<(i64, i64)>,
    /// [`Places::refused`] as it was last seen.
    refused: Cell<usize>,
}

struct Idle<B> {
    single: Single<B>,
    expires: Instant,
}

/// A connection for one request after another.
struct Single<B> {
    sender: http1::SendRequest<B>,
    wire: Arc<Wire>,
    /// For whoever waits for an answer: one that is armed already costs next to nothing.
    timer: Deadline,
}

/// A connection that is ready for one request.
pub struct Checkout<B> {
    lease: Lease<B>,
    /// Whether it carried a request before: the upstream may have closed it meanwhile.
    pub reused: bool,
    /// How many bytes had arrived before the request.
    read_before: usize,
}

enum Sender<B> {
    Http1(Single<B>),
    Http2(Rc<Multiplexed<B>>),
}

/// A connection while it carries a request. [`Lease::release`] gives it back; dropping it closes an
/// HTTP/1.1 connection and resets an HTTP/2 stream.
pub struct Lease<B> {
    pool: Rc<Pool<B>>,
    sender: Option<Sender<B>>,
    keep_alive: Option<Duration>,
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
        let sender = self.take_idle()?;
        Some(self.checked_out(sender, true))
    }

    /// A new connection: when none is idle, or a request has failed on an idle one.
    pub async fn open(self: &Rc<Self>) -> Result<Checkout<B>, Arc<ConnectError>> {
        self.streams.borrow_mut().retain(|open| !open.is_closed());
        // Boxed, since a request that finds an idle one must not be as large as a handshake.
        Box::pin(self.dial()).await
    }

    /// Closes what has been idle for too long and brings the gauges up to date.
    pub fn sweep(&self, now: Instant) {
        self.idle
            .borrow_mut()
            .retain(|idle| idle.expires > now && !idle.single.is_closed());
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

    fn take_idle(&self) -> Option<Sender<B>> {
        if let Some(open) = self.free_stream() {
            return Some(Sender::Http2(open));
        }
        let mut idle = self.idle.borrow_mut();
        // From the newest on. One that was just given back may still be finishing its last
        // response or upload: it stays for a later request.
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].single.is_closed() {
                idle.remove(at);
            } else if idle[at].single.sender.is_ready() {
                let Idle { single, expires } = idle.remove(at);
                if expires > Instant::now() {
                    return Some(Sender::Http1(single));
                }
            }
        }
        None
    }

    fn free_stream(&self) -> Option<Rc<Multiplexed<B>>> {
        let streams = self.streams.borrow();
        streams.iter().find(|open| open.is_free()).cloned()
    }

    async fn dial(self: &Rc<Self>) -> Result<Checkout<B>, Arc<ConnectError>> {
        if self.http1_known.get() || self.endpoint.connector.only_http1() {
            return self.connect().await.map_err(Arc::new);
        }
        let failures = self.failure.borrow().0;
        let turn = self.dialing.lock().await;
        if let (count, Some(error)) = &*self.failure.borrow()
            && *count != failures
        {
            return Err(Arc::clone(error));
        }
        if let Some(open) = self.free_stream() {
            return Ok(self.checked_out(Sender::Http2(open), true));
        }
        if self.http1_known.get() {
            // Learnt while this one waited: from here on they dial side by side.
            drop(turn);
            return self.connect().await.map_err(Arc::new);
        }
        self.connect().await.map_err(|error| {
            let error = Arc::new(error);
            let mut failure = self.failure.borrow_mut();
            *failure = (failure.0 + 1, Some(Arc::clone(&error)));
            error
        })
    }

    async fn connect(self: &Rc<Self>) -> Result<Checkout<B>, ConnectError> {
        self.make_room().await;
        let (io, http2) = self.endpoint.connect(Protocols::Any).await?;
        self.http1_known.set(!http2);
        self.handshake(io, http2).await
    }

    /// Opens one connection for a single request; see [`Endpoint::dedicated`].
    pub async fn dedicated(&self) -> Result<(http1::SendRequest<B>, Arc<Wire>), ConnectError> {
        self.make_room().await;
        self.endpoint.dedicated().await
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

    async fn handshake(
        self: &Rc<Self>,
        io: Answers,
        http2: bool,
    ) -> Result<Checkout<B>, ConnectError> {
        let wire = io.wire();
        let io = HyperIo::new(io);
        if !http2 {
            let builder = self.endpoint.http1_builder();
            let (sender, connection) = builder
                .handshake(io)
                .await
                .map_err(|error| self.endpoint.connector.handshake_failed(&error))?;
            tokio::task::spawn_local(async move {
                // Whoever holds the request or the body hears of the error there.
                let _ = connection.await;
            });
            let single = Single {
                sender,
                wire,
                timer: Deadline::default(),
            };
            return Ok(self.checked_out(Sender::Http1(single), false));
        }
        let open = Multiplexed::begin(io, wire, &self.endpoint)
            .await
            .map_err(|error| self.endpoint.connector.handshake_failed(&error))?;
        self.streams.borrow_mut().push(Rc::clone(&open));
        Ok(self.checked_out(Sender::Http2(open), false))
    }

    fn checked_out(self: &Rc<Self>, sender: Sender<B>, reused: bool) -> Checkout<B> {
        match &sender {
            Sender::Http1(_) => self.active.set(self.active.get() + 1),
            Sender::Http2(open) => open.stream_begins(),
        }
        let lease = Lease {
            pool: Rc::clone(self),
            sender: Some(sender),
            keep_alive: None,
        };
        Checkout {
            lease,
            reused,
            read_before: 0,
        }
    }
}

impl<B> Drop for Pool<B> {
    fn drop(&mut self) {
        let (active, idle) = self.reported.get();
        self.endpoint.metrics.active.sub(active);
        self.endpoint.metrics.idle.sub(idle);
    }
}

impl<B: RequestBody> Checkout<B> {
    /// Whether HTTP/2 is spoken on it.
    pub fn is_http2(&self) -> bool {
        matches!(self.lease.sender, Some(Sender::Http2(_)))
    }

    /// Whether the upstream takes extended CONNECT (RFC 8441) on it.
    pub async fn takes_connect(&self) -> bool {
        match &self.lease.sender {
            Some(Sender::Http2(open)) => {
                let patience = self.lease.pool.endpoint.connect_protocol_timeout;
                open.takes_connect(patience).await
            }
            _ => false,
        }
    }

    /// What becomes of its bytes.
    pub fn wire(&self) -> &Wire {
        match &self.lease.sender {
            Some(Sender::Http1(single)) => &single.wire,
            Some(Sender::Http2(open)) => open.wire(),
            None => unreachable!("a lease holds its sender until it is released"),
        }
    }

    /// Whether anything arrived since the request was sent.
    pub fn has_heard(&self) -> bool {
        self.wire().read() != self.read_before
    }

    /// Gives it back unused.
    pub fn release(self) {
        self.lease.release();
    }

    /// A timer for the wait for the answer, to be given back to [`Checkout::keep`].
    pub fn timer(&mut self) -> Deadline {
        match &mut self.lease.sender {
            Some(Sender::Http1(single)) => std::mem::take(&mut single.timer),
            _ => Deadline::default(),
        }
    }

    /// Keeps the timer for the next request on this connection.
    pub fn keep(&mut self, timer: Deadline) {
        if let Some(Sender::Http1(single)) = &mut self.lease.sender {
            single.timer = timer;
        }
    }

    /// Sends one request. An error gives the request back when nothing of it was written.
    pub async fn send(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        self.read_before = self.wire().read();
        let lease = &mut self.lease;
        let response = match lease.sender.as_mut() {
            Some(Sender::Http1(single)) => single.sender.try_send_request(request).await?,
            Some(Sender::Http2(open)) => {
                let response = open.sender().try_send_request(request).await?;
                open.answered();
                response
            }
            None => unreachable!("a lease holds its sender until it is released"),
        };
        lease.keep_alive = keep_alive::timeout(response.headers());
        Ok(response)
    }

    /// The connection, until the response has been read.
    pub fn into_lease(self) -> Lease<B> {
        self.lease
    }
}

impl<B> Single<B> {
    /// After a write that failed nothing that is sent on it arrives.
    fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.wire.is_unheard()
    }
}

impl<B> Lease<B> {
    /// No other request is to follow on it, however its response ends.
    pub fn retire(&mut self) {
        if let Some(Sender::Http1(_)) = self.sender {
            self.keep_alive = Some(Duration::ZERO);
        }
    }

    /// The response has been read to its end: the connection may serve the next request.
    pub fn release(mut self) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        let pool = &self.pool;
        match sender {
            Sender::Http1(single) => {
                pool.active.set(pool.active.get() - 1);
                let mut idle = pool.idle.borrow_mut();
                let keep = self.keep_alive.unwrap_or(Duration::MAX);
                let keep = keep.min(pool.endpoint.pool_idle_timeout);
                let room = idle.len() < pool.endpoint.pool_idle_per_shard;
                if room && !keep.is_zero() && !single.is_closed() {
                    let expires = Instant::now() + keep;
                    idle.push(Idle { single, expires });
                }
            }
            Sender::Http2(open) => open.stream_ended(),
        }
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        match self.sender.take() {
            Some(Sender::Http1(_)) => self.pool.active.set(self.pool.active.get() - 1),
            Some(Sender::Http2(open)) => open.stream_ended(),
            None => {}
        }
    }
}
