//! What comes on a connection that waits for its next request.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::io::AsyncRead;
use tokio::task::coop::unconstrained;

use super::read::poll_read;

/// What has come on a connection on which no request is under way. The next request would take it for its
/// response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsolicited {
    /// The end of the connection, or what some servers send before it: empty lines, or a 408 (RFC 9110
    /// section 15.5.9).
    End,
    /// Anything else.
    Stray,
}

/// The beginning of a 408, in which only the minor version may differ.
const TIMED_OUT: &[u8; Unsolicited::LENGTH] = b"HTTP/1.? 408";

impl Unsolicited {
    /// This many bytes tell what it is.
    pub const LENGTH: usize = 12;

    /// What begins with these bytes. No bytes mean the end.
    pub fn of(bytes: &[u8]) -> Self {
        let is_empty = bytes.iter().all(|byte| b"\r\n".contains(byte));
        let mut pairs = bytes.iter().zip(TIMED_OUT);
        if is_empty || pairs.all(|(byte, expected)| *expected == b'?' || byte == expected) {
            Self::End
        } else {
            Self::Stray
        }
    }
}

/// What has come on a connection that waits for its next request, as far as the runtime knows. This costs
/// nothing unless something has come.
pub fn unsolicited<I: AsyncRead + Unpin>(io: &mut I) -> Option<Unsolicited> {
    let mut cx = Context::from_waker(Waker::noop());
    // To a task that has used up its budget the runtime would say that nothing has come.
    let looking = unconstrained(std::future::poll_fn(|cx| {
        poll_read(io, cx, Unsolicited::LENGTH)
    }));
    match pin!(looking).poll(&mut cx) {
        std::task::Poll::Pending => None,
        // A connection that has failed counts as one that has ended.
        std::task::Poll::Ready(received) => Some(Unsolicited::of(&received.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_came_tells_whether_an_idle_connection_is_still_usable() {
        for (bytes, expected) in [
            (&b"x"[..], Unsolicited::Stray),
            (b"HTTP/1.1 200 OK\r\n", Unsolicited::Stray),
            (b"HTTP/1.0 408 Request Time-out\r\n", Unsolicited::End),
            (b"HTTP/1.1 40", Unsolicited::End),
            (b"HTTP/1.1 404", Unsolicited::Stray),
            (b"\r\n", Unsolicited::End),
            (b"\r\nHTTP/1.1 200 OK", Unsolicited::Stray),
        ] {
            let (mut near, mut far) = duplex(64);
            assert_eq!(unsolicited(&mut near), None);
            far.write_all(bytes).await.unwrap();
            assert_eq!(unsolicited(&mut near), Some(expected), "{bytes:?}");
        }
        let (mut near, far) = duplex(64);
        drop(far);
        assert_eq!(unsolicited(&mut near), Some(Unsolicited::End));
    }

    #[tokio::test]
    async fn what_has_come_is_seen_though_the_task_has_used_up_its_budget() {
        let (mut near, mut far) = duplex(64);
        far.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        std::future::poll_fn(|cx| {
            while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
                turn.made_progress();
            }
            assert_eq!(unsolicited(&mut near), Some(Unsolicited::Stray));
            Poll::Ready(())
        })
        .await;
    }
}
