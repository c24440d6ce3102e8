//! How the connections of a pool are opened.
//!
//! While it is not known which protocol the server speaks, and over HTTP/2, one connection is opened at a
//! time, since it can serve all requests that wait. Over HTTP/1.1 several are, and each request gets the
//! first that is opened or given back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::available::{Available, Http1State};
use super::http2_connection::Http2Connection;
use super::lease::{Checkout, Http1Connection};
use super::retirement::Age;
use super::shelf::Shelf;
use super::waiting::Outcome;
use crate::upstream::client_tls::Protocols;
use crate::upstream::connect::Connected;
use crate::upstream::error::ConnectError;
use crate::upstream::http2_io::Http2Io;
use crate::upstream::permits::ConnectionPermit;

/// A request waits this much longer than an attempt may take, so that it gets the error of the attempt.
const GRACE: Duration = Duration::from_millis(50);

/// Opens connections for a shelf.
pub(super) struct Dialer {
    shelf: Rc<Shelf>,
    /// Held while a connection is opened that can serve all, so that a burst of requests opens one.
    dialing: tokio::sync::Mutex<()>,
    /// The last connection speaks HTTP/1.1.
    is_http1: Cell<bool>,
    /// How many attempts have failed, and the error of the last one.
    failure: RefCell<(u64, Option<Arc<ConnectError>>)>,
}

impl Dialer {
    pub(super) fn new(shelf: Rc<Shelf>) -> Rc<Self> {
        Rc::new(Self {
            shelf,
            dialing: tokio::sync::Mutex::default(),
            is_http1: Cell::new(false),
            failure: RefCell::default(),
        })
    }

    /// A connection for one request: a new one, or with `reuse` one that is given back meanwhile.
    pub(super) async fn open(self: &Rc<Self>, reuse: bool) -> Result<Checkout, Arc<ConnectError>> {
        if self.is_http1.get() || self.shelf.endpoint.connector.speaks_only_http1() {
            return self.open_http1(reuse).await;
        }
        let failures = self.failure.borrow().0;
        let turn = self.dialing.lock().await;
        if let (count, Some(error)) = &*self.failure.borrow()
            && *count != failures
        {
            return Err(Arc::clone(error));
        }
        // It may have been opened for another request while this one waited.
        if let Some(shared) = self.shelf.available_http2() {
            return Ok(self.checkout(shared));
        }
        if reuse && let Some(available) = self.shelf.take() {
            return Ok(self.checkout(available));
        }
        if self.is_http1.get() {
            // This became known while this request waited: from now on several are opened at once.
            drop(turn);
            return self.open_http1(reuse).await;
        }
        match self.connect().await {
            Ok(available) => Ok(self.checkout(available)),
            Err(error) => match self.shelf.retired_http2() {
                Some(connection) => {
                    connection.reinstate();
                    Ok(self.checkout(Available::Http2 {
                        connection,
                        reused: true,
                    }))
                }
                None => Err(self.record_failure(error)),
            },
        }
    }

    /// Opens one HTTP/1.1 connection for a single request, which may upgrade it.
    pub(super) async fn open_dedicated(&self) -> Result<Http1Connection, ConnectError> {
        self.make_room().await;
        let opened = self.shelf.endpoint.connect(Protocols::Http1).await;
        let (connected, permit) = opened?;
        let state = Http1State::new(permit, self.age(&connected), &connected);
        let mut connection = Http1Connection::new(&self.shelf, connected.io, state, false);
        connection.retire();
        Ok(connection)
    }

