//! The receiving direction of a stream: its DATA and trailers.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::windows::Unread;

/// The receiving direction of a stream. What has arrived on it and was not released counts as unread.
pub(super) struct Receiving {
    stream: Tracking,
    unread: Rc<Unread>,
}

/// Whether the unread bytes of a stream are counted.
enum Tracking {
    /// They are not: the stream is no longer than the window that every stream always has.
    Untracked(RecvStream),
    Tracked(Rc<RefCell<RecvStream>>),
}

impl Receiving {
    /// A stream of at most `most` bytes, if that is known.
    pub(super) fn new(stream: RecvStream, most: Option<u64>, unread: &Rc<Unread>) -> Self {
        let short =
            stream.is_end_stream() || most.is_some_and(|most| most <= unread.stream_window());
        let stream = if short {
            Tracking::Untracked(stream)
        } else {
            let stream = Rc::new(RefCell::new(stream));
            unread.watch(&stream);
            Tracking::Tracked(stream)
        };
        Self {
            stream,
            unread: Rc::clone(unread),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut RecvStream) -> T) -> T {
        match &mut self.stream {
            Tracking::Untracked(stream) => act(stream),
            Tracking::Tracked(stream) => act(&mut stream.borrow_mut()),
        }
    }

    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        self.with(|stream| stream.poll_data(cx))
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
        if matches!(self.stream, Tracking::Tracked(_)) {
            self.unread.released(length);
        }
    }

    /// Whether any of it has arrived, be it only its end.
    pub(super) fn has_begun(&mut self) -> bool {
        self.with(|stream| stream.flow_control().used_capacity() > 0 || stream.is_end_stream())
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.stream {
            Tracking::Untracked(stream) => stream.is_end_stream(),
            Tracking::Tracked(stream) => stream.borrow().is_end_stream(),
        }
    }
}
