//! TCP connections to whichever address answers.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

#[cfg(test)]
use super::in_memory;
use super::socket::CountingSocket;
use crate::config::Dialing;
use crate::process::{is_reserved, shortage};

/// Connects to the addresses in order: to the next one whenever one fails, or does not answer within
/// `address_delay`. Returns the first connection, and the addresses that failed before it; the other attempts
/// are dropped. The error is that of the first address.
pub(super) async fn dial(
    addresses: Vec<SocketAddr>,
    dialing: &Dialing,
) -> io::Result<(CountingSocket, Vec<IpAddr>)> {
    let keepalive = || {
        let keepalive = &dialing.keepalive;
        TcpKeepalive::new()
            .with_time(keepalive.time)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.retries)
    };
    if let [only] = addresses[..] {
        let dialed = dial_one(only, keepalive()).await;
        return dialed.map(|socket| (socket, Vec::new()));
    }
    let mut rest = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let (mut failure, mut failed) = (None, Vec::new());
    loop {
        if let Some(next) = rest.next() {
            let attempt = dial_one(next, keepalive());
            attempts.spawn(async move { attempt.await.map_err(|e| (next.ip(), e)) });
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done.map_err(io::Error::other)? {
                Ok(socket) => return Ok((socket, failed)),
                Err((ip, e)) => {
                    failure = failure.or(Some(e));
                    failed.push(ip);
                }
            },
            () = tokio::time::sleep(dialing.address_delay), if rest.len() > 0 => {}
            else => break,
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("no address to connect to")))
}

async fn dial_one(address: SocketAddr, keepalive: TcpKeepalive) -> io::Result<CountingSocket> {
    #[cfg(test)]
    if let Some(dialed) = in_memory::dial(address).await {
        return dialed.map(CountingSocket::from);
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if is_reserved(&socket) {
        return Err(shortage());
    }
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp.into())
}
