//! The bytes of a connection, with TLS or without.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::http1::{self, Unsolicited};

/// The bytes of a connection.
#[derive(Debug)]
pub enum Io {
    /// `http`
    Tcp(Socket),
    /// `https`
    Tls(Box<TlsStream<Socket>>),
}

/// A socket that knows how much has left it.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    written: u64,
}

impl Io {
    /// How many bytes the system has taken so far. As long as that is the same number, nothing of a
    /// request has left this machine.
    pub fn written(&self) -> u64 {
        self.socket().written
    }

    /// What has come on it while nothing was asked for. The system is asked as well: the runtime looks
    /// at its sockets only between two rounds of tasks, and what came since is unknown to it.
    pub fn unsolicited(&mut self) -> Option<Unsolicited> {
        if let Some(known) = http1::unsolicited(self) {
            return Some(known);
        }
        // What is read here is lost, but so is a connection on which there is something to read.
        let mut bytes = [0; Unsolicited::LENGTH];
        let read = (&*SockRef::from(self.socket().tcp())).read(&mut bytes);
        match (read, self) {
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => None,
            (Ok(length), Self::Tcp(_)) => Some(Unsolicited::of(&bytes[..length])),
            // Of TLS it may be its own end, or a ticket.
            _ => Some(Unsolicited::End),
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Closing it will be a reset: what was sent must not look complete. It is closed either way.
    pub fn reset_at_close(&self) {
        let _ = SockRef::from(self.socket().tcp()).set_linger(Some(Duration::ZERO));
    }
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self { tcp, written: 0 }
    }
}

impl Socket {
    /// The socket itself.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = polled {
            self.written += *length as u64;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_came_since_the_runtime_looked_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (bytes, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Unsolicited::Stray),
            (b"HTTP/1.1 408 ", Unsolicited::End),
            (b"", Unsolicited::End),
        ] {
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
            let mut io = Io::Tcp(tcp.unwrap().into());
            let (mut api, _) = listener.accept().unwrap();
            assert_eq!(io.unsolicited(), None);
            api.write_all(bytes).unwrap();
            drop(api);
            // It has not had a chance to look.
            assert_eq!(http1::unsolicited(&mut io), None);
            assert_eq!(io.unsolicited(), Some(expected), "{bytes:?}");
        }
    }
}
