//! A client's socket, and who is at its other end.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::Reason;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::http2;

#[cfg(test)]
pub mod in_memory;

/// A client's socket, of whatever kind. A writer has to flush it before it waits for anything:
/// a kind that encrypts may hold back what it took until then. A kind is added by a variant here and
/// nowhere else; its handshake is over before it becomes one.
#[derive(Debug)]
pub enum ClientSocket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// One stream of an HTTP/2 connection, which a CONNECT has opened.
    Stream(Box<http2::Tunnel>),
    /// TLS on a socket of one of the other kinds.
    Tls(Box<TlsStream<ClientSocket>>),
    /// A stream in memory, for tests.
    #[cfg(test)]
    Memory(Box<dyn in_memory::InMemory>),
}

/// Who is at the other end of a client's socket, known since the connection was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP: the address and port it connected from.
    Tcp(SocketAddr),
    /// Over a unix socket: the process that connected, where the system tells (`SO_PEERCRED`).
    Unix(Option<PeerProcess>),
}

/// The process that connected to a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProcess {
    /// The user that it ran as when it connected.
    pub uid: u32,
    /// Its number, unless it lives in a namespace that this process cannot see.
    pub pid: Option<i32>,
}

impl Peer {
    /// Its address, if it has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// As the log says it: `192.0.2.7:50312`, `[2001:db8::7]:50312`, or `uid:1000`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A socket for both families shows IPv4 addresses inside of IPv6 ones.
            Self::Tcp(peer) => SocketAddr::new(peer.ip().to_canonical(), peer.port()).fmt(f),
            Self::Unix(Some(process)) => write!(f, "uid:{}", process.uid),
            Self::Unix(None) => f.write_str("uid:unknown"),
        }
    }
}

impl ClientSocket {
    /// Makes its closing a reset: what was sent must not look complete. It is closed either way.
    pub fn reset_at_close(&mut self) {
        match self {
            Self::Tcp(socket) => {
                let _ = SockRef::from(&*socket).set_linger(Some(std::time::Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Stream(stream) => stream.reset(Reason::CANCEL),
            // A `close_notify`, which would make it look complete, is sent by a shutdown alone.
            Self::Tls(stream) => stream.get_mut().0.reset_at_close(),
            #[cfg(test)]
            Self::Memory(_) => {}
        }
    }

    /// Whether the client has reset it, as far as that shows without reading. Its error is taken: nothing else learns of it.
    pub fn is_reset(&self) -> bool {
        let has_failed =
            |socket: SockRef<'_>| socket.take_error().is_ok_and(|error| error.is_some());
        match self {
            Self::Tcp(socket) => has_failed(SockRef::from(socket)),
            Self::Unix(socket) => has_failed(SockRef::from(socket)),
            Self::Stream(_) => false,
            Self::Tls(stream) => stream.get_ref().0.is_reset(),
            #[cfg(test)]
            Self::Memory(_) => false,
        }
    }
}

/// Does the same with a socket of whatever kind.
macro_rules! for_each_kind {
    ($client:expr, $socket:ident => $work:expr) => {
        match $client {
            ClientSocket::Tcp($socket) => $work,
            ClientSocket::Unix($socket) => $work,
            ClientSocket::Stream($socket) => $work,
            ClientSocket::Tls($socket) => $work,
            #[cfg(test)]
            ClientSocket::Memory($socket) => $work,
        }
    };
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        for_each_kind!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        for_each_kind!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        for_each_kind!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        for_each_kind!(self, socket => socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for_each_kind!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for_each_kind!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_shown_by_its_own_address_or_user() {
        let tcp = |text: &str| Peer::Tcp(text.parse().unwrap()).to_string();
        assert_eq!(tcp("192.0.2.7:50312"), "192.0.2.7:50312");
        assert_eq!(tcp("[2001:db8::7]:50312"), "[2001:db8::7]:50312");
        assert_eq!(tcp("[::ffff:192.0.2.7]:50312"), "192.0.2.7:50312");
        let (uid, pid) = (1000, Some(7));
        let process = PeerProcess { uid, pid };
        assert_eq!(Peer::Unix(Some(process)).to_string(), "uid:1000");
        assert_eq!(Peer::Unix(None).to_string(), "uid:unknown");
    }
}
