//! A connection: the task that drives it, and what it carries.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::frames::Arrived;
use super::pings::{Next, Pace, Pings};
use super::round_trip::RoundTrip;
use super::windows::{Sizes, Unread, Windows};

/// Streams that may be opened before the server has said how many it takes: what RFC 9113 section 6.5.2
/// advises it not to go below.
const STREAMS_AT_FIRST: usize = 100;

/// The longest frame that is taken (RFC 9113 section 6.5.2), which is also the default.
const FRAME: u32 = 16 * 1024;

/// How a connection is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much may arrive before it is read.
    pub windows: Sizes,
    /// What frames of unread responses may be short of 256 bytes in all, before the connection is ended.
    pub small_frames: usize,
    /// Bytes of a response head, counted as RFC 9113 section 6.5.2 does.
    pub max_header_bytes: u32,
    /// Bytes of each request body that wait here to be sent.
    pub send_buffer: usize,
    /// How long a connection with streams may be silent before it is asked whether it is still there.
    pub pace: Arc<Pace>,
    /// How long it has to answer that.
    pub ping_timeout: Duration,
}

/// One connection, as whoever sends requests on it sees it. It ends when this and all of its streams
/// have been dropped.
pub struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    shared: Rc<Shared>,
    known: Cell<Known>,
}

/// What the library said last about the connection, and after how many of its turns. It learns of nothing
/// between two of them, and asking it takes locks.
#[derive(Clone, Copy, Default)]
struct Known {
    turns: u64,
    closed: bool,
    max_streams: usize,
}

/// What the task that drives a connection shares with those who use it.
pub(super) struct Shared {
    /// What the server has sent and nobody has read.
    pub(super) unread: Rc<Unread>,
    /// How often the library has had its turn.
    turns: Cell<u64>,
    streams: Cell<usize>,
    /// Request bodies that are on their way, also behind the end of their response.
    uploads: Cell<usize>,
    /// Nobody sends requests on it any more.
    left: Cell<bool>,
    ended: Cell<bool>,
    unanswered: Cell<bool>,
    watchers: RefCell<Vec<Waker>>,
    driver: RefCell<Option<Waker>>,
}

/// A request body that is on its way.
pub(super) struct Uploading(Rc<Shared>);

impl Connection {
    /// Begins HTTP/2 on `io`, and drives it from then on by a task of this thread. `arrived` tells what
    /// has come on it.
    ///
    /// # Errors
    /// Nothing can be written to it.
    pub async fn begin<I>(
        io: I,
        arrived: impl Fn() -> Arrived + 'static,
        settings: &Settings,
    ) -> Result<Self, Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut windows = Windows::new(&settings.windows);
        let handshake = builder(settings, &windows).handshake(io).await;
        let (sender, mut connection) = handshake?;
        let shared = Shared::new(Rc::clone(windows.unread()));
        let pace = Arc::clone(&settings.pace);
        let mut pings = connection
            .ping_pong()
            .map(|pings| Pings::new(pings, Arc::clone(&pace), settings.ping_timeout));
        let driven = Rc::clone(&shared);
        // In an allocation of its own: the runtime moves what it runs some times.
        let mut connection = Box::pin(connection);
        tokio::task::spawn_local(async move {
            let ended = std::future::poll_fn(|cx| {
                windows.adjust(cx, arrived(), driven.streams.get(), &mut *connection);
                let heard = || arrived().bytes;
                let polled = driven.poll(cx, connection.as_mut(), pings.as_mut(), &heard);
                driven.turns.set(driven.turns.get() + 1);
                driven.wake();
                polled
            })
            .await;
            if ended.is_err_and(|error| wants_calm(&error)) {
                pace.calm_down();
            }
            driven.ended.set(true);
            // Its streams hear of it now.
            drop(connection);
            driven.wake();
        });
        Ok(Self {
            sender: RefCell::new(sender),
            shared,
            known: Cell::default(),
        })
    }

    /// Sends the head of a request, and as much of its body as can be sent at once.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send<B>(&self, request: Request<B>) -> Result<RoundTrip, Error>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: std::error::Error + 'static,
    {
        // One of its own: a clone waits for no other's stream to be opened.
        let mut sender = self.sender.borrow().clone();
        let begun = RoundTrip::begin(&mut sender, Rc::clone(&self.shared), request);
        if begun.is_err() {
            self.known.take();
        }
        begun
    }

    /// Whether it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.shared.ended.get() || self.known().closed
    }

    /// How many streams its server takes at once, as far as it has said.
    pub fn max_streams(&self) -> usize {
        self.known().max_streams
    }

    fn known(&self) -> Known {
        let turns = self.shared.turns.get();
        let known = self.known.get();
        // Before the first one nothing is known.
        if turns > 0 && known.turns == turns {
            return known;
        }
        let mut sender = self.sender.borrow_mut();
        let mut context = Context::from_waker(Waker::noop());
        let known = Known {
            turns,
            closed: matches!(sender.poll_ready(&mut context), Poll::Ready(Err(_))),
            max_streams: sender.current_max_send_streams(),
        };
        self.known.set(known);
        known
    }

    /// Whether its server takes extended CONNECT (RFC 8441), as far as it has said; `None` when the
    /// connection has ended.
    pub fn takes_connect(&self) -> Option<bool> {
        (!self.shared.ended.get())
            .then(|| self.sender.borrow().is_extended_connect_protocol_enabled())
    }

    /// Wakes this task when its server may have said something else, or it has ended.
    pub fn watch(&self, waker: &Waker) {
        self.shared.watchers.borrow_mut().push(waker.clone());
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        self.shared.streams.get()
    }

    /// One more is, or will be.
    pub fn stream_begins(&self) {
        let before = self.shared.streams.get();
        self.shared.streams.set(before + 1);
        if before == 0 {
            // The library does not, while a write is blocked, and nobody would look for a silent server.
            self.shared.wake_driver();
        }
    }

    /// One less is.
    pub fn stream_ended(&self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.left.set(true);
        self.shared.wake_driver();
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.uploads.set(self.0.uploads.get() - 1);
    }
}

