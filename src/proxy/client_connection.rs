//! One client connection, as the path of a request sees it.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::caller::{IdentificationMeans, PresentedCertificate, token};
use crate::client_socket::Peer;
use crate::config::{Scheme, Secret};
use crate::limit::Permit;
use crate::route::Destination;

/// What a connection and its requests tell each other. All of it happens on one thread; atomics
/// only because hyper wants what it upgrades to be `Send`.
pub struct ClientConnection {
    /// The name of the listener it came in by.
    pub listener: String,
    /// Who is at its other end.
    pub peer: Peer,
    /// Once TLS with the client has begun: who it is by its certificate, if it presented one.
    tls: OnceLock<Option<Arc<PresentedCertificate>>>,
    target: OnceLock<ConnectionTarget>,
    original_destination: OnceLock<SocketAddr>,
    in_flight: AtomicUsize,
    started: AtomicU64,
    stalled: AtomicUsize,
    closing: AtomicBool,
    orphaned: AtomicBool,
    cut: AtomicBool,
    reset: AtomicBool,
    waker: Mutex<Option<Waker>>,
    has_interim: AtomicBool,
    /// Interim responses to send before the next response.
    interim: Mutex<Vec<u8>>,
    max_interim: usize,
    /// The connections that streams of this one have become.
    inside: Mutex<Vec<Weak<Self>>>,
    place: Option<Permit>,
    _held: Box<dyn Any + Send + Sync>,
}

/// What all requests of one connection are for, since a CONNECT has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionTarget {
    /// `https` if TLS is ended inside of it.
    pub scheme: Scheme,
    /// In its canonical form.
    pub host: Box<str>,
    /// As the client named it.
    pub port: u16,
    /// Who opened it; `None` where nobody has to be known.
    pub caller: Option<NamedCaller>,
    /// Whether a client that speaks HTTP/2 on it is told that extended CONNECT (RFC 8441) is understood.
    pub extended_connect: bool,
}

/// A caller, for what outlives the snapshot that it was known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCaller {
    /// Its name.
    pub name: Box<str>,
    /// How it was known.
    pub means: IdentificationMeans,
    /// The key or token that it showed, if it was known by one.
    pub shown: Option<Arc<ShownSecret>>,
}

/// A key or token that a caller showed. What it has opened belongs to whom it means at each moment.
#[derive(Debug, PartialEq, Eq)]
pub struct ShownSecret {
    secret: Secret,
    /// When a token ends to be good, since the Unix epoch.
    end: Option<Duration>,
}

impl ShownSecret {
    /// Keeps what was shown.
    pub fn new(secret: &str) -> Self {
        Self {
            secret: Secret::new(secret),
            end: token::end_of(secret),
        }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }
}

impl NamedCaller {
    /// Whether the token that it showed has ended at `now`, a time since the Unix epoch.
    pub fn has_ended(&self, now: Duration) -> bool {
        let end = self.shown.as_ref().and_then(|shown| shown.end);
        // A key has no end, whatever it looks like.
        self.means != IdentificationMeans::Key && end.is_some_and(|end| now >= end)
    }
}

impl ConnectionTarget {
    /// As a destination.
    pub fn destination(&self) -> Destination<'_> {
        Destination {
            scheme: self.scheme,
            host: &self.host,
            port: self.port,
        }
    }
}

impl fmt::Display for ConnectionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Counts a request as in flight until the end of its response.
#[derive(Debug)]
pub struct InFlight(Arc<ClientConnection>);

/// Counts a response as stalled, until this is dropped.
#[derive(Debug)]
pub struct Stalled(Arc<ClientConnection>);

