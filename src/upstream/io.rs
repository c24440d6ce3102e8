//! The bytes of a connection to a server, with TLS or without.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::socket::CountingSocket;
use crate::http1::Unsolicited;

/// Reads of up to 4 KiB each after which a connection is given up that has brought nothing but records of TLS
/// itself while it was idle. Servers send a few tickets of some hundred bytes.
const MAX_TLS_READS: usize = 8;

/// The bytes of a connection to a server.
#[derive(Debug)]
pub enum UpstreamIo {
    /// `http`
    Tcp(CountingSocket),
    /// `https`
    Tls(Box<TlsStream<CountingSocket>>),
    /// `https` through a proxy that is reached over TLS itself.
    TlsInTls(Box<TlsStream<UpstreamIo>>),
}

impl UpstreamIo {
    /// How many bytes the system has accepted for sending so far. As long as this number stays the same, nothing
    /// of a request has left this machine.
    pub fn bytes_written(&self) -> u64 {
        self.socket().bytes_written()
    }

    /// What has come on a connection on which no request waits for an answer. If this is not `None`, the
    /// connection must be given up: what was read here is lost.
    ///
    /// The runtime looks at its sockets only between two rounds of tasks. What has come since then is unknown to
    /// it, so the system is asked.
    pub fn unsolicited(&mut self) -> Option<Unsolicited> {
        let mut bytes = [0; Unsolicited::LENGTH];
        match ReadableNow(self).read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Unsolicited::End),
            Ok(length) => Some(Unsolicited::of(&bytes[..length])),
        }
    }

    /// The same, but the system is asked only if the runtime knows that something has come.
    pub fn known_unsolicited(&mut self) -> Option<Unsolicited> {
        if self.socket().is_known_readable() {
            self.unsolicited()
        } else {
            None
        }
    }

    fn socket(&self) -> &CountingSocket {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
            Self::TlsInTls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// When it is closed from now on, it is reset: what was sent must not look complete. If this fails, it is
    /// closed without a reset.
    pub fn reset_at_close(&self) {
        self.socket().reset_at_close();
    }
}

/// Reads what the system has received, without waiting.
struct ReadableNow<'a>(&'a mut UpstreamIo);

impl Read for ReadableNow<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            UpstreamIo::Tcp(socket) => socket.now().read(bytes),
            UpstreamIo::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                read_tls_now(&mut socket.now(), session, bytes)
            }
            UpstreamIo::TlsInTls(stream) => {
                let (io, session) = stream.get_mut();
                read_tls_now(&mut ReadableNow(io), session, bytes)
            }
        }
    }
}

