//! Bytes that wait to be written to a socket.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Pieces up to this size are copied behind each other, which costs less than one more part of a write.
const COPIED: usize = 2 * 1024;
/// Memory larger than this is not kept for later use.
const SPARE: usize = 16 * 1024;

/// Small pieces of a body that are at hand are gathered up to this size before they are written.
pub(super) const COALESCED: usize = 16 * 1024;

thread_local! {
    /// Memory of a buffer that was emptied, for the next one to be filled: it is still in the processor's
    /// cache.
    static SPARE_SPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is to be written, in this order: copied bytes, one large piece, and the end of its chunk. It holds
/// no memory while it is empty.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    copied: Vec<u8>,
    written: usize,
    large: Bytes,
    tail: &'static [u8],
    /// The socket has taken bytes and was not flushed since.
    is_unflushed: bool,
}

impl WriteBuffer {
    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.written == self.copied.len() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Whether everything has been written and flushed.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.is_unflushed
    }

    /// How many bytes are to be written.
    pub fn len(&self) -> usize {
        self.copied.len() - self.written + self.large.len() + self.tail.len()
    }

    /// Whether another piece may be added before this is written: less than `max` bytes wait, and none behind
    /// which it could not stand.
    pub fn has_room(&self, max: usize) -> bool {
        // The next piece stands behind the large one and its end: it cannot take their place.
        self.large.is_empty() && self.tail.is_empty() && self.len() < max
    }

    /// The copied bytes, to add a head or the like. Must not be called while a large piece waits.
    pub fn space(&mut self) -> &mut Vec<u8> {
        let large = !self.large.is_empty() || !self.tail.is_empty();
        debug_assert!(!large, "a large piece comes last");
        if self.copied.capacity() == 0 {
            self.copied = SPARE_SPACE.take();
        }
        if self.written > 0 {
            // With a slow reader the buffer may never become empty: what was written is removed here.
            self.copied.drain(..self.written);
            self.written = 0;
        }
        &mut self.copied
    }

    /// Adds a piece with what stands before and behind it.
    pub fn push(&mut self, before: &[u8], piece: Bytes, behind: &'static [u8]) {
        let space = self.space();
        space.extend_from_slice(before);
        if piece.len() <= COPIED {
            space.extend_from_slice(&piece);
            space.extend_from_slice(behind);
        } else {
            self.large = piece;
            self.tail = behind;
        }
    }

    /// Writes and flushes everything. Ready when the system has all of it.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let copied = &self.copied[self.written..];
            let written = if self.large.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, copied))?
            } else if io.is_write_vectored() {
                let parts = [copied, &self.large, self.tail].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &parts))?
            } else {
                let parts = [copied, &self.large, self.tail];
                let first = parts.into_iter().find(|part| !part.is_empty());
                ready!(Pin::new(&mut *io).poll_write(cx, first.unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.advance(written);
            if self.is_empty() {
                self.recycle();
            }
        }
        if self.is_unflushed {
            // A socket with TLS holds what it could not send, and sends it only when it is flushed.
            ready!(Pin::new(io).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Drops what is left, since nobody will read it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn advance(&mut self, mut written: usize) {
        let copied = written.min(self.copied.len() - self.written);
        self.written += copied;
        written -= copied;
        let large = written.min(self.large.len());
        self.large.advance(large);
        self.tail = &self.tail[written - large..];
    }

    fn recycle(&mut self) {
        let mut space = std::mem::take(&mut self.copied);
        self.written = 0;
        self.large = Bytes::new();
        if space.capacity() <= SPARE {
            space.clear();
            SPARE_SPACE.set(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn all_pieces_leave_in_order_however_little_is_taken_at_once() {
        for taken in [1, 2, 7, 64, 100_000] {
            let (mut near, mut far) = tokio::io::duplex(taken);
            let large: Vec<u8> = (0..10_000).map(|at| at as u8).collect();
            let reading = async {
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.unwrap();
                all
            };
            let expected = [b"head", &b"<"[..], b"small>", b"<", &large, b">"].concat();
            let writing = async move {
                let mut out = WriteBuffer::default();
                out.space().extend_from_slice(b"head");
                out.push(b"<", Bytes::from_static(b"small"), b">");
                assert!(out.has_room(100));
                out.push(b"<", large.into(), b">");
                assert!(!out.has_room(1_000_000) && !out.is_empty());
                assert_eq!(out.len(), 10_013);
                std::future::poll_fn(|cx| out.poll_write(&mut near, cx))
                    .await
                    .unwrap();
                assert!(out.is_empty() && out.copied.capacity() == 0);
            };
            let (written, ()) = tokio::join!(reading, writing);
            assert_eq!(written, expected, "{taken}");
        }
    }

    /// Takes at most `max` bytes, and only every other time it is asked.
    struct Takes {
        max: usize,
        taken: Vec<u8>,
        asked: bool,
        vectored: bool,
    }

    impl AsyncWrite for Takes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.asked = !self.asked;
            if !self.asked {
                return Poll::Pending;
            }
            let length = buf.len().min(self.max);
            self.taken.extend_from_slice(&buf[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            assert!(self.vectored, "it takes one piece at once");
            let mut all = Vec::new();
            for part in parts {
                all.extend_from_slice(part);
            }
            self.poll_write(cx, &all)
        }
    }

    #[test]
    fn pieces_follow_each_other_wherever_a_write_ends() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for small in [COPIED, COPIED + 1] {
            // From one byte at once to a piece and the beginning of the next.
            for most in (1..10).chain(small - 5..small + 15) {
                let mut io = Takes {
                    max: most,
                    taken: Vec::new(),
                    asked: false,
                    vectored: most % 2 == 0,
                };
                let (mut out, mut expected) = (WriteBuffer::default(), Vec::new());
                for number in 0..8 {
                    while !out.has_room(2 * COPIED) {
                        let written = out.poll_write(&mut io, &mut cx);
                        assert!(written.is_pending() || out.is_empty());
                    }
                    let piece = vec![number; small];
                    expected.extend_from_slice(&[b"<", &piece[..], b"\r\n"].concat());
                    out.push(b"<", piece.into(), b"\r\n");
                }
                while !out.is_empty() {
                    let _ = out.poll_write(&mut io, &mut cx);
                }
                assert!(io.taken == expected, "{small} by {most}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_never_quite_catches_up_costs_no_more_than_what_waits() {
        let (mut near, mut far) = tokio::io::duplex(100);
        let mut out = WriteBuffer::default();
        for _ in 0..10_000 {
            while out.has_room(1000) {
                out.push(b"", Bytes::from_static(&[0; 50]), b"");
            }
            let written = std::future::poll_fn(|cx| Poll::Ready(out.poll_write(&mut near, cx)));
            assert!(written.await.is_pending());
            assert!(far.read(&mut [0; 60]).await.unwrap() > 0);
        }
        assert!(out.copied.capacity() < 4000, "{}", out.copied.capacity());
    }

    /// Takes everything, and sends it only when it is flushed for the second time, as TLS does while the
    /// socket is full.
    struct Holds {
        held: bool,
        asked: usize,
    }

    impl AsyncWrite for Holds {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held = true;
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.asked += 1;
            if self.asked == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.held = false;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_socket_is_flushed_until_it_holds_nothing_back() {
        let mut io = Holds {
            held: false,
            asked: 0,
        };
        let mut out = WriteBuffer::default();
        out.push(b"", Bytes::from_static(b"the end"), b"");
        let first = std::future::poll_fn(|cx| Poll::Ready(out.poll_write(&mut io, cx))).await;
        assert!(first.is_pending() && out.is_empty() && !out.is_flushed());
        std::future::poll_fn(|cx| out.poll_write(&mut io, cx))
            .await
            .unwrap();
        assert!(!io.held && out.is_flushed());
    }
}
