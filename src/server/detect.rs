//! The first bytes of a client connection: which version of HTTP it speaks.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::client_socket::ClientSocket;
use crate::config;
use crate::deadline::Deadline;
use crate::proxy::ClientConnection;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What TLS begins with: a record of a handshake, of a version 3.x (RFC 8446 section 5.1).
pub(super) const TLS: [u8; 2] = [22, 3];
/// The most that is read to tell what a connection speaks.
pub(super) const READ_AHEAD: usize = 8 * 1024;

/// What the first bytes of a connection are.
pub(super) enum Detected {
    /// The beginning of HTTP/1.1, or of something that is not HTTP.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// The beginning of TLS.
    Tls,
    /// None: the connection has ended, or was silent for too long.
    Nothing,
    /// The beginning of the preface, of which the rest did not come in time.
    Incomplete,
}

/// The version of HTTP, and what has been read to find it, `received` before it included.
pub(super) async fn detect(
    socket: &mut ClientSocket,
    received: Bytes,
    client: &ClientConnection,
    limits: &config::Server,
) -> (Detected, Bytes) {
    let mut read_ahead = BytesMut::from(&received[..]);
    let detected = read_preface(socket, &mut read_ahead, client, limits).await;
    // A copy, so that a few bytes do not hold on to the memory of a whole read.
    (detected, Bytes::copy_from_slice(&read_ahead))
}

async fn read_preface(
    socket: &mut ClientSocket,
    read_ahead: &mut BytesMut,
    client: &ClientConnection,
    limits: &config::Server,
) -> Detected {
    let mut reader = FirstReader::new(client, limits, limits.idle_timeout);
    read_ahead.reserve(READ_AHEAD);
    loop {
        let has_begun = !read_ahead.is_empty();
        let is_undecided = read_ahead.len() < PREFACE.len() && PREFACE.starts_with(read_ahead);
        if is_undecided {
            match reader.read(socket, read_ahead).await {
                FirstRead::Closed => return Detected::Nothing,
                FirstRead::Late if has_begun && !client.is_cut() => return Detected::Incomplete,
                FirstRead::Late => return Detected::Nothing,
                FirstRead::Some => {}
            }
        }
        let compared = read_ahead.len().min(PREFACE.len());
        if read_ahead.starts_with(&TLS) {
            return Detected::Tls;
        }
        if read_ahead[..compared] != PREFACE[..compared] {
            return Detected::Http1;
        }
        if compared == PREFACE.len() {
            return Detected::Http2;
        }
    }
}

/// Reads the first bytes of a connection.
pub(super) struct FirstReader<'c> {
    client: &'c ClientConnection,
    limits: &'c config::Server,
    /// How long the first byte may take.
    silence: Duration,
    /// When the connection began, and once something has arrived, when its first byte did.
    since: Instant,
    deadline: Deadline,
    closing_since: Option<Instant>,
}

/// What came of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstRead {
    /// Some bytes.
    Some,
    /// The end.
    Closed,
    /// Nothing in time, or the connection is cut.
    Late,
}

impl<'c> FirstReader<'c> {
    /// For a connection that begins now, of which the first byte may take as long as `silence`.
    pub(super) fn new(
        client: &'c ClientConnection,
        limits: &'c config::Server,
        silence: Duration,
    ) -> Self {
        Self {
            client,
            limits,
            silence,
            since: Instant::now(),
            deadline: Deadline::default(),
            closing_since: None,
        }
    }

    /// Whether nothing more comes of the connection, whatever its client still says.
    pub(super) fn is_ending(&self) -> bool {
        self.client.is_cut() || self.client.is_closing()
    }

    /// Reads once. What is there already counts as the first bytes.
    pub(super) async fn read(
        &mut self,
        socket: &mut ClientSocket,
        read_ahead: &mut BytesMut,
    ) -> FirstRead {
        let is_first = read_ahead.is_empty();
        let patience = if is_first {
            self.silence
        } else {
            self.limits.header_timeout
        };
        let at = self.since + patience;
        let (client, limits) = (self.client, self.limits);
        let mut reading = pin!(socket.read_buf(read_ahead));
        let read = std::future::poll_fn(|cx| {
            client.register(cx);
            if client.is_cut() {
                return Poll::Ready(FirstRead::Late);
            }
            // The first request of a new connection may be on its way: it is still served.
            let at = if client.is_closing() {
                let since = *self.closing_since.get_or_insert_with(Instant::now);
                at.min(since + limits.linger_timeout)
            } else {
                at
            };
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(match read {
                    Ok(0) | Err(_) => FirstRead::Closed,
                    Ok(_) => FirstRead::Some,
                });
            }
            self.deadline.poll(cx, at).map(|()| FirstRead::Late)
        })
        .await;
        if is_first {
            self.since = Instant::now();
        }
        read
    }
}
