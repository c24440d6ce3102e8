//! DATA on its way in.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::windows::Unread;

/// The incoming direction of a stream. What has come of it and was not released counts as unread.
pub(super) struct Receiving {
    stream: Held,
    unread: Rc<Unread>,
}

enum Held {
    /// It can be of no more than the window that every stream has.
    Short(RecvStream),
    Long(Rc<RefCell<RecvStream>>),
}

impl Receiving {
    /// A stream of at most so many bytes, where that is known.
    pub(super) fn new(stream: RecvStream, most: Option<u64>, unread: &Rc<Unread>) -> Self {
        let short = stream.is_end_stream() || most.is_some_and(|most| most <= unread.always());
        let stream = match short {
            true => Held::Short(stream),
            false => {
                let stream = Rc::new(RefCell::new(stream));
                unread.watch(&stream);
                Held::Long(stream)
            }
        };
        Self {
            stream,
            unread: Rc::clone(unread),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut RecvStream) -> T) -> T {
        match &mut self.stream {
            Held::Short(stream) => act(stream),
            Held::Long(stream) => act(&mut stream.borrow_mut()),
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

    /// Makes room for as much as has been read.
    pub(super) fn release(&mut self, length: usize) {
        // Fails only for more than came.
        let _ = self.with(|stream| stream.flow_control().release_capacity(length));
        if matches!(self.stream, Held::Long(_)) {
            self.unread.released(length);
        }
    }

    /// Whether anything has come of it, the end included.
    pub(super) fn has_begun(&mut self) -> bool {
        self.with(|stream| stream.flow_control().used_capacity() > 0 || stream.is_end_stream())
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.stream {
            Held::Short(stream) => stream.is_end_stream(),
            Held::Long(stream) => stream.borrow().is_end_stream(),
        }
    }
}
