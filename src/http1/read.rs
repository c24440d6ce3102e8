//! Reading with a buffer that all connections of a thread share.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A read that fills less than this part of the buffer is copied out of it, so that a few bytes never keep a
/// large piece of memory alive.
const PART: usize = 8;

thread_local! {
    /// What a read goes to. Most of the time this is the same memory, which is in the processor's cache.
    static SPACE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads at max `max` bytes. None at all mean the end. A connection that waits holds no memory for what may
/// come.
///
/// # Errors
/// The system's.
pub(super) fn poll_read<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    max: usize,
) -> Poll<io::Result<Bytes>> {
    SPACE.with_borrow_mut(|space| {
        space.reserve(max);
        let mut limited = (&mut *space).limit(max);
        let length = ready!(pin!(io.read_buf(&mut limited)).poll(cx))?;
        if length * PART >= max {
            return Poll::Ready(Ok(space.split().freeze()));
        }
        let received = Bytes::copy_from_slice(space);
        space.clear();
        Poll::Ready(Ok(received))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_comes_is_read_whole_or_in_pieces_and_its_end_is_nothing() {
        let (mut near, mut far) = tokio::io::duplex(1000);
        let all: Vec<u8> = (0..=255).collect();
        for max in [1, 7, 64, 1000] {
            far.write_all(&all).await.unwrap();
            let mut read = Vec::new();
            while read.iter().map(Bytes::len).sum::<usize>() < all.len() {
                let piece = std::future::poll_fn(|cx| poll_read(&mut near, cx, max)).await;
                let piece = piece.unwrap();
                assert!(!piece.is_empty() && piece.len() <= max);
                read.push(piece);
            }
            // What was read first is still there.
            assert_eq!(read.concat(), all, "{max}");
        }
        drop(far);
        let end = std::future::poll_fn(|cx| poll_read(&mut near, cx, 10)).await;
        assert!(end.unwrap().is_empty());
    }
}
