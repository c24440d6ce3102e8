//! The task that drives a connection, and the state that it shares with those who use the connection.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::Connection;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Error;
use super::frames::Arrived;
use super::inbound::Inbound;
use super::pings::{Next, PingInterval, Pings};
use super::windows::Windows;

/// What the driver of a connection shares with those who use the connection.
pub(super) struct DriverState {
    pub(super) inbound: Rc<Inbound>,
    /// How often the library has been polled.
    polls: Cell<u64>,
    streams: Cell<usize>,
    /// Request bodies that are being sent, also those whose response has already ended.
    uploads: Cell<usize>,
    /// Nobody can send a request on it any more.
    is_unused: Cell<bool>,
    has_ended: Cell<bool>,
    /// The library has read the settings of the server.
    has_settings: Cell<bool>,
    /// Others need what its windows take, if it is idle.
    gives_width_back: Cell<bool>,
    /// It gets more streams than its windows have room for.
    ignores_windows: Cell<bool>,
    /// A ping was not answered in time.
    ping_failed: Cell<bool>,
    watchers: RefCell<Vec<Waker>>,
    driver: RefCell<Option<Waker>>,
}

/// Counts one request body among those that are being sent, until it is dropped.
pub(super) struct UploadGuard(Rc<DriverState>);

/// Everything that the driver polls.
pub(super) struct Driver<I> {
    state: Rc<DriverState>,
    /// In an allocation of its own, because the runtime moves a task several times before it is pinned.
    connection: Pin<Box<Connection<I, Bytes>>>,
    pings: Option<Pings>,
    windows: Windows,
    ping_interval: Arc<PingInterval>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    pub(super) fn new(
        connection: Connection<I, Bytes>,
        pings: Option<Pings>,
        windows: Windows,
        ping_interval: Arc<PingInterval>,
    ) -> Self {
        Self {
            state: DriverState::new(Rc::clone(windows.inbound())),
            connection: Box::pin(connection),
            pings,
            windows,
            ping_interval,
        }
    }

    pub(super) fn state(&self) -> &Rc<DriverState> {
        &self.state
    }

    /// Drives the connection until it has ended. `arrived` tells what has come on it so far.
    pub(super) async fn run(mut self, arrived: impl Fn() -> Arrived) {
        let ended = std::future::poll_fn(|cx| {
            self.adjust_windows(arrived());
            let polled = self.poll(cx, &arrived);
            self.state.polls.set(self.state.polls.get() + 1);
            if !self.state.has_settings.get() {
                self.state.has_settings.set(arrived().has_settings);
            }
            self.state.wake_watchers();
            polled
        })
        .await;
        if ended.is_err_and(|error| wants_calm(&error)) {
            self.ping_interval.back_off();
        }
        self.state.has_ended.set(true);
        // The drop tells the streams of the connection that it has ended.
        drop(self.connection);
        self.state.wake_watchers();
    }

    fn adjust_windows(&mut self, arrived: Arrived) {
        let is_idle = self.state.streams() + self.state.uploads.get() == 0;
        if self.state.gives_width_back.take() && is_idle {
            // The server reads this before it reads another request.
            self.windows.narrow(&mut *self.connection);
        }
        let (long, pings) = (self.state.long_bodies(), self.pings.as_mut());
        self.windows
            .adjust(arrived, long, pings, &mut *self.connection);
    }

    /// Ready when the connection has ended, with what the library says about that.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        arrived: &impl Fn() -> Arrived,
    ) -> Poll<Result<(), h2::Error>> {
        self.state.remember_driver(cx.waker());
        loop {
            // Each stream is told of an error by the library.
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let Some(pings) = &mut self.pings else {
                return Poll::Pending;
            };
            match std::task::ready!(pings.poll(cx, arrived().bytes, self.state.is_needed())) {
                Next::Send => {}
                Next::GiveUp => {
                    self.state.ping_failed.set(true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl DriverState {
    fn new(inbound: Rc<Inbound>) -> Rc<Self> {
        Rc::new(Self {
            inbound,
            polls: Cell::default(),
            streams: Cell::default(),
            uploads: Cell::default(),
            is_unused: Cell::default(),
            has_ended: Cell::default(),
            has_settings: Cell::default(),
            gives_width_back: Cell::default(),
            ignores_windows: Cell::default(),
            ping_failed: Cell::default(),
            watchers: RefCell::default(),
            driver: RefCell::default(),
        })
    }

    /// Counts a request body among those that are being sent, until the guard is dropped.
    pub(super) fn begin_upload(self: &Rc<Self>) -> UploadGuard {
        self.uploads.set(self.uploads.get() + 1);
        UploadGuard(Rc::clone(self))
    }

    /// Counts one more stream.
    pub(super) fn begin_stream(&self) {
        let before = self.streams.replace(self.streams.get() + 1);
        if before == 0 {
            // While a write is blocked the library does not wake the driver for a new stream, and a
            // server that has become silent would not be sent a ping.
            self.wake_driver();
        }
    }

    /// Counts one stream less.
    pub(super) fn end_stream(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    /// Streams that are open now.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Streams whose responses are not known to be short.
    fn long_bodies(&self) -> usize {
        self.streams.get().saturating_sub(self.inbound.short())
    }

    /// Whether the windows have room for one stream more, so that none can stop another.
    pub(super) fn has_window(&self) -> bool {
        self.ignores_windows.get() || self.inbound.has_room_for(self.long_bodies() + 1)
    }

    /// No other connection can be had: from now on it gets streams as if its windows had room for all.
    pub(super) fn ignore_windows(&self) {
        self.ignores_windows.set(true);
    }

    /// If no stream is open, the windows become as narrow as they were, and leave more to other connections.
    pub(super) fn give_width_back(&self) {
        self.gives_width_back.set(true);
        self.wake_driver();
    }

    /// How often the library has been polled.
    pub(super) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Whether the driver has finished.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Whether the library has read the settings of the server.
    pub(super) fn has_settings(&self) -> bool {
        self.has_settings.get()
    }

    /// Nobody can send a request on it any more.
    pub(super) fn abandon(&self) {
        self.is_unused.set(true);
        self.wake_driver();
    }

    /// Wakes this task when the library has been polled again, or the connection has ended.
    pub(super) fn watch(&self, waker: &Waker) {
        self.watchers.borrow_mut().push(waker.clone());
    }

    /// The error of a stream, in the terms of those who use the connection.
    pub(super) fn error(&self, error: h2::Error) -> Error {
        if self.ping_failed.get() {
            return Error::Unanswered;
        }
        error.into()
    }

    /// Whether a server that has vanished must be noticed: somebody waits for it, or for the end of the
    /// connection.
    fn is_needed(&self) -> bool {
        self.streams.get() + self.uploads.get() > 0 || self.is_unused.get()
    }

    fn remember_driver(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        let is_known = |driver: &Waker| driver.will_wake(waker);
        if !driver.as_ref().is_some_and(is_known) {
            *driver = Some(waker.clone());
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    fn wake_watchers(&self) {
        self.watchers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.0.uploads.set(self.0.uploads.get() - 1);
    }
}

/// Whether the server ended the connection because it has received too much of something. That may have
/// been our pings.
fn wants_calm(error: &h2::Error) -> bool {
    let reason = error.reason().filter(|_| error.is_go_away());
    error.is_remote() && reason == Some(h2::Reason::ENHANCE_YOUR_CALM)
}
