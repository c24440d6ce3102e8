//! The receiving direction of a stream: its DATA and trailers.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use tokio::time::Instant;

use super::inbound::Inbound;
use super::inbox::Inbox;

/// The receiving direction of a stream. What has arrived on it and was not released counts as unread.
pub(super) struct Receiving {
    body: ReceivingBody,
    inbound: Rc<Inbound>,
}

enum ReceivingBody {
    /// It is known to fit into the window that every stream always has.
    Short(RecvStream),
    Long {
        inbox: Rc<RefCell<Inbox>>,
        pace: Pace,
    },
}

/// How fast a stream is read.
struct Pace {
    /// Since when it is measured.
    since: Instant,
    /// How many bytes have been read since then.
    read: usize,
    /// Whether the reader has waited for the sender since then. Otherwise the stream is as fast as its reader,
    /// and no window could make it faster.
    has_waited: bool,
}

impl Receiving {
    /// A stream of this many bytes, if that is known.
    pub(super) fn new(stream: RecvStream, length: Option<u64>, inbound: &Rc<Inbound>) -> Self {
        let is_short = stream.is_end_stream()
            || length.is_some_and(|length| length <= u64::from(inbound.own_window()));
        let body = if is_short {
            inbound.begin_short();
            ReceivingBody::Short(stream)
        } else {
            let inbox = Rc::new(RefCell::new(Inbox::new(stream)));
            inbound.begin_long(&inbox);
            if let Some(length) = length {
                inbound.record_length(length);
            }
            ReceivingBody::Long {
                inbox,
                pace: Pace {
                    since: Instant::now(),
                    read: 0,
                    // Whoever reads the first window at once was there before it came.
                    has_waited: true,
                },
            }
        };
        Self {
            body,
            inbound: Rc::clone(inbound),
        }
    }

    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        match &mut self.body {
            ReceivingBody::Short(stream) => stream.poll_data(cx),
            ReceivingBody::Long { inbox, pace } => {
                let polled = inbox.borrow_mut().poll_data(cx);
                pace.has_waited |= polled.is_pending();
                polled
            }
        }
    }

    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.with(|stream| stream.poll_trailers(cx))
    }

    /// Opens the window again for bytes that have been read.
    pub(super) fn release(&mut self, length: usize) {
        // It fails only if more is released than has arrived.
        let _ = self.with(|stream| stream.flow_control().release_capacity(length));
        if let ReceivingBody::Long { pace, .. } = &mut self.body {
            pace.read += length;
            let measured = self.inbound.measured_window();
            if pace.read >= measured as usize {
                let now = Instant::now();
                if pace.has_waited {
                    let window = self.inbound.stream_window();
                    let part = f64::from(window) / f64::from(measured);
                    self.inbound.record_pace((now - pace.since).mul_f64(part));
                }
                *pace = Pace {
                    since: now,
                    read: 0,
                    has_waited: false,
                };
            }
        }
    }

    /// Whether any of it has arrived, be it only its end.
    pub(super) fn has_begun(&mut self) -> bool {
        self.with(|stream| stream.flow_control().used_capacity() > 0 || stream.is_end_stream())
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.body {
            ReceivingBody::Short(stream) => stream.is_end_stream(),
            ReceivingBody::Long { inbox, .. } => inbox.borrow().is_end_stream(),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut RecvStream) -> T) -> T {
        match &mut self.body {
            ReceivingBody::Short(stream) => act(stream),
            ReceivingBody::Long { inbox, .. } => act(inbox.borrow_mut().stream()),
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        match &self.body {
            ReceivingBody::Short(_) => self.inbound.end_short(),
            ReceivingBody::Long { .. } => self.inbound.end_long(),
        }
    }
}
