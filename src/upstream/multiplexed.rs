//! One HTTP/2 connection to an upstream, shared by the streams of a shard.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use tokio::time::Instant;

use super::Endpoint;
use super::answers::{Answers, Wire};
use super::pool::{Age, RequestBody};
use crate::deadline::Deadline;
use crate::http2::{self, RoundTrip};

/// One connection and its streams.
pub struct Multiplexed {
    connection: http2::Connection,
    wire: Arc<Wire>,
    /// More than these, or than its server allows, need another connection.
    max_streams: usize,
    idle_since: Cell<Instant>,
    /// For at least so long it was idle before its next answer.
    idled: Cell<Duration>,
    /// What the server says of itself has arrived.
    settled: Cell<bool>,
    age: Age,
    /// It carries no more requests as long as there is another.
    retired: Cell<bool>,
    /// A request has waited in vain while nothing came.
    doubted: Cell<bool>,
    /// For those who wait for an answer: one that is armed already costs next to nothing.
    timers: RefCell<Vec<Deadline>>,
}

impl Multiplexed {
    /// Begins HTTP/2 on a new connection, and drives it from then on.
    pub async fn begin(
        io: Answers,
        age: Age,
        endpoint: &Endpoint,
    ) -> Result<Rc<Self>, http2::Error> {
        let wire = io.wire();
        let heard = Arc::clone(&wire);
        let settings = settings(endpoint);
        let connection = http2::Connection::begin(io, move || heard.arrived(), &settings).await?;
        Ok(Rc::new(Self {
            connection,
            wire,
            max_streams: endpoint.http2.max_streams as usize,
            idle_since: Cell::new(Instant::now()),
            idled: Cell::default(),
            settled: Cell::new(false),
            age,
            retired: Cell::new(false),
            doubted: Cell::new(false),
            timers: RefCell::default(),
        }))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send<B: RequestBody>(&self, request: Request<B>) -> Result<RoundTrip, http2::Error> {
        self.connection.send(request)
    }

    /// A timer for whoever waits for an answer.
    pub fn timer(&self) -> Deadline {
        self.timers.borrow_mut().pop().unwrap_or_default()
    }

    /// Nobody waits with this timer any more.
    pub fn keep_timer(&self, timer: Deadline) {
        self.timers.borrow_mut().push(timer);
    }

    /// Since when it is open.
    pub fn age(&self) -> &Age {
        &self.age
    }

    /// It ends with its last stream, and gets no more of them as long as there is another.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    /// There is no other: it gets more of them again.
    pub fn serve_on(&self) {
        self.retired.set(false);
    }

    /// Whether it has been retired.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether it takes another stream and is to have it.
    pub fn is_free(&self) -> bool {
        !self.retired.get() && self.has_room()
    }

    /// Whether it takes another stream.
    pub fn has_room(&self) -> bool {
        let most = self.connection.max_streams().min(self.max_streams);
        self.in_flight() < most && !self.is_closed()
    }

    /// Whether it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.doubted.get() || self.connection.is_closed() || self.wire.is_unheard()
    }

    /// Nothing has come for so long that its server may have vanished: it gets no other request.
    pub fn doubt(&self) {
        self.doubted.set(true);
    }

    /// Whether the server takes extended CONNECT (RFC 8441), which it must have said before it is
    /// asked for one. Its settings are the first that it sends (RFC 9113 section 3.4): one that
    /// knows of it has said so within `patience`.
    pub async fn supports_connect(&self, patience: Duration) -> bool {
        let said = std::future::poll_fn(|cx| match self.connection.supports_connect() {
            Some(false) if !self.settled.get() => {
                self.connection.watch(cx.waker());
                Poll::Pending
            }
            known => Poll::Ready(known == Some(true)),
        });
        let said = tokio::time::timeout(patience, said).await;
        self.settled.set(true);
        said.unwrap_or(false)
    }

    /// What becomes of its bytes.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The server has answered a request. For how long it had been idle before, as far as that was asked.
    pub fn answered(&self) -> Duration {
        self.settled.set(true);
        self.idled.take()
    }

    /// Streams open now.
    pub fn in_flight(&self) -> usize {
        self.connection.streams()
    }

    /// For how long there has been no stream; meaningless while there are any.
    pub fn idle_for(&self, now: Instant) -> Duration {
        let idle_for = now.saturating_duration_since(self.idle_since.get());
        if self.in_flight() == 0 {
            self.idled.set(idle_for);
        }
        idle_for
    }

    /// One more is open.
    pub fn begin_stream(&self) {
        self.connection.begin_stream();
    }

    /// One less is.
    pub fn end_stream(&self) {
        self.connection.end_stream();
        if self.in_flight() == 0 {
            self.idle_since.set(Instant::now());
        }
    }
}

/// What frames of unread responses may be short of 256 bytes, for each byte of the windows that streams
/// always have, before the connection is ended: as much as if all were full of frames of 24 bytes.
const ROOM_FOR_SMALL_FRAMES: usize = 10;

fn settings(endpoint: &Endpoint) -> http2::Settings {
    let http2 = &endpoint.http2;
    let always = http2.connection_window() as usize;
    http2::Settings {
        windows: http2::Sizes {
            stream: http2.stream_window,
            max_streams: http2.max_streams,
            budget: Arc::clone(&endpoint.windows),
        },
        small_frames: always.saturating_mul(ROOM_FOR_SMALL_FRAMES).min(1 << 30),
        max_header_bytes: u32::try_from(endpoint.max_header_bytes).unwrap_or(u32::MAX),
        send_buffer: endpoint.body_buffer,
        pace: Arc::clone(&endpoint.pace),
        ping_timeout: http2.ping_timeout,
    }
}
