//! The flow-control windows of one connection: how many bytes the other side may send before we have read
//! them (RFC 9113 section 5.2).
//!
//! Every stream always has a window of the configured size. Beyond that, a connection gets a share of a budget
//! that all connections of the process have in common, and its streams may use that share from the start:
//! a large body over a slow network does not wait for one small window after another. Unread bytes reduce
//! the window of each stream by a multiple of their number. So little memory is used for streams that are
//! read slowly, and a stream that nobody reads leaves room for the others.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, Share};
use super::frames::Arrived;

/// By how many bytes one unread byte reduces the window of each stream.
const UNREAD_FACTOR: usize = 16;

/// After how many bytes, received and read together, the windows are computed again.
const ADJUST_INTERVAL: usize = 64 << 10;

/// How many bytes of memory a frame costs beside its payload. The library also counts a smaller DATA frame
/// as one of this size.
const FRAME_COST: usize = 256;

/// The window with which every connection begins (RFC 9113 section 6.9.2).
const FIRST_WINDOW: usize = (1 << 16) - 1;
/// The largest window that is allowed (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The window of a connection has room for this many streams more than are open.
const SPARE_STREAMS: usize = 16;

/// How large the windows of one connection are to be.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// The window that every stream always has, in bytes.
    pub stream: u32,
    /// The most streams that are open at once.
    pub max_streams: u32,
    /// What all connections share beyond the windows of their streams.
    pub budget: Arc<Budget>,
}

/// The windows of one connection.
pub(super) struct Windows {
    sizes: Sizes,
    share: Share,
    unread: Rc<Unread>,
    /// The window of each stream that the other side was last told.
    stream: u32,
    /// The window of the connection that the other side was last told.
    connection: u32,
    /// A change of the stream windows is due, but the one before it has not been acknowledged yet.
    change_pending: bool,
    /// The window of the connection has room for this many streams.
    streams: usize,
    /// How many bytes were unread at the last adjustments. The smallest of these numbers counts: bytes that
    /// have just arrived, and that somebody is about to read, do not reduce the windows.
    recent_unread: [usize; 4],
    adjustments: usize,
    /// The number of bytes received and read at the last adjustment. Wraps.
    progress: usize,
    /// What had arrived when `byte_cost` was last computed.
    arrived: Arrived,
    /// How much memory one byte costs, times [`FRAME_COST`]: more if bytes come in small frames.
    byte_cost: usize,
}

/// What has arrived on the streams of a connection and has not been read.
pub(super) struct Unread {
    /// The window that every stream always has.
    stream_window: u64,
    streams: RefCell<Vec<Weak<RefCell<RecvStream>>>>,
    /// When `streams` has this length, those that have been dropped are removed from it.
    prune_at: Cell<usize>,
    /// How many bytes have been read. Wraps.
    released: Cell<usize>,
    /// A task that is woken once this many more bytes have been read.
    waiter: RefCell<Option<(usize, Waker)>>,
}

/// A connection whose windows can be changed.
pub(super) trait Resize {
    /// Changes the window of each stream. Fails while the last change has not been acknowledged.
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error>;
    /// Changes the window of the connection.
    fn resize(&mut self, size: u32);
}

impl<I: AsyncRead + AsyncWrite + Unpin> Resize for h2::client::Connection<I, bytes::Bytes> {
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }

    fn resize(&mut self, size: u32) {
        self.set_target_window_size(size);
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Resize for h2::server::Connection<I, bytes::Bytes> {
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }

    fn resize(&mut self, size: u32) {
        self.set_target_window_size(size);
    }
}

impl Windows {
    /// The windows of a new connection.
    pub(super) fn new(sizes: &Sizes) -> Self {
        let share = Share::of(&sizes.budget);
        let unread = Rc::new(Unread {
            stream_window: sizes.stream.into(),
            streams: RefCell::default(),
            prune_at: Cell::new(2 * SPARE_STREAMS),
            released: Cell::new(0),
            waiter: RefCell::default(),
        });
        let mut windows = Self {
            sizes: sizes.clone(),
            share,
            unread,
            stream: 0,
            connection: 0,
            change_pending: false,
            streams: SPARE_STREAMS,
            recent_unread: [0; 4],
            adjustments: 0,
            progress: 0,
            arrived: Arrived::default(),
            byte_cost: FRAME_COST,
        };
        windows.stream = windows.stream_for(0);
        windows.connection = windows.connection_for(0);
        windows
    }

    /// The window of each stream that the other side was last told.
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// The window of the connection that the other side was last told.
    pub(super) fn connection(&self) -> u32 {
        self.connection
    }

    pub(super) fn unread(&self) -> &Rc<Unread> {
        &self.unread
    }

    /// Computes the windows again if enough has been received and read since the last time, or if more
    /// `streams` are open than the window of the connection has room for. To be called before more is read
    /// from the connection, when those who read bodies have had a chance to.
    pub(super) fn adjust(
        &mut self,
        cx: &Context<'_>,
        arrived: Arrived,
        streams: usize,
        connection: &mut impl Resize,
    ) {
        let progress = arrived.bytes.wrapping_add(self.unread.released.get());
        if progress.wrapping_sub(self.progress) < ADJUST_INTERVAL && streams <= self.streams {
            return;
        }
        self.progress = progress;
        self.streams = streams + SPARE_STREAMS;
        self.measure_cost(arrived);
        self.resize(cx, connection);
    }

