//! The flow-control windows of one connection: how many bytes the other side may send before we have read
//! them (RFC 9113 section 5.2).
//!
//! Every stream begins with a window of the configured size, and the window of the connection has room for as
//! many of those as there may be streams. Where the way to the other side is long, and a stream that is read as
//! fast as it comes waits for its window, the windows of all streams of the connection grow: at once to the length
//! of the longest body, if that is known, and else step by step. They become smaller again only while no stream is
//! open: there are servers that cut a response off when its window is made smaller than what they have sent.
//!
//! While windows are wide, the window of the connection still has room for all that the open streams may
//! leave unread, so that no stream stops another. Its memory is what the connection always has, and a share
//! of the budget of the process. So the wider the windows are, the fewer streams the connection should carry.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, Share};
use super::frames::Arrived;
use super::inbound::{Inbound, UNTOLD};
use super::pings::Pings;

/// The widest window that a stream gets by growth: enough for 80 MB/s over a round trip of 100 ms.
const WIDEST: u32 = 8 << 20;

/// A window grows to this many times what its stream was read by in one round trip, and to no more than this many
/// times what it was, unless a body is known to be longer.
const GROWTH: u32 = 4;

/// A window of a client grows to no more than this many times what it was, unless that of the connection grows too.
const STEP: u32 = 3;

/// On shorter round trips windows do not grow. A window of 64 KiB is then enough for 65 MB/s.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_millis(1);

/// A connection whose windows grow should have room for this many streams more than are open.
const SPARE_STREAMS: usize = 3;

/// After how many frames that are smaller than [`SMALL_FRAME`] on average unread ones are joined.
const SMALL_FRAMES: usize = 512;

/// The library counts a smaller DATA frame as one of this size.
const SMALL_FRAME: usize = 256;

/// After how many bytes unread ones are counted again.
const COUNT_INTERVAL: usize = 64 << 10;

/// How large the windows of one connection are to be.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// The window that every stream always has, in bytes.
    pub stream: u32,
    /// The window that the connection always has, in bytes.
    pub connection: u32,
    /// What all connections share beyond that.
    pub budget: Arc<Budget>,
}

/// The windows of one connection.
pub(super) struct Windows {
    /// The window that the connection always has.
    own_connection: u32,
    share: Share,
    inbound: Rc<Inbound>,
    /// For how many long bodies room was wanted when there was too little.
    crowd: usize,
    /// How many bytes had arrived when unread ones were last counted.
    counted: usize,
    /// More long bodies are open than there is room for, and half of the window of the connection is unread.
    is_crowded: bool,
    /// What had arrived when frames were last counted.
    arrived: Arrived,
    /// Each growth is followed by a WINDOW_UPDATE.
    is_growth_announced: bool,
}

/// A connection whose windows can be changed.
pub(super) trait Resize {
    /// Changes the window of each stream. Fails while the last change has not been acknowledged.
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error>;
    /// Changes the window of the connection.
    fn resize(&mut self, size: u32);
}