impl ClientConnection {
    /// A connection of `listener` from `peer`, for which at most `max_interim` bytes of interim responses gather.
    /// `place` is its place among all connections; it and `held` are dropped when the connection, or what it was
    /// upgraded to, has ended.
    pub fn new(
        listener: String,
        peer: Peer,
        max_interim: usize,
        place: Option<Permit>,
        held: impl Any + Send + Sync,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener,
            peer,
            tls: OnceLock::new(),
            target: OnceLock::new(),
            original_destination: OnceLock::new(),
            in_flight: AtomicUsize::new(0),
            started: AtomicU64::new(0),
            stalled: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            waker: Mutex::new(None),
            has_interim: AtomicBool::new(false),
            interim: Mutex::default(),
            max_interim,
            inside: Mutex::default(),
            place,
            _held: Box::new(held),
        })
    }

    /// What a CONNECT has made of one stream of this connection: it is closed and cut with this one, and counts as a
    /// request of it until its end. `place` is its own among all connections, if it has one.
    pub fn open_inside(self: &Arc<Self>, place: Option<Permit>) -> Arc<Self> {
        let (listener, in_flight) = (self.listener.clone(), self.begin_request());
        let inner = Self::new(listener, self.peer, self.max_interim, place, in_flight);
        if let Some(certificate) = self.tls.get() {
            inner.set_tls(certificate.clone());
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.retain(|inner| inner.strong_count() > 0);
        inside.push(Arc::downgrade(&inner));
        drop(inside);
        if self.is_orphaned() {
            inner.orphan();
        } else if self.is_closing() {
            inner.close();
        }
        inner
    }

    /// A place among all connections beside that of this one, if one is free.
    pub fn another_place(&self) -> Option<Permit> {
        self.place.as_ref()?.another()
    }

    /// The handshake of TLS is over; `certificate` is what the client presented, verified. Once for each connection,
    /// before its first request.
    pub fn set_tls(&self, certificate: Option<Arc<PresentedCertificate>>) {
        let _ = self.tls.set(certificate);
    }

    /// Whether the client speaks TLS with us. Inside of a CONNECT it is the client's own connection that counts.
    pub fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// The certificate that the client presented. Whether it is still good is to be asked for each request
    /// ([`PresentedCertificate::check`]).
    pub fn certificate(&self) -> Option<&PresentedCertificate> {
        self.tls.get()?.as_deref()
    }

    /// All requests that follow on it are for this. Once for each connection.
    pub fn set_target(&self, target: ConnectionTarget) {
        let _ = self.target.set(target);
    }

    /// What all its requests are for, if a CONNECT has opened it.
    pub fn target(&self) -> Option<&ConnectionTarget> {
        self.target.get()
    }

    /// The system has redirected it here on its way to this address. Once for each connection, before its first request.
    pub fn set_original_destination(&self, address: SocketAddr) {
        let _ = self.original_destination.set(address);
    }

    /// Where it was on its way to, if the system has redirected it here.
    pub fn original_destination(&self) -> Option<SocketAddr> {
        self.original_destination.get().copied()
    }

    /// A request begins.
    pub fn begin_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.started.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Requests whose response has not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Requests begun so far.
    pub fn requests_begun(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// A response waits for the client to read.
    pub fn stall(self: &Arc<Self>) -> Stalled {
        self.stalled.fetch_add(1, Relaxed);
        Stalled(Arc::clone(self))
    }

    /// Whether all requests in flight have a response that waits for the client to read.
    pub fn is_stalled(&self) -> bool {
        let stalled = self.stalled.load(Relaxed);
        stalled > 0 && stalled >= self.in_flight()
    }

    /// Asks the connection to finish what is in flight and then end.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
        self.wake();
        self.for_each_inside(Self::close);
    }

    /// Closes it, or those of its streams that have become connections, as far as `is_over` says so of what they are for.
    pub fn close_where(&self, is_over: &dyn Fn(&ConnectionTarget) -> bool) {
        if self.target().is_some_and(is_over) {
            self.close();
        }
        self.for_each_inside(|inner| inner.close_where(is_over));
    }

    /// Its listener is being removed: it is closed, and what the name of the listener stands for from now on is not its
    /// concern.
    pub fn orphan(&self) {
        self.orphaned.store(true, Relaxed);
        self.close();
        self.for_each_inside(Self::orphan);
    }

    /// Whether [`ClientConnection::orphan`] was called.
    pub fn is_orphaned(&self) -> bool {
        self.orphaned.load(Relaxed)
    }

    /// Whether [`ClientConnection::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Ends the connection now.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.wake();
        self.for_each_inside(Self::cut);
    }

    /// Whether [`ClientConnection::cut`] was called.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// The response under way broke off: the connection must end in a reset, since a plain close
    /// could look like its proper end.
    pub fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    /// Whether [`ClientConnection::reset`] was called.
    pub fn is_reset(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// Sends an interim response, in HTTP/1.1, before the response that is being waited for. They
    /// are hints: those that gather faster than the client reads are left out.
    pub fn queue_interim(&self, bytes: &[u8]) {
        let mut interim = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        if interim.len() + bytes.len() <= self.max_interim {
            interim.extend_from_slice(bytes);
            self.has_interim.store(true, Relaxed);
        }
        drop(interim);
        self.wake();
    }

    /// What [`ClientConnection::queue_interim`] gathered since.
    pub fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Relaxed) {
            return None;
        }
        self.has_interim.store(false, Relaxed);
        let mut interim = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *interim))
    }

    /// The task to wake when the connection is to end.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Waits for the end of `work`; `None` if [`ClientConnection::cut`] was called before. The caller pins what is waited for,
    /// so that nothing large is moved: the state of a handshake takes kilobytes.
    pub async fn until_cut<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| {
            self.register(cx);
            if self.is_cut() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }

    fn for_each_inside(&self, work: impl Fn(&Self)) {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let inside: Vec<_> = inside.iter().filter_map(Weak::upgrade).collect();
        for inner in inside {
            work(&inner);
        }
    }

    fn wake(&self) {
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl InFlight {
    /// The connection.
    pub fn client(&self) -> &Arc<ClientConnection> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.stalled.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection")
            .field("listener", &self.listener)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
