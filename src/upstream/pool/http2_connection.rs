//! An HTTP/2 connection to an upstream, which the requests of one shard share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use tokio::time::Instant;

use super::retirement::Age;
use crate::deadline::Deadline;
use crate::http2::{self, RoundTrip};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http2_io::{Http2Io, TransportStatus};
use crate::upstream::outgoing_body::OutgoingBody;

/// An HTTP/2 connection and the number of its streams.
pub struct Http2Connection {
    connection: http2::Connection,
    status: Arc<TransportStatus>,
    /// More streams than this, or than the server allows, need another connection.
    max_streams: usize,
    idle_since: Cell<Instant>,
    /// How long it had been idle before its next answer, as it was last measured.
    idle_before_answer: Cell<Duration>,
    /// Its server has not sent its settings in time. They are not waited for again.
    is_silent: Cell<bool>,
    age: Age,
    /// It gets no more requests as long as there is another connection.
    is_retired: Cell<bool>,
    /// A request has timed out while nothing came on this connection.
    is_suspect: Cell<bool>,
    /// For requests that wait for an answer. To use one that is armed already costs almost nothing.
    timers: RefCell<Vec<Deadline>>,
}

impl Http2Connection {
    /// Begins HTTP/2 on a new connection, and drives it from then on.
    pub async fn begin(
        io: Http2Io,
        age: Age,
        endpoint: &Endpoint,
    ) -> Result<Rc<Self>, http2::Error> {
        let status = io.status();
        let heard = Arc::clone(&status);
        let settings = settings(endpoint);
        let connection = http2::Connection::begin(io, move || heard.arrived(), &settings).await?;
        Ok(Rc::new(Self {
            connection,
            status,
            max_streams: endpoint.http2.max_streams as usize,
            idle_since: Cell::new(Instant::now()),
            idle_before_answer: Cell::default(),
            is_silent: Cell::new(false),
            age,
            is_retired: Cell::new(false),
            is_suspect: Cell::new(false),
            timers: RefCell::default(),
        }))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send<B: OutgoingBody>(
        &self,
        request: Request<Option<B>>,
    ) -> Result<RoundTrip, http2::Error> {
        self.connection.send(request)
    }

    /// A timer for a request that waits for an answer.
    pub fn timer(&self) -> Deadline {
        self.timers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a timer back that is not needed any more.
    pub fn return_timer(&self, timer: Deadline) {
        self.timers.borrow_mut().push(timer);
    }

    /// When it becomes old.
    pub fn age(&self) -> &Age {
        &self.age
    }

    /// From now on it gets no more streams as long as there is another connection, and it is closed after its
    /// last stream.
    pub fn retire(&self) {
        self.is_retired.set(true);
    }

    /// There is no other connection: it gets more streams again, also more than its windows have room for.
    pub fn reinstate(&self) {
        self.is_retired.set(false);
        self.connection.ignore_windows();
    }

    /// If it is idle and its windows have grown, they become as narrow as they were.
    pub fn give_width_back(&self) {
        self.connection.give_width_back();
    }

    /// Whether it has been retired.
    pub fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    /// Whether another stream may be opened on it.
    pub fn is_available(&self) -> bool {
        !self.is_retired.get() && self.has_room() && self.connection.has_window()
    }

    /// Whether it could carry another stream, retired or not, also if its windows have no room for it.
    pub fn has_room(&self) -> bool {
        let most = self.connection.max_streams().min(self.max_streams);
        self.streams() < most && !self.is_closed()
    }

    /// Whether it accepts no more streams.
    pub fn is_closed(&self) -> bool {
        self.is_suspect.get() || self.connection.is_closed() || self.status.has_write_failed()
    }

    /// Its server may have vanished: it gets no more requests.
    pub fn mark_suspect(&self) {
        self.is_suspect.set(true);
    }

    /// Whether the server supports extended CONNECT (RFC 8441). It says so in its settings, which are the
    /// first thing that it sends (RFC 9113 section 3.4); they are waited for no longer than `wait`, and
    /// only once. Settings that come later count from then on.
    pub async fn supports_connect(&self, wait: Duration) -> bool {
        let said = std::future::poll_fn(|cx| match self.connection.supports_connect() {
            None if !self.is_silent.get() => {
                self.connection.watch(cx.waker());
                Poll::Pending
            }
            said => Poll::Ready(said == Some(true)),
        });
        tokio::time::timeout(wait, said).await.unwrap_or_else(|_| {
            self.is_silent.set(true);
            false
        })
    }

    /// What has been read and written on it.
    pub fn status(&self) -> &TransportStatus {
        &self.status
    }

    /// The server has answered a request. Returns how long the connection had been idle before, if that was
    /// measured.
    pub fn record_answer(&self) -> Duration {
        self.idle_before_answer.take()
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        self.connection.streams()
    }

    /// For how long it has had no stream. While there are streams the result has no meaning.
    pub fn idle_for(&self, now: Instant) -> Duration {
        let idle_for = now.saturating_duration_since(self.idle_since.get());
        if self.streams() == 0 {
            self.idle_before_answer.set(idle_for);
        }
        idle_for
    }

    /// Counts one more stream.
    pub fn begin_stream(&self) {
        self.connection.begin_stream();
    }

    /// Counts one stream less.
    pub fn end_stream(&self) {
        self.connection.end_stream();
        if self.streams() == 0 {
            self.idle_since.set(Instant::now());
        }
    }
}

/// By how many bytes in all the frames of unread responses may be shorter than 256 bytes, for each byte of the
/// windows that streams always have. It is enough for windows that are full of frames of 24 bytes.
const SMALL_FRAMES_PER_BYTE: usize = 10;

fn settings(endpoint: &Endpoint) -> http2::ClientSettings {
    let http2 = &endpoint.http2;
    let always = http2.connection_window() as usize;
    http2::ClientSettings {
        windows: http2::Sizes {
            stream: http2.stream_window,
            connection: http2.connection_window(),
            budget: Arc::clone(&endpoint.windows),
        },
        small_frames: always.saturating_mul(SMALL_FRAMES_PER_BYTE).min(1 << 30),
        max_header_bytes: u32::try_from(endpoint.max_header_bytes).unwrap_or(u32::MAX),
        send_buffer: endpoint.body_buffer,
        ping_interval: Arc::clone(&endpoint.ping_interval),
        ping_timeout: http2.ping_timeout,
    }
}