/// Reads the data of the application that has been received, without waiting. Records of TLS itself, such
/// as session tickets and key updates, are processed (RFC 8446 section 4.6): a server may send them at any
/// time, and the connection stays good. A server that sends them without end must not keep this thread, so
/// that more than [`MAX_TLS_READS`] of them are an error. Nothing is read at the end of the connection.
fn read_tls_now(
    received: &mut dyn Read,
    session: &mut ClientConnection,
    bytes: &mut [u8],
) -> io::Result<usize> {
    for _ in 0..MAX_TLS_READS {
        let state = session.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() > 0 {
            return session.reader().read(bytes);
        }
        let is_at_end = state.peer_has_closed();
        if is_at_end || session.read_tls(received)? == 0 {
            return Ok(0);
        }
    }
    Err(io::Error::other(
        "the server sends records of TLS without end",
    ))
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Self::TlsInTls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
            Self::TlsInTls(io) => Pin::new(io).poll_write(cx, buf),
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
            Self::TlsInTls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::TlsInTls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
            Self::TlsInTls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Self::TlsInTls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

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
            let mut io = UpstreamIo::Tcp(tcp.unwrap().into());
            let (mut api, _) = listener.accept().unwrap();
            assert_eq!(io.unsolicited(), None);
            api.write_all(bytes).unwrap();
            drop(api);
            // It has not had a chance to look.
            assert_eq!(io.known_unsolicited(), None);
            assert_eq!(io.unsolicited(), Some(expected), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_the_runtime_knows_of_is_found_though_the_task_has_used_up_its_budget() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut io = UpstreamIo::Tcp(tcp.unwrap().into());
        let (mut api, _) = listener.accept().unwrap();
        api.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        io.socket().tcp().unwrap().readable().await.unwrap();
        std::future::poll_fn(|cx| {
            while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
                turn.made_progress();
            }
            assert_eq!(io.known_unsolicited(), Some(Unsolicited::Stray));
            Poll::Ready(())
        })
        .await;
    }

    /// Both ends of a connection with TLS 1.3, and what its server has to send behind the handshake: tickets.
    async fn tls_connection(
        tickets: usize,
    ) -> (
        UpstreamIo,
        std::net::TcpStream,
        rustls::ServerConnection,
        Vec<u8>,
    ) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        config.send_tls13_tickets = tickets;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(crate::blocking::run(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            // What is written has arrived then.
            tcp.set_nodelay(true).unwrap();
            let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            while session.is_handshaking() {
                while session.wants_write() {
                    session.write_tls(&mut tcp).unwrap();
                }
                session.read_tls(&mut tcp).unwrap();
                session.process_new_packets().unwrap();
            }
            let mut tickets = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut tickets).unwrap();
            }
            (tcp, session, tickets)
        }));
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp.into());
        let io = UpstreamIo::Tls(Box::new(stream.await.unwrap()));
        let (tcp, session, tickets) = server.await.unwrap().unwrap();
        assert!(!tickets.is_empty());
        (io, tcp, session, tickets)
    }

    #[tokio::test]
    async fn tickets_and_key_updates_that_come_late_leave_a_connection_good() {
        let (mut io, mut api, mut session, tickets) = tls_connection(2).await;
        assert_eq!(io.unsolicited(), None);
        api.write_all(&tickets[..tickets.len() - 1]).unwrap();
        assert_eq!(io.unsolicited(), None, "not all of it has come");
        api.write_all(&tickets[tickets.len() - 1..]).unwrap();
        assert_eq!(io.unsolicited(), None);
        session.refresh_traffic_keys().unwrap();
        session.write_tls(&mut api).unwrap();
        assert_eq!(io.unsolicited(), None);
        // It still carries a request and an answer.
        io.write_all(b"request").await.unwrap();
        session.writer().write_all(b"answer").unwrap();
        session.write_tls(&mut api).unwrap();
        let mut answer = [0; 6];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn a_server_that_sends_tickets_without_end_does_not_keep_the_thread() {
        let (mut io, mut api, _session, tickets) = tls_connection(1000).await;
        // What has come in one go, and fits into the buffers of any socket.
        let many = 40 << 10;
        assert!(tickets.len() > many, "{}", tickets.len());
        api.write_all(&tickets[..many]).unwrap();
        io.socket().tcp().unwrap().readable().await.unwrap();
        assert_eq!(io.known_unsolicited(), Some(Unsolicited::End));
    }

    #[tokio::test]
    async fn unsolicited_data_under_tls_is_told_from_the_end_of_the_connection() {
        for (data, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Unsolicited::Stray),
            (b"HTTP/1.1 408 ", Unsolicited::End),
            (b"", Unsolicited::End),
        ] {
            let (mut io, mut api, mut session, tickets) = tls_connection(2).await;
            api.write_all(&tickets).unwrap();
            session.writer().write_all(data).unwrap();
            session.send_close_notify();
            session.write_tls(&mut api).unwrap();
            assert_eq!(io.unsolicited(), Some(expected), "{data:?}");
        }
        // Nor is the end of the socket alone taken for a good connection.
        let (mut io, api, session, _) = tls_connection(2).await;
        drop((api, session));
        assert_eq!(io.unsolicited(), Some(Unsolicited::End));
    }
}
