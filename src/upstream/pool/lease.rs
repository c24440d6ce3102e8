//! A connection while a request uses it.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request};

use super::available::{Available, Http1State};
use super::http2_connection::Http2Connection;
use super::shelf::Shelf;
use crate::deadline::Deadline;
use crate::http1::{RequestHead, RequestLine, RoundTrip};
use crate::http2;
use crate::upstream::http2_io::TransportStatus;
use crate::upstream::io::UpstreamIo;
use crate::upstream::keep_alive;
use crate::upstream::outgoing_body::OutgoingBody;

/// A connection that one request can use.
pub enum Checkout {
    /// An HTTP/1.1 connection.
    Http1(Http1Connection),
    /// A stream of an HTTP/2 connection.
    Http2(Http2Stream),
}

/// An HTTP/1.1 connection that is ready for one request.
pub struct Http1Connection {
    io: UpstreamIo,
    lease: Lease,
    /// Whether it carried a request before: the upstream may have closed it meanwhile.
    pub reused: bool,
}

/// A stream of an HTTP/2 connection that is ready for one request.
pub struct Http2Stream {
    connection: Rc<Http2Connection>,
    lease: Lease,
    /// Whether the connection carried a request before.
    pub reused: bool,
}

/// The right to use a connection for one request. When it is dropped an HTTP/1.1 connection is closed, and
/// the stream of an HTTP/2 connection ends.
pub struct Lease {
    shelf: Rc<Shelf>,
    leased: Leased,
    keep_alive: Option<Duration>,
}

enum Leased {
    Http1(Box<Http1State>),
    Http2(Rc<Http2Connection>),
    /// It has been given back.
    Nothing,
}

impl Checkout {
    /// The use of this connection by one request.
    pub(super) fn new(shelf: &Rc<Shelf>, available: Available) -> Self {
        match available {
            Available::Http1 { io, state, reused } => {
                Self::Http1(Http1Connection::new(shelf, io, state, reused))
            }
            Available::Http2 { connection, reused } => {
                Self::Http2(Http2Stream::new(shelf, connection, reused))
            }
        }
    }

    /// Whether it can still be used. It may have been closed since it was checked out.
    pub fn is_usable(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_usable(),
            Self::Http2(_) => true,
        }
    }
}

impl Http1Connection {
    pub(super) fn new(
        shelf: &Rc<Shelf>,
        io: UpstreamIo,
        state: Box<Http1State>,
        reused: bool,
    ) -> Self {
        shelf.begin_use();
        Self {
            io,
            lease: Lease::new(shelf, Leased::Http1(state)),
            reused,
        }
    }

    /// Prevents that another request follows on it.
    pub(super) fn retire(&mut self) {
        self.lease.retire();
    }

    /// Gives it back without a request.
    pub(super) fn give_back(self) {
        self.lease.release(self.io);
    }

    /// Whether it can still be used. It may have been closed since it was checked out.
    pub fn is_usable(&mut self) -> bool {
        if !self.reused {
            // What a server sends at once on a new connection is read as the answer.
            return true;
        }
        let came = self.io.unsolicited();
        if let Some(came) = came {
            self.lease
                .shelf
                .record_lost_idle(came, self.lease.idle_for());
        }
        came.is_none()
    }

    /// Begins a request with this body. The request and the lease are on the heap together, until the end of the
    /// response.
    pub fn begin<B: OutgoingBody>(
        self,
        request: RequestHead<'_>,
        body: Option<B>,
    ) -> Box<(RoundTrip<UpstreamIo, B>, Lease)> {
        let endpoint = &self.lease.shelf.endpoint;
        let line = RequestLine {
            proxied: endpoint
                .connector
                .absolute_form()
                .filter(|_| self.lease.is_read_by_proxy()),
            ..request.line
        };
        let request = RequestHead { line, ..request };
        let trip = RoundTrip::new(
            self.io,
            request,
            body,
            endpoint.head_limits(),
            endpoint.body_buffer,
        );
        Box::new((trip, self.lease))
    }
}

impl Http2Stream {
    pub(super) fn new(shelf: &Rc<Shelf>, connection: Rc<Http2Connection>, reused: bool) -> Self {
        connection.begin_stream();
        Self {
            lease: Lease::new(shelf, Leased::Http2(Rc::clone(&connection))),
            connection,
            reused,
        }
    }

