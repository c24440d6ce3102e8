//! What has arrived on one stream and was not read.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

/// What has arrived on a stream and was not read.
pub(super) struct Inbox {
    stream: RecvStream,
    /// The first of it, in pieces that were joined.
    joined: VecDeque<BytesMut>,
    /// The task that waited last for more.
    reader: Waker,
}

impl Inbox {
    /// How much room is made at once for pieces to be joined.
    const JOINED_BYTES: usize = 16 << 10;

    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            joined: VecDeque::new(),
            reader: Waker::noop().clone(),
        }
    }

    pub(super) fn stream(&mut self) -> &mut RecvStream {
        &mut self.stream
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.joined.is_empty() && self.stream.is_end_stream()
    }

    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(first) = self.joined.pop_front() {
            return Poll::Ready(Some(Ok(first.freeze())));
        }
        let polled = self.stream.poll_data(cx);
        if polled.is_pending() {
            self.reader.clone_from(cx.waker());
        }
        polled
    }

    /// Joins the pieces that have arrived. In the library each costs some hundred bytes beside its own.
    pub(super) fn join_pieces(&mut self) {
        // What comes next still wakes the reader.
        let mut cx = Context::from_waker(&self.reader);
        // An error, or the end, comes again when the reader asks.
        while let Poll::Ready(Some(Ok(piece))) = self.stream.poll_data(&mut cx) {
            match self.joined.back_mut() {
                Some(last) if last.capacity() - last.len() >= piece.len() => {
                    last.extend_from_slice(&piece);
                }
                _ => {
                    let room = piece.len().max(Self::JOINED_BYTES);
                    let mut joined = BytesMut::with_capacity(room);
                    joined.extend_from_slice(&piece);
                    self.joined.push_back(joined);
                }
            }
        }
    }
}
