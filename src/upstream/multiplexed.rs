//! One HTTP/2 connection to an upstream, shared by the streams of a shard.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use tokio::time::Instant;

use super::answers::Wire;
use super::pool::RequestBody;
use super::{Endpoint, HyperIo, LocalExecutor};
use crate::config::Http2;

/// One connection and its streams.
pub struct Multiplexed<B> {
    sender: http2::SendRequest<B>,
    wire: Arc<Wire>,
    in_flight: Cell<usize>,
    /// More than these, or than its server allows, need another connection.
    max_streams: usize,
    idle_since: Cell<Instant>,
    driven: Rc<dyn Settings>,
    /// What the server says of itself has arrived.
    settled: Cell<bool>,
}

/// What a server says of itself, as it does now.
trait Settings {
    /// How many streams it takes at once.
    fn streams(&self) -> usize;
    /// Whether it takes extended CONNECT; `None` when the connection has ended.
    fn connect(&self) -> Option<bool>;
    /// Wakes this task when it may have said something else.
    fn watch(&self, waker: &Waker);
}

type Connection<B> = http2::Connection<HyperIo, B, Watched>;

struct Driven<B: RequestBody> {
    /// Dropped at its end, so that its sender learns of it.
    connection: RefCell<Option<Pin<Box<Connection<B>>>>>,
    watched: Watched,
}

/// Runs hyper's tasks, one of which reads what the server says, and wakes those who wait to hear
/// something after each step.
#[derive(Clone, Default)]
struct Watched(Rc<RefCell<Vec<Waker>>>);

impl Watched {
    fn wake(&self) {
        self.0.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl<F: Future + 'static> Executor<F> for Watched {
    fn execute(&self, task: F) {
        let watched = self.clone();
        // Apart, since the one of each stream has the size of that of a whole connection, and the runtime
        // moves what it runs some times.
        let mut task = Box::pin(task);
        LocalExecutor.execute(std::future::poll_fn(move |cx| {
            let done = task.as_mut().poll(cx).map(drop);
            watched.wake();
            done
        }));
    }
}

impl<B: RequestBody> Multiplexed<B> {
    /// Begins HTTP/2 on a new connection, and drives it from then on.
    pub async fn begin(
        io: HyperIo,
        wire: Arc<Wire>,
        endpoint: &Endpoint,
    ) -> hyper::Result<Rc<Self>> {
        let watched = Watched::default();
        let (sender, connection) = builder(endpoint, watched.clone()).handshake(io).await?;
        let driven = Rc::new(Driven {
            connection: RefCell::new(Some(Box::pin(connection))),
            watched,
        });
        let driver = Rc::clone(&driven);
        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            let mut connection = driver.connection.borrow_mut();
            let ended = connection
                .as_mut()
                .is_none_or(|connection| connection.as_mut().poll(cx).is_ready());
            if ended {
                *connection = None;
            }
            driver.watched.wake();
            match ended {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        Ok(Rc::new(Self {
            sender,
            wire,
            in_flight: Cell::new(0),
            max_streams: endpoint.http2.max_streams as usize,
            idle_since: Cell::new(Instant::now()),
            driven,
            settled: Cell::new(false),
        }))
    }

    /// Sends one request.
    pub fn sender(&self) -> http2::SendRequest<B> {
        self.sender.clone()
    }

    /// Whether it takes another stream.
    pub fn is_free(&self) -> bool {
        let most = self.driven.streams().min(self.max_streams);
        self.in_flight.get() < most && !self.is_closed()
    }

    /// Whether it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.wire.is_unheard()
    }

    /// Whether the server takes extended CONNECT (RFC 8441), which it must have said before it is
    /// asked for one. Its settings are the first that it sends (RFC 9113 section 3.4): one that
    /// knows of it has said so within `patience`.
    pub async fn takes_connect(&self, patience: Duration) -> bool {
        let said = std::future::poll_fn(|cx| match self.driven.connect() {
            Some(false) if !self.settled.get() => {
                self.driven.watch(cx.waker());
                Poll::Pending
            }
            known => Poll::Ready(known == Some(true)),
        });
        let said = tokio::time::timeout(patience, said).await;
        self.settled.set(true);
        said.unwrap_or(false)
    }
}

impl<B> Multiplexed<B> {
    /// What becomes of its bytes.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The server has answered a request.
    pub fn answered(&self) {
        self.settled.set(true);
    }

    /// Streams open now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// When the last stream ended; meaningless while there are any.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// One more is open.
    pub fn stream_begins(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// One less is.
    pub fn stream_ended(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.idle_since.set(Instant::now());
        }
    }
}

impl<B: RequestBody> Settings for Driven<B> {
    fn streams(&self) -> usize {
        let connection = self.connection.borrow();
        connection
            .as_ref()
            .map_or(0, |connection| connection.current_max_send_streams())
    }

    fn connect(&self) -> Option<bool> {
        let connection = self.connection.borrow();
        connection
            .as_ref()
            .map(|connection| connection.is_extended_connect_protocol_enabled())
    }

    fn watch(&self, waker: &Waker) {
        self.watched.0.borrow_mut().push(waker.clone());
    }
}

/// How much larger the window of a connection is than those of its streams together. The library ends a
/// connection when it keeps too many small frames for those who do not read: when what each is short of
/// 256 bytes adds up to half of this window. With this all streams may be full of frames of 24 bytes, as
/// long as the window is not the largest there is.
const ROOM_FOR_SMALL_FRAMES: u32 = 20;

fn builder(endpoint: &Endpoint, executor: Watched) -> http2::Builder<Watched> {
    let http2 = &endpoint.http2;
    let window = http2.connection_window();
    let window = window.saturating_mul(ROOM_FOR_SMALL_FRAMES);
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(hyper_util::rt::TokioTimer::new())
        .keep_alive_interval(http2.ping_interval)
        .keep_alive_timeout(http2.ping_timeout)
        .max_header_list_size(u32::try_from(endpoint.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(http2.stream_window)
        .initial_connection_window_size(window.min(Http2::LARGEST_WINDOW))
        .max_send_buf_size(endpoint.body_buffer);
    builder
}
