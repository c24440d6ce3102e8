//! Reading without a buffer of one's own.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What fills less than this part of the memory it was read to is copied out of it, so that little
/// never holds much.
const PART: usize = 8;

thread_local! {
    /// What a read goes to. It is the same memory most of the time, and so in the cache.
    static SPACE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads at most `most` bytes; none are the end. Whoever waits holds no memory for what may come.
///
/// # Errors
/// The system's.
pub(super) fn poll_read<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    SPACE.with_borrow_mut(|space| {
        space.reserve(most);
        let mut limited = (&mut *space).limit(most);
        let length = ready!(pin!(io.read_buf(&mut limited)).poll(cx))?;
        if length * PART >= most {
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
        for most in [1, 7, 64, 1000] {
            far.write_all(&all).await.unwrap();
            let mut read = Vec::new();
            while read.iter().map(Bytes::len).sum::<usize>() < all.len() {
                let piece = std::future::poll_fn(|cx| poll_read(&mut near, cx, most)).await;
                let piece = piece.unwrap();
                assert!(!piece.is_empty() && piece.len() <= most);
                read.push(piece);
            }
            // What was read first is still there.
            assert_eq!(read.concat(), all, "{most}");
        }
        drop(far);
        let end = std::future::poll_fn(|cx| poll_read(&mut near, cx, 10)).await;
        assert!(end.unwrap().is_empty());
    }
}