impl Shared {
    fn new(unread: Rc<Unread>) -> Rc<Self> {
        Rc::new(Self {
            unread,
            turns: Cell::default(),
            streams: Cell::default(),
            uploads: Cell::default(),
            left: Cell::default(),
            ended: Cell::default(),
            unanswered: Cell::default(),
            watchers: RefCell::default(),
            driver: RefCell::default(),
        })
    }

    /// A request body is on its way until this is dropped.
    pub(super) fn uploading(self: &Rc<Self>) -> Uploading {
        self.uploads.set(self.uploads.get() + 1);
        Uploading(Rc::clone(self))
    }

    /// Whether anybody waits for something.
    fn is_busy(&self) -> bool {
        self.streams.get() + self.uploads.get() > 0 || self.left.get()
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// What has become of a stream, in the terms of those who use it.
    pub(super) fn error(&self, error: h2::Error) -> Error {
        match self.unanswered.get() {
            true => Error::Unanswered,
            false => error.into(),
        }
    }

    /// Ready when the connection has ended, with what the library says about that.
    fn poll<I>(
        &self,
        cx: &mut Context<'_>,
        mut connection: Pin<&mut h2::client::Connection<I, Bytes>>,
        mut pings: Option<&mut Pings>,
        read: &impl Fn() -> usize,
    ) -> Poll<Result<(), h2::Error>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut driver = self.driver.borrow_mut();
        if !driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(cx.waker()))
        {
            *driver = Some(cx.waker().clone());
        }
        drop(driver);
        loop {
            // Each stream hears of an error by itself.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let Some(pings) = &mut pings else {
                return Poll::Pending;
            };
            match std::task::ready!(pings.poll(cx, read(), self.is_busy())) {
                Next::Send => {}
                Next::GiveUp => {
                    self.unanswered.set(true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn wake(&self) {
        self.watchers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// Whether the server ended the connection because it has had too much of something, which pings may be.
fn wants_calm(error: &h2::Error) -> bool {
    let reason = error.reason().filter(|_| error.is_go_away());
    error.is_remote() && reason == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

fn builder(settings: &Settings, windows: &Windows) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_frame_size(FRAME)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_local_error_reset_streams(Some(super::FAULTY_STREAMS))
        .max_header_list_size(settings.max_header_bytes)
        .initial_window_size(windows.stream())
        .initial_connection_window_size(windows.connection())
        .data_frame_budget(settings.small_frames)
        .max_send_buffer_size(settings.send_buffer);
    builder
}

#[cfg(test)]
mod tests;