    /// Opens a connection that takes the place of an old one.
    pub(super) fn replace(self: &Rc<Self>) {
        let dialer = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _turn = dialer.dialing.lock().await;
            // The history of the endpoint remembers whether it succeeded.
            if let Ok(available) = dialer.connect().await {
                dialer.shelf.put(available, Duration::MAX);
            }
        });
    }

    fn record_failure(&self, error: ConnectError) -> Arc<ConnectError> {
        let error = Arc::new(error);
        let mut failure = self.failure.borrow_mut();
        *failure = (failure.0 + 1, Some(Arc::clone(&error)));
        error
    }

    async fn open_http1(self: &Rc<Self>, reuse: bool) -> Result<Checkout, Arc<ConnectError>> {
        if reuse {
            return self.wait().await;
        }
        let available = self.connect().await.map_err(Arc::new)?;
        Ok(self.checkout(available))
    }

    fn checkout(&self, available: Available) -> Checkout {
        Checkout::new(&self.shelf, available)
    }

    /// Opens one connection. One of HTTP/2 is on the shelf from then on.
    async fn connect(&self) -> Result<Available, ConnectError> {
        self.make_room().await;
        let endpoint = &self.shelf.endpoint;
        let (connected, permit) = endpoint.connect(Protocols::Any).await?;
        self.is_http1.set(!connected.http2);
        let history = &endpoint.history;
        history.record_version(connected.http2, Instant::now());
        if connected.http2 {
            return Ok(Available::Http2 {
                connection: self.begin_http2(connected, permit).await?,
                reused: false,
            });
        }
        Ok(Available::Http1 {
            state: Http1State::new(permit, self.age(&connected), &connected),
            io: connected.io,
            reused: false,
        })
    }

    async fn begin_http2(
        &self,
        connected: Connected,
        permit: ConnectionPermit,
    ) -> Result<Rc<Http2Connection>, ConnectError> {
        let age = self.age(&connected);
        let io = Http2Io::with_permit(permit, connected.io);
        let endpoint = &self.shelf.endpoint;
        let shared = Http2Connection::begin(io, age, endpoint)
            .await
            .map_err(|error| endpoint.connector.http2_failed(&error))?;
        self.shelf.add_http2(Rc::clone(&shared));
        Ok(shared)
    }

    fn age(&self, connected: &Connected) -> Age {
        Age::new(&self.shelf.endpoint, connected.peer.ip())
    }

    /// Where as many connections are open as may be, the one that has been idle for longest is closed.
    async fn make_room(&self) {
        let permits = &self.shelf.endpoint.permits;
        if !permits.is_full() {
            return;
        }
        // A connection that was dropped is closed by its own task, which runs before this one continues.
        tokio::task::yield_now().await;
        if permits.is_full() && self.shelf.drop_oldest() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for an HTTP/1.1 connection, for as long as opening one may take.
    async fn wait(self: &Rc<Self>) -> Result<Checkout, Arc<ConnectError>> {
        let mut waiting = Waiting {
            shelf: &self.shelf,
            outcome: self.shelf.waiting.enqueue(),
        };
        self.open_more();
        let endpoint = &self.shelf.endpoint;
        let within = endpoint.connect_timeout;
        let grace = if self.shelf.waiting.are_all_served() {
            // Each attempt ends in time and tells what was slow, unless it is too old for this request.
            GRACE
        } else {
            Duration::ZERO
        };
        match timeout(within + grace, &mut waiting.outcome).await {
            Ok(Ok(outcome)) => Ok(self.checkout(outcome?)),
            Ok(Err(_)) | Err(_) => Err(Arc::new(endpoint.connector.waited_too_long(within))),
        }
    }

    /// Opens connections, one for each request that waits, as far as this is allowed.
    fn open_more(self: &Rc<Self>) {
        let waiting = &self.shelf.waiting;
        let max = self.shelf.endpoint.connecting_per_shard;
        while waiting.opening() < max && !waiting.are_all_served() {
            waiting.begin_opening();
            let dialer = Rc::clone(self);
            // The request may get another connection, or go away; then this one is for the next.
            tokio::task::spawn_local(async move {
                let began = Instant::now();
                let opened = dialer.connect().await;
                let waiting = &dialer.shelf.waiting;
                waiting.end_opening();
                match opened {
                    Ok(available) => dialer.hand_over(available),
                    Err(error) => waiting.fail(began, error),
                }
                dialer.share_streams();
                dialer.open_more();
            });
        }
    }

    fn hand_over(&self, available: Available) {
        if let Some(unwanted) = self.shelf.waiting.give(available) {
            self.shelf.put(unwanted, Duration::MAX);
        }
    }

    /// If the upstream has begun to speak HTTP/2, one connection is enough for many requests.
    fn share_streams(&self) {
        while !self.shelf.waiting.is_empty()
            && let Some(shared) = self.shelf.available_http2()
        {
            self.hand_over(shared);
        }
    }
}

/// A request that waits. If it goes away, the connection that it has been given meanwhile goes back.
struct Waiting<'a> {
    shelf: &'a Shelf,
    outcome: oneshot::Receiver<Outcome>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Ok(Ok(available)) = self.outcome.try_recv() {
            self.shelf.put(available, Duration::MAX);
        }
    }
}