    /// Whether the upstream supports extended CONNECT (RFC 8441) on it.
    pub async fn supports_connect(&self) -> bool {
        let wait = self.lease.shelf.endpoint.connect_protocol_timeout;
        self.connection.supports_connect(wait).await
    }

    /// Whether its connection accepts no more requests.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// What has been read and written on its connection.
    pub fn transport(&self) -> &TransportStatus {
        self.connection.status()
    }

    /// Its server may have vanished: its connection gets no more requests.
    pub fn mark_suspect(&self) {
        self.connection.mark_suspect();
    }

    /// A timer for the request that waits for the answer.
    pub fn timer(&self) -> Deadline {
        self.connection.timer()
    }

    /// Takes the timer back, for the next stream.
    pub fn return_timer(&self, timer: Deadline) {
        self.connection.return_timer(timer);
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Nothing of it has been sent.
    pub fn send<B: OutgoingBody>(
        &self,
        request: Request<Option<B>>,
    ) -> Result<http2::RoundTrip, http2::Error> {
        self.connection.send(request)
    }

    /// Its request has been answered. The lease must be held until the response has been read.
    pub fn into_lease(self) -> Lease {
        let idle_for = self.connection.record_answer();
        self.lease.shelf.endpoint.history.record_answer(idle_for);
        self.lease
    }
}

impl Lease {
    fn new(shelf: &Rc<Shelf>, leased: Leased) -> Self {
        Self {
            shelf: Rc::clone(shelf),
            leased,
            keep_alive: None,
        }
    }

    /// The upstream has answered with these headers.
    pub fn record_answer(&mut self, headers: &HeaderMap) {
        let promised = keep_alive::timeout(headers);
        self.keep_alive = self.keep_alive.or(promised);
        self.shelf.endpoint.history.record_answer(self.idle_for());
    }

    /// Prevents that another request follows on the connection, however its response ends.
    pub fn retire(&mut self) {
        self.keep_alive = Some(Duration::ZERO);
    }

    /// The timer of an HTTP/1.1 connection.
    pub fn timer(&mut self) -> Option<&mut Deadline> {
        match &mut self.leased {
            Leased::Http1(state) => Some(&mut state.timer),
            Leased::Http2(_) | Leased::Nothing => None,
        }
    }

    /// The upstream had closed the connection before the request came.
    #[cold]
    pub fn record_idle_close(&self) {
        self.shelf.endpoint.record_idle_close(self.idle_for());
    }

    /// Bytes came after the response that no request had asked for.
    pub fn record_unsolicited(&self) {
        self.shelf.endpoint.record_unsolicited();
    }

    /// Whether a proxy reads the requests on the connection, so that a response may be one of the proxy.
    pub fn is_read_by_proxy(&self) -> bool {
        matches!(&self.leased, Leased::Http1(state) if state.is_read_by_proxy)
    }

    /// The address that answered: that of the server, or of the proxy on the way to it.
    pub fn peer(&self) -> Option<IpAddr> {
        match &self.leased {
            Leased::Http1(state) => Some(state.age.peer()),
            Leased::Http2(connection) => Some(connection.age().peer()),
            Leased::Nothing => None,
        }
    }

    fn idle_for(&self) -> Duration {
        match &self.leased {
            Leased::Http1(state) => state.idle_for,
            Leased::Http2(_) | Leased::Nothing => Duration::ZERO,
        }
    }

    /// Gives an HTTP/1.1 connection back whose response has been read to its end.
    pub fn release(mut self, io: UpstreamIo) {
        if let Leased::Http1(state) = std::mem::replace(&mut self.leased, Leased::Nothing) {
            self.shelf.end_use();
            let keep_alive = self.keep_alive.unwrap_or(Duration::MAX);
            let available = Available::Http1 {
                io,
                state,
                reused: true,
            };
            self.shelf.put(available, keep_alive);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.leased {
            Leased::Http1(_) => self.shelf.end_use(),
            Leased::Http2(connection) => connection.end_stream(),
            Leased::Nothing => {}
        }
    }
}
