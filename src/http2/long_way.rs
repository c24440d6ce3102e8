//! A long way in memory, for tests on paused time: every byte arrives half of a round trip later, and as many may
//! be on it as there are.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

/// What each end holds until it is read.
const CAPACITY: usize = 1 << 20;

/// The two ends of a way of this length, there and back.
pub fn way(round_trip: Duration) -> (DuplexStream, DuplexStream) {
    let (near, end) = duplex(CAPACITY);
    (near, lengthened(end, round_trip))
}

/// The far end of a way of this length, there and back, that leads to this end of a connection.
pub fn lengthened(end: DuplexStream, round_trip: Duration) -> DuplexStream {
    let (near, far) = duplex(CAPACITY);
    let (from_end, to_end) = tokio::io::split(end);
    let (from_far, to_far) = tokio::io::split(near);
    spawn_local(carry(from_end, to_far, round_trip / 2));
    spawn_local(carry(from_far, to_end, round_trip / 2));
    far
}

async fn carry(
    mut from: impl AsyncRead + Unpin + 'static,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel();
    spawn_local(async move {
        loop {
            let mut piece = Vec::with_capacity(64 << 10);
            match from.read_buf(&mut piece).await {
                Ok(1..) if sender.send((Instant::now() + delay, piece)).is_ok() => {}
                _ => return,
            }
        }
    });
    while let Some((at, piece)) = under_way.recv().await {
        sleep_until(at).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