    /// To be called after the connection was polled. While the windows are small, the other side may send
    /// nothing, so that [`adjust`](Self::adjust) would not be called again.
    ///
    /// A change of the windows takes effect when it is acknowledged, which may have happened in this poll.
    /// A stream whose bytes were all read before that may then have a window of zero or less, and the
    /// library opens it only when something is released. A pending change can be made now.
    pub(super) fn after_turn(&mut self, cx: &Context<'_>, connection: &mut impl Resize) {
        if self.change_pending {
            self.resize(cx, connection);
            if !self.change_pending {
                // The library sends the change when it is polled next, but does not ask to be polled.
                cx.waker().wake_by_ref();
            }
        }
        if self.stream < self.stream_for(0) {
            self.unread.reopen();
        }
    }

    fn resize(&mut self, cx: &Context<'_>, connection: &mut impl Resize) {
        let unread = self.unread.bytes();
        self.recent_unread[self.adjustments % self.recent_unread.len()] = unread;
        self.adjustments = self.adjustments.wrapping_add(1);
        self.share.grow();

        let least_unread = self.recent_unread.iter().copied().min().unwrap_or_default();
        let stream = self.stream_for(least_unread);
        let differs = stream / 2 >= self.stream || stream <= self.stream / 2;
        let fully_read = stream > self.stream && least_unread == 0;
        self.change_pending = (differs || fully_read) && connection.resize_streams(stream).is_err();
        if (differs || fully_read) && !self.change_pending {
            self.stream = stream;
        }
        let connection_window = self.connection_for(unread);
        if connection_window.abs_diff(self.connection) as usize >= ADJUST_INTERVAL {
            connection.resize(connection_window);
            self.connection = connection_window;
        }
        if self.stream < self.stream_for(0) {
            self.unread.wake_when_read(ADJUST_INTERVAL, cx.waker());
        }
    }

    /// Computes `byte_cost` from what has arrived since the last time.
    fn measure_cost(&mut self, arrived: Arrived) {
        let bytes = arrived.bytes.wrapping_sub(self.arrived.bytes);
        let frames = arrived.frames.wrapping_sub(self.arrived.frames);
        if bytes >= ADJUST_INTERVAL / 4 {
            self.byte_cost = FRAME_COST + frames.saturating_mul(FRAME_COST * FRAME_COST) / bytes;
            self.arrived = arrived;
        }
    }

    /// The window of each stream when this many bytes are unread.
    fn stream_for(&self, unread: usize) -> u32 {
        let cost = (unread / FRAME_COST).saturating_mul(self.byte_cost);
        let beyond = self
            .share
            .bytes()
            .saturating_sub(UNREAD_FACTOR.saturating_mul(cost));
        size(self.sizes.stream as usize + beyond)
    }

    /// The window of the connection when this many bytes are unread: the windows that its streams always
    /// have, and beside them the share, or what the streams that nobody reads hold if that is more.
    fn connection_for(&self, unread: usize) -> u32 {
        let streams = self.streams.min(self.sizes.max_streams as usize);
        let always = streams.saturating_mul(self.sizes.stream as usize);
        let held = unread.clamp(
            self.share.bytes(),
            self.share.bytes().saturating_add(always),
        );
        size(always.saturating_add(held).max(FIRST_WINDOW))
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).map_or(LARGEST_WINDOW, |bytes| bytes.min(LARGEST_WINDOW))
}

impl Unread {
    /// The window that every stream always has.
    pub(super) fn stream_window(&self) -> u64 {
        self.stream_window
    }

    /// Counts the unread bytes of this stream until it is dropped.
    pub(super) fn watch(&self, stream: &Rc<RefCell<RecvStream>>) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() >= self.prune_at.get() {
            streams.retain(|stream| stream.strong_count() > 0);
            self.prune_at.set(2 * (streams.len() + SPARE_STREAMS));
        }
        streams.push(Rc::downgrade(stream));
    }

    /// To be called when this many bytes have been read.
    pub(super) fn released(&self, length: usize) {
        self.released.set(self.released.get().wrapping_add(length));
        let mut waiter = self.waiter.borrow_mut();
        if let Some((left, _)) = &mut *waiter {
            *left = left.saturating_sub(length);
            if *left == 0
                && let Some((_, waker)) = waiter.take()
            {
                waker.wake();
            }
        }
    }

    /// Wakes the task once this many more bytes have been read.
    fn wake_when_read(&self, length: usize, waker: &Waker) {
        *self.waiter.borrow_mut() = Some((length, waker.clone()));
    }

    /// How many bytes are unread.
    fn bytes(&self) -> usize {
        let mut bytes = 0;
        self.for_each(|stream| bytes += stream.flow_control().used_capacity());
        bytes
    }

    /// Makes the library announce the windows of streams that are larger than the other side was told.
    fn reopen(&self) {
        // Releasing zero bytes cannot fail, and makes the library look at the window.
        self.for_each(|stream| drop(stream.flow_control().release_capacity(0)));
    }

    fn for_each(&self, mut act: impl FnMut(&mut RecvStream)) {
        self.streams.borrow_mut().retain(|stream| {
            let Some(stream) = stream.upgrade() else {
                return false;
            };
            if let Ok(mut stream) = stream.try_borrow_mut() {
                act(&mut stream);
            }
            true
        });
    }
}

#[cfg(test)]
mod tests;
