//! A long way: every byte arrives later, and as many may be on it as there are.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::server;

/// An address that leads to `target`, half of `round_trip` away, on a thread of its own.
pub(crate) fn delayed(target: SocketAddr, round_trip: Duration) -> SocketAddr {
    server::bytes(move |_, client| async move {
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            carry(from_client, to_server, round_trip / 2),
            carry(from_server, to_client, round_trip / 2),
        );
    })
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut under_way) = mpsc::unbounded_channel();
    let sending = async move {
        loop {
            let mut piece = Vec::with_capacity(64 << 10);
            match from.read_buf(&mut piece).await {
                Ok(1..) if sender.send((Instant::now() + delay, piece)).is_ok() => {}
                _ => return,
            }
        }
    };
    let arriving = async move {
        while let Some((at, piece)) = under_way.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(sending, arriving);
}
