//! A connection, as those who send requests on it see it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::{Driver, DriverState};
use super::error::Error;
use super::frames::Arrived;
use super::pings::{PingInterval, Pings};
use super::round_trip::RoundTrip;
use super::windows::{Sizes, Windows};

/// Streams that may be opened before the server has said how many it allows. RFC 9113 section 6.5.2
/// recommends that servers allow no fewer.
const INITIAL_MAX_STREAMS: usize = 100;

/// The longest frame that is accepted (RFC 9113 section 6.5.2). It is also the default.
const MAX_FRAME_SIZE: u32 = 16 * 1024;

/// The settings of a connection.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// How much may arrive before it is read.
    pub windows: Sizes,
    /// By how many bytes in all the frames of unread responses may be shorter than 256 bytes, before the
    /// connection is ended.
    pub small_frames: usize,
    /// Bytes of a response head, counted as RFC 9113 section 6.5.2 does.
    pub max_header_bytes: u32,
    /// Bytes of each request body that are buffered until they can be sent.
    pub send_buffer: usize,
    /// How long a connection with open streams may be silent before it is sent a ping.
    pub ping_interval: Arc<PingInterval>,
    /// How long the server has to answer a ping.
    pub ping_timeout: Duration,
}

/// One connection, as those who send requests on it see it. It ends when this and all of its streams
/// have been dropped.
pub struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<DriverState>,
    cached: Cell<CachedStatus>,
}

/// What the library said last about the connection, and how often it had been polled then. Nothing
/// changes between two polls, and asking the library takes locks.
#[derive(Clone, Copy, Default)]
struct CachedStatus {
    polls: u64,
    is_closed: bool,
    max_streams: usize,
}

impl Connection {
    /// Begins HTTP/2 on `io`, and drives it from then on by a task of this thread. `arrived` tells what
    /// has come on it so far.
    ///
    /// # Errors
    /// Nothing can be written to it.
    pub async fn begin<I>(
        io: I,
        arrived: impl Fn() -> Arrived + 'static,
        settings: &ClientSettings,
    ) -> Result<Self, Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let handshake = builder(settings).handshake(io).await;
        let (sender, mut connection) = handshake?;
        let ping_interval = Arc::clone(&settings.ping_interval);
        let pings = connection
            .ping_pong()
            .map(|pings| Pings::new(pings, Arc::clone(&ping_interval), settings.ping_timeout));
        let windows = Windows::new(&settings.windows);
        let driver = Driver::new(connection, pings, windows, ping_interval);
        let state = Rc::clone(driver.state());
        tokio::task::spawn_local(driver.run(arrived));
        Ok(Self {
            sender: RefCell::new(sender),
            state,
            cached: Cell::default(),
        })
    }

    /// Sends the head of a request, and as much of its body as can be sent at once.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send<B>(&self, request: Request<Option<B>>) -> Result<RoundTrip, Error>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: std::error::Error + 'static,
    {
        // Each request has a clone of its own: one that is shared would wait until the stream of another
        // request is open.
        let mut sender = self.sender.borrow().clone();
        let begun = RoundTrip::begin(&mut sender, Rc::clone(&self.state), request);
        if begun.is_err() {
            self.cached.take();
        }
        begun
    }

    /// Whether it accepts no more streams.
    pub fn is_closed(&self) -> bool {
        self.state.has_ended() || self.status().is_closed
    }

    /// How many streams its server allows at once, as far as it has said.
    pub fn max_streams(&self) -> usize {
        self.status().max_streams
    }

    fn status(&self) -> CachedStatus {
        let polls = self.state.polls();
        let cached = self.cached.get();
        // Before the first poll nothing is known.
        if polls > 0 && cached.polls == polls {
            return cached;
        }
        let mut sender = self.sender.borrow_mut();
        let mut context = Context::from_waker(Waker::noop());
        let status = CachedStatus {
            polls,
            is_closed: matches!(sender.poll_ready(&mut context), Poll::Ready(Err(_))),
            max_streams: sender.current_max_send_streams(),
        };
        self.cached.set(status);
        status
    }

    /// Whether its server supports extended CONNECT (RFC 8441); `None` until it has sent its settings.
    /// `Some(false)` once the connection has ended.
    pub fn supports_connect(&self) -> Option<bool> {
        if self.state.has_ended() {
            return Some(false);
        }
        let sender = self.sender.borrow();
        let has_settings = self.state.has_settings();
        has_settings.then(|| sender.is_extended_connect_protocol_enabled())
    }

    /// Wakes this task when its server may have said something else, or the connection has ended.
    pub fn watch(&self, waker: &Waker) {
        self.state.watch(waker);
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        self.state.streams()
    }

    /// Whether its windows have room for one stream more. Otherwise one that nobody reads could stop others.
    pub fn has_window(&self) -> bool {
        self.state.has_window()
    }

    /// No other connection can be had: from now on it gets streams as if its windows had room for all.
    pub fn ignore_windows(&self) {
        self.state.ignore_windows();
    }

    /// If it is idle and its windows have grown, they become as narrow as they were.
    pub fn give_width_back(&self) {
        self.state.give_width_back();
    }

    /// Counts one more stream, which is open or will be.
    pub fn begin_stream(&self) {
        self.state.begin_stream();
    }

    /// Counts one stream less.
    pub fn end_stream(&self) {
        self.state.end_stream();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.abandon();
    }
}

fn builder(settings: &ClientSettings) -> Builder {
    let windows = &settings.windows;
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_frame_size(MAX_FRAME_SIZE)
        .initial_max_send_streams(INITIAL_MAX_STREAMS)
        .max_local_error_reset_streams(Some(super::MAX_FAULTY_STREAMS))
        .max_header_list_size(settings.max_header_bytes)
        .initial_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .data_frame_budget(settings.small_frames)
        .max_send_buffer_size(settings.send_buffer);
    builder
}

#[cfg(test)]
mod tests;
