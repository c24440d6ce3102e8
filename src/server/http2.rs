//! A client connection of HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::io::{Activity, ClientIo};
use crate::config;
use crate::deadline::Deadline;
use crate::proxy::{self, Client, Current, Source, StreamExecutor};
use crate::stream::Stream;

/// Serves a connection of which `received` has been read already.
pub async fn serve(
    stream: Stream,
    received: Bytes,
    client: Arc<Client>,
    current: Current,
    limits: Rc<config::Server>,
) {
    let activity = Rc::new(Activity::default());
    let io = ClientIo::new(stream, Rc::clone(&activity), received);
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request: Request<Incoming>| {
            let (view, listener) = current(&client);
            let in_flight = client.begin();
            let (head, body) = request.into_parts();
            let body = (!body.is_end_stream()).then_some(Source::Http2(body));
            // On the heap until there is a response: its stream may last for hours.
            let handling = Box::pin(proxy::handle(view, listener, in_flight, head, body));
            async move { Ok::<_, Infallible>(handling.await) }
        })
    };
    let connection = builder(&limits).serve_connection(TokioIo::new(io), service);
    Watched::new(connection, client, activity, &limits).await;
}

fn builder(limits: &config::Server) -> http2::Builder<StreamExecutor> {
    let settings = &limits.http2;
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(settings.stream_window)
        // Streams whose upstream does not read must not stop the others.
        .initial_connection_window_size(settings.connection_window())
        .max_send_buf_size(limits.body_buffer)
        .enable_connect_protocol();
    builder
}

/// A connection with its timers, which are armed only while it waits.
struct Watched<C> {
    connection: Pin<Box<C>>,
    client: Arc<Client>,
    activity: Rc<Activity>,
    header_timeout: Duration,
    idle_timeout: Duration,
    deadline: Deadline,
    waiting: Waiting,
    registered: bool,
    told: bool,
}

/// What a connection waits for, since when.
#[derive(Clone, Copy)]
enum Waiting {
    /// A request is being answered.
    Busy,
    /// For the client to read.
    Reader(Instant),
    /// For the rest of this request head.
    Head(Instant, u64),
    /// For a request, after this many.
    Request(Instant, u64),
}

/// Whether a wait that was too long ends the connection at once, or its requests are finished first.
enum Late {
    Ends,
    Idle,
}

/// A connection that can be told to end.
trait Closing: Future<Output = hyper::Result<()>> {
    /// Finishes what is in flight, then ends.
    fn close(self: Pin<&mut Self>);
}

impl<C: Closing> Watched<C> {
    fn new(
        connection: C,
        client: Arc<Client>,
        activity: Rc<Activity>,
        limits: &config::Server,
    ) -> Self {
        Self {
            connection: Box::pin(connection),
            client,
            activity,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            deadline: Deadline::default(),
            waiting: Waiting::Busy,
            registered: false,
            told: false,
        }
    }

    fn next_wait(&self) -> Waiting {
        let in_head = self.activity.in_head();
        let started = self.client.started();
        let blocked = self.activity.blocked.get();
        let sent = self.activity.sent.take();
        match (self.waiting, in_head) {
            // Some of a response may be left to send when its request has ended here.
            (Waiting::Reader(since), _) if blocked && !sent => Waiting::Reader(since),
            _ if blocked => Waiting::Reader(Instant::now()),
            // All other requests wait for the end of a head.
            (_, None) if self.client.in_flight() > 0 => Waiting::Busy,
            (Waiting::Head(since, known), Some(head)) if known == head => {
                Waiting::Head(since, head)
            }
            (_, Some(head)) => Waiting::Head(Instant::now(), head),
            (Waiting::Request(since, after), None) if after == started => {
                Waiting::Request(since, after)
            }
            (_, None) => Waiting::Request(Instant::now(), started),
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        self.waiting = self.next_wait();
        let (at, late) = match self.waiting {
            Waiting::Busy => return Poll::Pending,
            Waiting::Reader(since) => (since + self.idle_timeout, Late::Ends),
            Waiting::Head(since, _) => (since + self.header_timeout, Late::Ends),
            Waiting::Request(since, _) => (since + self.idle_timeout, Late::Idle),
        };
        self.deadline.poll(cx, at).map(|()| late)
    }
}

impl<C: Closing> Future for Watched<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.registered, true) {
            this.client.register(cx);
        }
        loop {
            if this.client.is_cut() {
                return Poll::Ready(());
            }
            if this.connection.as_mut().poll(cx).is_ready() {
                // However it ended, there is nobody left to tell.
                return Poll::Ready(());
            }
            if this.client.is_closing() && !std::mem::replace(&mut this.told, true) {
                this.connection.as_mut().close();
                continue;
            }
            match std::task::ready!(this.poll_waiting(cx)) {
                // Nobody has to guess whether a request was too late.
                Late::Idle if !this.told => {
                    this.told = true;
                    this.waiting = Waiting::Busy;
                    this.connection.as_mut().close();
                }
                Late::Idle | Late::Ends => return Poll::Ready(()),
            }
        }
    }
}

impl<S> Closing for http2::Connection<TokioIo<ClientIo>, S, StreamExecutor>
where
    S: HttpService<Incoming, ResBody = proxy::Reply>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: 'static,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
