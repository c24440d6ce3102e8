//! One client connection, from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use super::framing::Follows;
use super::io::{Activity, ClientIo, Stream};
use super::refusal::{linger, refuse};
use crate::config;
use crate::deadline::Deadline;
use crate::proxy::{self, Client, Current, StreamExecutor};

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read to tell HTTP/1.1 from HTTP/2.
const SNIFFED_BYTES: usize = 8 * 1024;

/// Serves a connection to its end.
pub async fn serve(mut stream: Stream, client: Arc<Client>, current: Current) {
    let limits = current(&client).0.snapshot.config.server.clone();
    let mut ahead = BytesMut::new();
    let http2 = match sniff(&mut stream, &mut ahead, &client, &limits).await {
        Sniffed::Http1 => false,
        Sniffed::Http2 => true,
        Sniffed::Silent => return,
        Sniffed::Slow => {
            return refuse(&mut stream, StatusCode::REQUEST_TIMEOUT, &client, &current).await;
        }
    };
    let activity = Arc::new(Activity::new(http2));
    let io = ClientIo::new(
        stream,
        Arc::clone(&client),
        Arc::clone(&activity),
        ahead.freeze(),
        http2,
    );
    let io = TokioIo::new(io);
    let service = {
        let (client, current, activity) = (
            Arc::clone(&client),
            Rc::clone(&current),
            Arc::clone(&activity),
        );
        service_fn(move |mut request: Request<Incoming>| {
            let follows = follows(&request, http2);
            let mut framing = activity.framing();
            if follows != Follows::Anything && framing.names_are_usual() {
                // How the names were spelled: towards the upstream they are spelled so anyway.
                request.extensions_mut().clear();
            }
            framing.head_read(follows);
            drop(framing);
            let (view, listener) = current(&client);
            let in_flight = client.begin();
            let activity = Arc::clone(&activity);
            async move {
                let mut response: Response<proxy::Reply> =
                    proxy::handle(view, listener, in_flight, request).await;
                let refused = response.status() != StatusCode::SWITCHING_PROTOCOLS;
                if !http2 && follows == Follows::Anything && refused && !activity.framing().resume()
                {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    if http2 {
        let connection = http2_builder(&limits).serve_connection(io, service);
        Watched::new(connection, Arc::clone(&client), activity, &limits, true).await;
        return;
    }
    let connection = http1_builder(&limits)
        .serve_connection(io, service)
        .with_upgrades();
    let mut watched = Watched::new(connection, Arc::clone(&client), activity, &limits, false);
    let end = (&mut watched).await;
    let Some(parts) = Pin::into_inner(watched.connection).into_parts() else {
        return; // Upgraded: the tunnel has the socket.
    };
    let mut io = parts.io.into_inner();
    let refused = match &end {
        End::Done(Err(error)) if error.is_parse() => io.take_refusal().map(|status| {
            let framing = watched.activity.framing();
            let fits = framing.head_fits(limits.max_header_bytes, limits.max_headers);
            // Of a length that no body has the library says so too.
            match status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && fits {
                true => StatusCode::BAD_REQUEST,
                false => status,
            }
        }),
        End::SlowHead => Some(StatusCode::REQUEST_TIMEOUT),
        _ => None,
    };
    match (refused, end) {
        (Some(status), _) => refuse(&mut io, status, &client, &current).await,
        (None, End::Done(_)) => {
            if client.is_reset() {
                return; // The sooner it learns that its response broke off, the better.
            }
            // A request may have been answered before all of its body was read.
            let ended = timeout(limits.idle_timeout, io.end()).await;
            if matches!(ended, Ok(Ok(()))) && !client.is_closing() {
                linger(&mut io, limits.linger_timeout).await;
            }
        }
        (None, _) => {}
    }
}

/// What comes behind a head.
fn follows(request: &Request<Incoming>, http2: bool) -> Follows {
    if http2 || proxy::may_upgrade(request) {
        return Follows::Anything;
    }
    match request.body().size_hint().exact() {
        Some(length) => Follows::Length(length),
        None => Follows::Chunks,
    }
}

enum Sniffed {
    Http1,
    Http2,
    /// It ended, or stayed silent.
    Silent,
    /// It began and did not go on.
    Slow,
}

async fn sniff(
    stream: &mut Stream,
    ahead: &mut BytesMut,
    client: &Client,
    limits: &config::Server,
) -> Sniffed {
    // Of the connection, and once something has arrived, of its first byte.
    let mut since = Instant::now();
    let mut deadline = Deadline::default();
    let mut closing = None;
    let mut read = async |ahead: &mut BytesMut| {
        let at = if ahead.is_empty() {
            since + limits.idle_timeout
        } else {
            since + limits.header_timeout
        };
        let first = ahead.is_empty();
        let mut reading = pin!(stream.read_buf(ahead));
        let read = std::future::poll_fn(|cx| {
            client.register(cx);
            if client.is_cut() {
                return Poll::Ready(None);
            }
            // The first request of a new connection may be on its way: it is still served.
            let at = match client.is_closing() {
                true => at.min(*closing.get_or_insert_with(Instant::now) + limits.linger_timeout),
                false => at,
            };
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(Some(read.unwrap_or(0)));
            }
            deadline.poll(cx, at).map(|()| None)
        })
        .await;
        if first {
            since = Instant::now();
        }
        read
    };
    ahead.reserve(SNIFFED_BYTES);
    loop {
        let begun = !ahead.is_empty();
        match read(ahead).await {
            Some(0) => return Sniffed::Silent,
            None if begun && !client.is_cut() => return Sniffed::Slow,
            None => return Sniffed::Silent,
            Some(_) => {}
        }
        let compared = ahead.len().min(PREFACE.len());
        if ahead[..compared] != PREFACE[..compared] {
            return Sniffed::Http1;
        }
        if compared == PREFACE.len() {
            return Sniffed::Http2;
        }
    }
}

fn http1_builder(limits: &config::Server) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .title_case_headers(true)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(limits.body_buffer));
    builder
}

fn http2_builder(limits: &config::Server) -> http2::Builder<StreamExecutor> {
    let http2 = &limits.http2;
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(http2.ping_interval)
        .keep_alive_timeout(http2.ping_timeout)
        .max_concurrent_streams(http2.max_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(http2.stream_window)
        // Streams whose upstream does not read must not stop the others.
        .initial_connection_window_size(http2.connection_window())
        .max_send_buf_size(limits.body_buffer)
        .enable_connect_protocol();
    builder
}

/// How a watched connection ended.
enum End {
    Done(hyper::Result<()>),
    SlowHead,
    Idle,
    Cut,
}

/// A connection with its timers, which are armed only while it waits.
struct Watched<C> {
    connection: Pin<Box<C>>,
    client: Arc<Client>,
    activity: Arc<Activity>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// It says which requests it still serves, and its requests come side by side.
    http2: bool,
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

/// A connection of either version of the protocol.
trait Closing: Future<Output = hyper::Result<()>> {
    /// Finishes what is in flight, then ends.
    fn close(self: Pin<&mut Self>);
}

impl<C: Closing> Watched<C> {
    fn new(
        connection: C,
        client: Arc<Client>,
        activity: Arc<Activity>,
        limits: &config::Server,
        http2: bool,
    ) -> Self {
        Self {
            connection: Box::pin(connection),
            client,
            activity,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            http2,
            deadline: Deadline::default(),
            waiting: Waiting::Busy,
            registered: false,
            told: false,
        }
    }

    fn next_wait(&self) -> Waiting {
        let in_head = self.activity.in_head();
        let started = self.client.started();
        let blocked = self.activity.blocked.load(Relaxed);
        let sent = self.activity.sent.swap(false, Relaxed);
        match (self.waiting, in_head) {
            // Some of a response may be left to send when its request has ended here.
            (Waiting::Reader(since), _) if blocked && !sent => Waiting::Reader(since),
            _ if blocked => Waiting::Reader(Instant::now()),
            // In HTTP/1.1 a head may come behind a request, and waits for it to end. In HTTP/2 all
            // other requests wait for the end of a head.
            _ if self.client.in_flight() > 0 && !(self.http2 && in_head.is_some()) => Waiting::Busy,
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

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.waiting = self.next_wait();
        let (at, end) = match self.waiting {
            Waiting::Busy => return Poll::Pending,
            Waiting::Reader(since) => (since + self.idle_timeout, End::Cut),
            Waiting::Head(since, _) => (since + self.header_timeout, End::SlowHead),
            Waiting::Request(since, _) => (since + self.idle_timeout, End::Idle),
        };
        std::task::ready!(self.deadline.poll(cx, at));
        if matches!(end, End::Cut) {
            self.client.reset();
        }
        Poll::Ready(end)
    }
}

impl<C: Closing> Future for Watched<C> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.registered, true) {
            this.client.register(cx);
        }
        loop {
            if this.client.is_cut() {
                this.client.reset();
                return Poll::Ready(End::Cut);
            }
            if let Poll::Ready(done) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(End::Done(done));
            }
            // In HTTP/1.1 not before the request that made us come here has begun; HTTP/2 says
            // which it still serves.
            let begun = this.http2 || this.client.started() > 0;
            let may_close = this.client.is_closing() && begun;
            if may_close && !std::mem::replace(&mut this.told, true) {
                this.connection.as_mut().close();
                continue;
            }
            if this.activity.holding.swap(false, Relaxed) {
                continue;
            }
            match this.poll_waiting(cx) {
                // Over HTTP/2 nobody has to guess whether a request was too late.
                Poll::Ready(End::Idle) if this.http2 && !this.told => {
                    this.told = true;
                    this.waiting = Waiting::Busy;
                    this.connection.as_mut().close();
                }
                end => return end,
            }
        }
    }
}

impl<S> Closing for http1::UpgradeableConnection<TokioIo<ClientIo>, S>
where
    S: HttpService<Incoming, ResBody = proxy::Reply>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
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