impl<I: AsyncRead + AsyncWrite + Unpin> Resize for h2::client::Connection<I, Bytes> {
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }

    fn resize(&mut self, size: u32) {
        self.set_target_window_size(size);
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Resize for h2::server::Connection<I, Bytes> {
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
        Self {
            own_connection: sizes.connection,
            share: Share::of(&sizes.budget),
            inbound: Inbound::new(sizes.stream, sizes.connection),
            crowd: 0,
            counted: 0,
            is_crowded: false,
            arrived: Arrived::default(),
            is_growth_announced: false,
        }
    }

    /// The windows of a new connection of a client. A WINDOW_UPDATE follows each growth: some clients wake an upload that
    /// waits for room only when one comes, and not when its window grows by SETTINGS (RFC 9113 section 6.9.2). That of the
    /// JDK does so (seen in 17).
    ///
    /// The library sends a WINDOW_UPDATE when what has been read is at least half of what the other side may still send.
    /// A stream that waits has used up its window. If that becomes N times as wide, the other side may send N - 1 times
    /// the old window, of which once as much will have been read: at least half for N up to 3. Where a window grows by
    /// more, that of the connection grows by at least a half, so that a WINDOW_UPDATE for the connection wakes all streams.
    ///
    /// So that windows can grow that far once without a share of the budget, the client is told of two thirds of the
    /// window of the connection at first, and of the rest when windows grow by more, or when bodies may need it.
    pub(super) fn of_client(sizes: &Sizes) -> Self {
        let untold = sizes.connection.min(UNTOLD);
        let told = (sizes.connection / 3 * 2).max(untold);
        Self {
            inbound: Inbound::new(sizes.stream, told),
            is_growth_announced: true,
            ..Self::new(sizes)
        }
    }

    pub(super) fn inbound(&self) -> &Rc<Inbound> {
        &self.inbound
    }

    /// Lets the windows grow if a stream waits for them, or if more than fit into them are open. `long` is how
    /// many bodies are being received, or may be, that are not known to be short. To be called before the
    /// connection is polled.
    pub(super) fn adjust(
        &mut self,
        arrived: Arrived,
        long: usize,
        pings: Option<&mut Pings>,
        connection: &mut impl Resize,
    ) {
        self.join_small_frames(arrived);
        self.tell_of_the_rest(long, connection);
        if !self.inbound.has_room_for(long) {
            self.crowd(arrived, long, connection);
        }
        let Some(took) = self.inbound.take_quickest() else {
            return;
        };
        let Some(pings) = pings.filter(|_| self.may_grow()) else {
            return;
        };
        let Some(round_trip) = pings.round_trip() else {
            // The answer comes with what is sent next, or behind it. What is known of the pace then still counts.
            self.inbound.record_pace(took);
            pings.measure();
            return;
        };
        // Each growth is followed by another measurement: the shortest round trip counts, since a busy
        // machine makes them longer.
        if round_trip >= SHORTEST_ROUND_TRIP && self.grow(long, took, round_trip, connection) {
            pings.measure();
        }
    }

    /// Whether more bodies have begun than there is room for, and so much is unread that what comes next may have
    /// to wait for them.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Makes the windows as narrow as they were. To be called only while no stream is open, and not where growth is
    /// announced: the other side may then still send more than the window of the connection says.
    pub(super) fn narrow(&mut self, connection: &mut impl Resize) {
        debug_assert!(!self.is_growth_announced);
        let own = self.inbound.own_window();
        if self.inbound.stream_window() > own && connection.resize_streams(own).is_ok() {
            self.share.shrink_to(0);
            self.crowd = 0;
            self.inbound.set_windows(own, self.own_connection);
            connection.resize(self.own_connection);
        }
    }

    /// Tells of all of the window that the connection always has, if the other side has not heard of it and may need it.
    fn tell_of_the_rest(&self, long: usize, connection: &mut impl Resize) {
        let stream = self.inbound.stream_window();
        if self.holds_rest_back() && self.may_need_rest(long, stream) {
            self.set(stream, connection);
        }
    }

    fn holds_rest_back(&self) -> bool {
        self.inbound.connection_window() < self.own_connection
    }

    /// Whether bodies could wait for what was not told. A WINDOW_UPDATE may follow only when half of what was told has
    /// been read, so the other half has to be enough.
    fn may_need_rest(&self, long: usize, stream: u32) -> bool {
        let half = self.inbound.connection_window() as usize / 2;
        self.inbound.unread_at_most(long, stream) > half
    }

    fn may_grow(&self) -> bool {
        self.inbound.stream_window() < WIDEST && !self.share.budget().is_empty()
    }

    /// A stream was read by as much as its window, which took so long. Whether the windows grow.
    fn grow(
        &mut self,
        long: usize,
        took: Duration,
        round_trip: Duration,
        connection: &mut impl Resize,
    ) -> bool {
        let window = self.inbound.stream_window();
        let in_round_trip = f64::from(window) * (round_trip.as_secs_f64() / took.as_secs_f64());
        // The conversion saturates.
        let wanted = (f64::from(GROWTH) * in_round_trip) as u32;
        // What is read at once may be all that there is, unless more is known to come.
        let step = window.saturating_mul(if self.is_growth_announced {
            STEP
        } else {
            GROWTH
        });
        let most = step.max(self.inbound.longest());
        let mut wanted = wanted.min(most).min(WIDEST);
        let least = window.saturating_mul(2).min(WIDEST);
        if wanted < least {
            return false;
        }
        let (share, told) = (self.share.bytes(), self.inbound.connection_window());
        let inbound = Rc::clone(&self.inbound);
        let room_for = |wanted| inbound.unread_at_most(long + SPARE_STREAMS, wanted);
        self.take(room_for(wanted));
        let announced = told.saturating_add(told / 2);
        if self.is_growth_announced && wanted > step && self.connection_window() < announced {
            // A share that is taken only to announce the growth would be held for as long as the connection lasts.
            wanted = step;
            self.share.shrink_to(share);
            self.take(room_for(wanted));
        }
        let short = self.inbound.unread_at_most(0, wanted);
        let room = (self.connection_window() as usize).saturating_sub(short) / (long + 1);
        let stream = wanted.min(saturated(room));
        if stream < wanted {
            self.share.budget().record_shortage();
        }
        let grows = stream >= least && connection.resize_streams(stream).is_ok();
        if grows {
            self.crowd = 0;
            if self.holds_rest_back() && stream <= step && !self.may_need_rest(long, stream) {
                // The rest still announces a longer body.
                self.inbound.set_windows(stream, told);
            } else {
                self.set(stream, connection);
            }
        } else {
            self.share.shrink_to(share);
        }
        grows
    }

    /// More bodies are open than there is room for.
    fn crowd(&mut self, arrived: Arrived, long: usize, connection: &mut impl Resize) {
        if long > self.crowd {
            self.crowd = long;
            let stream = self.inbound.stream_window();
            self.take(self.inbound.unread_at_most(long, stream));
            self.set(stream, connection);
            if self.inbound.has_room_for(long) {
                return;
            }
            self.share.budget().record_shortage();
        }
        if arrived.bytes.wrapping_sub(self.counted) >= COUNT_INTERVAL {
            self.counted = arrived.bytes;
            self.is_crowded |= self.inbound.unread() >= self.connection_window() as usize / 2;
        }
    }

    /// Takes what is needed for this much unread.
    fn take(&mut self, unread: usize) {
        let beyond = unread.saturating_sub(self.own_connection as usize);
        self.share.grow_to(beyond);
    }

    fn set(&self, stream: u32, connection: &mut impl Resize) {
        let all = self.connection_window();
        self.inbound.set_windows(stream, all);
        connection.resize(all);
    }

    /// The window that the connection may have now.
    fn connection_window(&self) -> u32 {
        /// RFC 9113 section 6.9.1.
        const LARGEST: u32 = (1 << 31) - 1;
        let share = saturated(self.share.bytes());
        self.own_connection.saturating_add(share).min(LARGEST)
    }

    /// The library ends a connection when the unread bytes come in too many small frames.
    fn join_small_frames(&mut self, arrived: Arrived) {
        let frames = arrived.frames.wrapping_sub(self.arrived.frames);
        if frames >= SMALL_FRAMES {
            let bytes = arrived.bytes.wrapping_sub(self.arrived.bytes);
            self.arrived = arrived;
            if bytes / frames < SMALL_FRAME {
                self.inbound.join_pieces();
            }
        }
    }
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
