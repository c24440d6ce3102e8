//! What the streams of one connection receive: how many there are, and how fast they are read.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::inbox::Inbox;

/// Each window, until the other side has heard of ours (RFC 9113 section 6.9.2).
pub(super) const UNTOLD: u32 = 65_535;

/// What the streams of one connection receive. The windows of the connection, which are here too, follow it.
pub(super) struct Inbound {
    /// The window that every stream always has.
    own_window: u32,
    stream_window: Cell<u32>,
    connection_window: Cell<u32>,
    /// Bodies that are known to fit into the window that every stream always has.
    short: Cell<usize>,
    /// The others.
    long: Cell<usize>,
    /// The length of the longest body so far of which it was known.
    longest: Cell<u32>,
    /// The shortest time in which a stream was read by as much as its window, since this was last taken.
    quickest: Cell<Option<Duration>>,
    inboxes: RefCell<Vec<Weak<RefCell<Inbox>>>>,
    /// When `inboxes` has this length, those that have been dropped are removed from it.
    prune_at: Cell<usize>,
}

impl Inbound {
    const PRUNE_AT_LEAST: usize = 32;

    /// Of a new connection with these windows.
    pub(super) fn new(stream_window: u32, connection_window: u32) -> Rc<Self> {
        Rc::new(Self {
            own_window: stream_window,
            stream_window: Cell::new(stream_window),
            connection_window: Cell::new(connection_window),
            short: Cell::default(),
            long: Cell::default(),
            longest: Cell::default(),
            quickest: Cell::default(),
            inboxes: RefCell::default(),
            prune_at: Cell::new(Self::PRUNE_AT_LEAST),
        })
    }

    /// The window that every stream always has.
    pub(super) fn own_window(&self) -> u32 {
        self.own_window
    }

    /// The window of each stream.
    pub(super) fn stream_window(&self) -> u32 {
        self.stream_window.get()
    }

    /// The window of the connection, as the other side has been told.
    pub(super) fn connection_window(&self) -> u32 {
        self.connection_window.get()
    }

    /// As much as the other side can send at once. While windows are narrow that may be the window of before it has
    /// heard of ours.
    pub(super) fn measured_window(&self) -> u32 {
        let stream = self.stream_window.get();
        if stream == self.own_window {
            stream.min(UNTOLD)
        } else {
            stream
        }
    }

    pub(super) fn set_windows(&self, stream: u32, connection: u32) {
        self.stream_window.set(stream);
        self.connection_window.set(connection);
    }

    /// Bodies that are known to fit into the window that every stream always has.
    pub(super) fn short(&self) -> usize {
        self.short.get()
    }

    /// Bodies that may be longer.
    pub(super) fn long(&self) -> usize {
        self.long.get()
    }

    /// Whether the window of the connection has room for everything that `long` long bodies and the short ones may
    /// leave unread: then none of them can stop another.
    pub(super) fn has_room_for(&self, long: usize) -> bool {
        let stream = self.stream_window.get();
        stream == self.own_window
            || self.unread_at_most(long, stream) <= self.connection_window.get() as usize
    }

    /// How many bytes can be unread of `long` long bodies, each with this window, and of the short ones.
    pub(super) fn unread_at_most(&self, long: usize, stream_window: u32) -> usize {
        let short = self.short.get().saturating_mul(self.own_window as usize);
        long.saturating_mul(stream_window as usize)
            .saturating_add(short)
    }

    pub(super) fn begin_short(&self) {
        self.short.set(self.short.get() + 1);
    }

    pub(super) fn end_short(&self) {
        self.short.set(self.short.get() - 1);
    }

    /// The length of the longest body so far of which it was known.
    pub(super) fn longest(&self) -> u32 {
        self.longest.get()
    }

    /// A body is known to have this length.
    pub(super) fn record_length(&self, length: u64) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.longest.set(self.longest.get().max(length));
    }

    /// Counts a long body, of which small pieces that are unread may be joined.
    pub(super) fn begin_long(&self, inbox: &Rc<RefCell<Inbox>>) {
        self.long.set(self.long.get() + 1);
        let mut inboxes = self.inboxes.borrow_mut();
        if inboxes.len() >= self.prune_at.get() {
            inboxes.retain(|inbox| inbox.strong_count() > 0);
            let prune_at = (2 * inboxes.len()).max(Self::PRUNE_AT_LEAST);
            self.prune_at.set(prune_at);
        }
        inboxes.push(Rc::downgrade(inbox));
    }

    pub(super) fn end_long(&self) {
        self.long.set(self.long.get() - 1);
    }

    /// A stream was read by as much as its window in this time.
    pub(super) fn record_pace(&self, took: Duration) {
        let quickest = self.quickest.get().map_or(took, |known| known.min(took));
        self.quickest.set(Some(quickest));
    }

    /// The shortest time in which a stream was read by as much as its window, since this was last asked.
    pub(super) fn take_quickest(&self) -> Option<Duration> {
        self.quickest.take()
    }

    /// How many bytes of long bodies are unread.
    pub(super) fn unread(&self) -> usize {
        let mut unread = 0;
        self.for_each(|inbox| unread += inbox.stream().flow_control().used_capacity());
        unread
    }

    /// Joins the pieces that are unread.
    pub(super) fn join_pieces(&self) {
        self.for_each(Inbox::join_pieces);
    }

    fn for_each(&self, mut act: impl FnMut(&mut Inbox)) {
        self.inboxes.borrow_mut().retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else {
                return false;
            };
            act(&mut inbox.borrow_mut());
            true
        });
    }
}
