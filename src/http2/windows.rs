//! How much may come before it is read (RFC 9113 section 5.2).
//!
//! Every stream may always have its own window. Beyond that a connection holds a share of what the process
//! has for all of them, which is granted before it is needed: a body that comes a long way does not wait
//! for one window after another. What stays unread is taken off that, many times over, so that
//! little gathers for those who read slowly, and a stream that nobody reads leaves room for the others.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, Share};
use super::frames::Arrived;

/// How much of what stays unread is taken off the windows.
const TAKEN_OFF: usize = 16;

/// After how many bytes that came or were read it is looked again.
const LOOK: usize = 64 << 10;

/// What the library takes a frame for at least, and what it costs here beside its bytes.
const FRAME_COST: usize = 256;

/// What the window of a connection begins with (RFC 9113 section 6.9.2).
const FIRST_WINDOW: usize = (1 << 16) - 1;
/// The largest window there is (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// A connection has room for so many streams more than it has.
const STREAMS: usize = 16;

/// How large the windows of one connection are to be.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Of each stream, always.
    pub stream: u32,
    /// Streams at once.
    pub max_streams: u32,
    /// Where more is to be had.
    pub budget: Arc<Budget>,
}

/// The windows of one connection.
pub(super) struct Windows {
    sizes: Sizes,
    share: Share,
    unread: Rc<Unread>,
    /// As they were last said.
    stream: u32,
    connection: u32,
    /// The last change is due, and was not taken while the one before had not been acknowledged.
    refused: bool,
    /// Room for so many streams is part of that.
    streams: usize,
    /// What was unread when it was last looked: the least of it does not wait for its turn alone.
    looks: [usize; 4],
    looked: usize,
    /// What had moved by then.
    moved: usize,
    arrived: Arrived,
    /// What a byte counts, in parts of [`FRAME_COST`]: more when it comes in small frames.
    weight: usize,
}

/// What has come on the streams of a connection and was not read.
pub(super) struct Unread {
    /// The window of every stream.
    always: u64,
    streams: RefCell<Vec<Weak<RefCell<RecvStream>>>>,
    /// When those that have gone are taken out.
    most: Cell<usize>,
    /// Bytes read so far.
    released: Cell<usize>,
    /// Told when so many have been read.
    waiter: RefCell<Option<(usize, Waker)>>,
}

/// A connection whose windows can be changed.
pub(super) trait Resize {
    /// The window of each stream; not while the last change is on its way.
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error>;
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
    /// Of a connection that begins.
    pub(super) fn new(sizes: &Sizes) -> Self {
        let share = Share::of(&sizes.budget);
        let unread = Rc::new(Unread {
            always: sizes.stream.into(),
            streams: RefCell::default(),
            most: Cell::new(2 * STREAMS),
            released: Cell::new(0),
            waiter: RefCell::default(),
        });
        let mut windows = Self {
            sizes: sizes.clone(),
            share,
            unread,
            stream: 0,
            connection: 0,
            refused: false,
            streams: STREAMS,
            looks: [0; 4],
            looked: 0,
            moved: 0,
            arrived: Arrived::default(),
            weight: FRAME_COST,
        };
        windows.stream = windows.stream_for(0);
        windows.connection = windows.connection_for(0);
        windows
    }

    /// The window of each stream to begin with.
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// The same of the connection.
    pub(super) fn connection(&self) -> u32 {
        self.connection
    }

    pub(super) fn unread(&self) -> &Rc<Unread> {
        &self.unread
    }

    /// Looks whether the windows are to be others, before more is read from the connection: whoever
    /// reads has had a chance to. `streams` are open.
    pub(super) fn adjust(
        &mut self,
        cx: &Context<'_>,
        arrived: Arrived,
        streams: usize,
        connection: &mut impl Resize,
    ) {
        let moved = arrived.bytes.wrapping_add(self.unread.released.get());
        if moved.wrapping_sub(self.moved) < LOOK && streams <= self.streams {
            return;
        }
        self.moved = moved;
        self.streams = streams + STREAMS;
        self.weigh(arrived);
        self.resize(cx, connection);
    }

    /// To be called when the connection has had its turn: while its windows are narrow nothing may come
    /// that has them looked at again.
    ///
    /// A change counts from its acknowledgement on, which may have come in this turn. A stream of which
    /// everything was read before has a window of nothing or less then, and the library opens it only when
    /// something is released. A change that was refused until then is due now.
    pub(super) fn after_turn(&mut self, cx: &Context<'_>, connection: &mut impl Resize) {
        if self.refused {
            self.resize(cx, connection);
            if !self.refused {
                // The library sends it in its next turn, and asks for none.
                cx.waker().wake_by_ref();
            }
        }
        if self.stream < self.stream_for(0) {
            self.unread.reopen();
        }
    }

    fn resize(&mut self, cx: &Context<'_>, connection: &mut impl Resize) {
        let unread = self.unread.bytes();
        self.looks[self.looked % self.looks.len()] = unread;
        self.looked = self.looked.wrapping_add(1);
        self.share.grow();

        let standing = self.looks.iter().copied().min().unwrap_or_default();
        let stream = self.stream_for(standing);
        let differs = stream / 2 >= self.stream || stream <= self.stream / 2;
        let back = stream > self.stream && standing == 0;
        self.refused = (differs || back) && connection.resize_streams(stream).is_err();
        if (differs || back) && !self.refused {
            self.stream = stream;
        }
        let whole = self.connection_for(unread);
        if whole.abs_diff(self.connection) as usize >= LOOK {
            connection.resize(whole);
            self.connection = whole;
        }
        if self.stream < self.stream_for(0) {
            self.unread.tell_when_read(LOOK, cx.waker());
        }
    }

    /// What a byte of those that came last cost.
    fn weigh(&mut self, arrived: Arrived) {
        let bytes = arrived.bytes.wrapping_sub(self.arrived.bytes);
        let frames = arrived.frames.wrapping_sub(self.arrived.frames);
        if bytes >= LOOK / 4 {
            self.weight = FRAME_COST + frames.saturating_mul(FRAME_COST * FRAME_COST) / bytes;
            self.arrived = arrived;
        }
    }

    fn stream_for(&self, unread: usize) -> u32 {
        let cost = (unread / FRAME_COST).saturating_mul(self.weight);
        let beyond = self
            .share
            .bytes()
            .saturating_sub(TAKEN_OFF.saturating_mul(cost));
        size(self.sizes.stream as usize + beyond)
    }

    /// As much as all streams always have, beside the share or what is held by those that nobody reads.
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
    pub(super) fn always(&self) -> u64 {
        self.always
    }

    /// Counts what this stream has that was not released, until it is dropped.
    pub(super) fn watch(&self, stream: &Rc<RefCell<RecvStream>>) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() >= self.most.get() {
            streams.retain(|stream| stream.strong_count() > 0);
            self.most.set(2 * (streams.len() + STREAMS));
        }
        streams.push(Rc::downgrade(stream));
    }

    /// So much has been read.
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

    fn tell_when_read(&self, length: usize, waker: &Waker) {
        *self.waiter.borrow_mut() = Some((length, waker.clone()));
    }

    fn bytes(&self) -> usize {
        let mut bytes = 0;
        self.each(|stream| bytes += stream.flow_control().used_capacity());
        bytes
    }

    /// Has the library say what the windows are, where they are to be larger than was said.
    fn reopen(&self) {
        // Nothing is never too much.
        self.each(|stream| drop(stream.flow_control().release_capacity(0)));
    }

    fn each(&self, mut act: impl FnMut(&mut RecvStream)) {
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
