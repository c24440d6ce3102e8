//! A connection that was accepted, until a shard serves it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::client_socket::{ClientSocket, Peer, PeerProcess};
use crate::limit::Permit;

/// A connection that was accepted, on its way to a shard.
#[derive(Debug)]
pub struct AcceptedConnection {
    pub(super) socket: AcceptedSocket,
    pub(super) listener: String,
    pub(super) permit: Permit,
    /// The connection ends after its first request.
    pub(super) is_only_one_request: bool,
}

impl AcceptedConnection {
    /// A connection of the listener with this name, holding its permit below `max_connections`.
    pub fn new(socket: AcceptedSocket, listener: String, permit: Permit) -> Self {
        Self {
            socket,
            listener,
            permit,
            is_only_one_request: false,
        }
    }

    /// Serves one request and ends, since the listener is about to be closed.
    pub fn only_one_request(mut self) -> Self {
        self.is_only_one_request = true;
        self
    }
}

/// A socket that was accepted and is not registered with a runtime yet.
#[derive(Debug)]
pub enum AcceptedSocket {
    /// TCP, and the address that it was connected from.
    Tcp(std::net::TcpStream, SocketAddr),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl AcceptedSocket {
    /// Registers the socket with the current runtime, and tells who is at its other end.
    pub(super) fn register(self) -> io::Result<(ClientSocket, Peer)> {
        match self {
            Self::Tcp(socket, peer) => {
                let socket = tokio::net::TcpStream::from_std(socket)?;
                Ok((ClientSocket::Tcp(socket), Peer::Tcp(peer)))
            }
            Self::Unix(socket) => {
                let socket = tokio::net::UnixStream::from_std(socket)?;
                // As they were when the peer connected, whatever has become of it since.
                let process = socket.peer_cred().ok().map(|credentials| PeerProcess {
                    uid: credentials.uid(),
                    pid: credentials.pid(),
                });
                Ok((ClientSocket::Unix(socket), Peer::Unix(process)))
            }
        }
    }
}

impl AsFd for AcceptedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket, _) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}
