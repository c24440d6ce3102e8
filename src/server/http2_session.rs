//! A client connection of HTTP/2.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::time::Instant;

use super::observed_socket::{ObservedSocket, SocketActivity};
use crate::client_socket::ClientSocket;
use crate::config;
use crate::deadline::Deadline;
use crate::http2::server::{
    IncomingRequest, RequestContent, Responder, ResponseProgress, ServerConnection, ServerSettings,
    TunnelReceiver,
};
use crate::http2::{PingInterval, Sending, Sizes, Tunnel};
use crate::proxy::{
    self, ClientBody, ClientConnection, CurrentSnapshot, InFlight, InterimSink,
    PendingInterception, Reply, Successor, UpstreamTunnel,
};

/// Serves what one stream of a connection has become, in a task of its own.
pub(super) type ServeInside =
    fn(ClientSocket, Arc<ClientConnection>, CurrentSnapshot, Option<Box<PendingInterception>>);

/// Serves a connection of which `received` has been read already. Where a CONNECT makes a connection of a stream,
/// `serve_inside` serves that.
pub async fn serve(
    socket: ClientSocket,
    received: Bytes,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
    serve_inside: ServeInside,
) {
    let activity = SocketActivity::new();
    let io = ObservedSocket::new(socket, Rc::clone(&activity), received);
    let settings = settings(&limits, &client, &current);
    // If the handshake fails there is no client to tell.
    if let Ok(connection) = ServerConnection::begin(io, &settings).await {
        Http2Session {
            connection,
            client,
            current,
            serve_inside,
            activity,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            deadline: Deadline::default(),
            wait: Wait::Answer,
            is_registered: false,
            is_draining: false,
        }
        .await;
    }
}

fn settings(
    limits: &config::Server,
    client: &ClientConnection,
    current: &CurrentSnapshot,
) -> ServerSettings {
    let http2 = &limits.http2;
    let (shard, _) = current(client);
    ServerSettings {
        windows: Sizes {
            stream: http2.stream_window,
            connection: http2.connection_window(),
            budget: Arc::clone(&shard.snapshot.windows),
        },
        max_streams: http2.max_streams,
        small_frames: http2.connection_window() as usize / 2,
        max_header_bytes: u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX),
        send_buffer: limits.body_buffer,
        max_interim_bytes: limits.max_interim_bytes,
        ping_interval: PingInterval::new(http2.ping_interval),
        ping_timeout: http2.ping_timeout,
        extended_connect: client.target().is_none_or(|target| target.extended_connect),
    }
}

/// A connection with its timer, which is armed only while the connection waits.
struct Http2Session {
    connection: ServerConnection<ObservedSocket>,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    serve_inside: ServeInside,
    activity: Rc<SocketActivity>,
    header_timeout: Duration,
    idle_timeout: Duration,
    deadline: Deadline,
    wait: Wait,
    /// Whether the task is known to those who end the connection.
    is_registered: bool,
    /// Whether a GOAWAY has been sent.
    is_draining: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy)]
enum Wait {
    /// The answer to a request.
    Answer,
    /// The client, to read what was sent to it.
    Reader { since: Instant },
    /// The rest of the request head of this number.
    Head { since: Instant, number: u64 },
    /// The next request, when `started` have begun.
    Request { since: Instant, started: u64 },
}

/// A wait was too long.
enum TimedOut {
    /// No request came: the connection is to be drained.
    Idle,
    /// The client does not go on with what it has begun: the connection ends at once.
    Stuck,
}

impl Http2Session {
    fn next_wait(&self) -> Wait {
        let partial_head = self.activity.partial_head();
        let started = self.client.requests_begun();
        let is_blocked = self.activity.is_write_blocked.get();
        let has_written = self.activity.has_written.take();
        let now = Instant::now;
        match (self.wait, partial_head) {
            // The end of a response may still wait to be written when its request is over here.
            (Wait::Reader { since }, _) if is_blocked && !has_written => Wait::Reader { since },
            _ if is_blocked => Wait::Reader { since: now() },
            // While the head of one request is incomplete, all others have to wait for its end.
            (_, None) if self.client.in_flight() > 0 => Wait::Answer,
            (Wait::Head { since, number }, Some(current)) if number == current => {
                Wait::Head { since, number }
            }
            (_, Some(number)) => {
                let since = now();
                Wait::Head { since, number }
            }
            (wait @ Wait::Request { started: known, .. }, None) if known == started => wait,
            (_, None) => {
                let since = now();
                Wait::Request { since, started }
            }
        }
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        self.wait = self.next_wait();
        let (at, timed_out) = match self.wait {
            Wait::Answer => return Poll::Pending,
            Wait::Reader { since } => (since + self.idle_timeout, TimedOut::Stuck),
            Wait::Head { since, .. } => (since + self.header_timeout, TimedOut::Stuck),
            Wait::Request { since, .. } => (since + self.idle_timeout, TimedOut::Idle),
        };
        self.deadline.poll(cx, at).map(|()| timed_out)
    }

    /// Tells the client by a GOAWAY that no more requests are taken. One that has been sent before the
    /// client knows of it is still answered: however long the connection has been idle, it now stays for
    /// another `idle_timeout`, unless the client ends it.
    fn drain(&mut self) {
        self.is_draining = true;
        if let Wait::Request { .. } = self.wait {
            self.wait = Wait::Answer;
        }
        self.connection.close();
    }

    /// Answers a request by a task of its own.
    fn answer(&self, request: IncomingRequest) {
        let IncomingRequest {
            head,
            content,
            responder,
        } = request;
        let client = Arc::clone(&self.client);
        let (shard, listener) = (self.current)(&client);
        let in_flight = client.begin_request();
        let interim = InterimSink::Stream(Rc::clone(&responder));
        match content {
            RequestContent::Body(mut body) if body.promises_none() => {
                let patience = self.idle_timeout;
                tokio::task::spawn_local(async move {
                    // To an API it would be a whole request at once, whatever comes then.
                    let empty = std::future::poll_fn(|cx| body.poll_empty(cx));
                    if tokio::time::timeout(patience, empty).await.is_err() {
                        return responder.reset(Reason::CANCEL);
                    }
                    let body = Some(ClientBody::Http2(body));
                    let handling = proxy::handle(shard, listener, in_flight, head, body, interim);
                    answer(client, responder, Box::pin(handling), None).await;
                });
            }
            content => {
                let (body, receiver) = match content {
                    RequestContent::Empty => (None, None),
                    RequestContent::Body(body) => (Some(ClientBody::Http2(body)), None),
                    RequestContent::Tunnel(receiver) => (None, Some(receiver)),
                };
                // On the heap until there is a response: its stream may last for hours.
                let handling = proxy::handle(shard, listener, in_flight, head, body, interim);
                let handling = Box::pin(handling);
                let receiver =
                    receiver.map(|receiver| (receiver, self.current.clone(), self.serve_inside));
                tokio::task::spawn_local(answer(client, responder, handling, receiver));
            }
        }
    }
}

impl Future for Http2Session {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_registered, true) {
            this.client.register(cx);
        }
        loop {
            if this.client.is_cut() {
                return Poll::Ready(());
            }
            let arrived = || this.activity.arrived();
            let (in_flight, stalls) = (this.client.in_flight(), this.client.is_stalled());
            let polled = this.connection.poll_request(cx, arrived, in_flight, stalls);
            match polled {
                Poll::Ready(Some(request)) => {
                    this.answer(request);
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            let should_drain = this.client.is_closing() || this.connection.is_crowded();
            if should_drain && !this.is_draining {
                this.drain();
                continue;
            }
            match std::task::ready!(this.poll_wait(cx)) {
                TimedOut::Idle if !this.is_draining => this.drain(),
                TimedOut::Idle | TimedOut::Stuck => return Poll::Ready(()),
            }
        }
    }
}

/// The client's direction of what it asks for by CONNECT, and how to serve the stream if it becomes a connection.
type Connecting = (TunnelReceiver, CurrentSnapshot, ServeInside);

/// Answers one request, unless its client resets the stream before.
async fn answer(
    client: Arc<ClientConnection>,
    responder: Rc<Responder>,
    mut handling: Pin<Box<impl Future<Output = Response<Reply>>>>,
    connecting: Option<Connecting>,
) {
    let response = std::future::poll_fn(|cx| match handling.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => responder.poll_reset(cx).map(|()| None),
    });
    let Some(mut response) = response.await else {
        return;
    };
    drop(handling);
    if let (Some(successor), Some(connecting)) = (response.body_mut().take_successor(), connecting)
    {
        let (receiver, current, serve_inside) = connecting;
        // What follows counts as in flight until its end.
        let in_flight = client.begin_request();
        let (head, _) = response.into_parts();
        let Ok(stream) = responder.connect(Response::from_parts(head, ()), receiver) else {
            return;
        };
        match successor {
            // On the heap: the task of each stream is as large as the largest state in which it may wait.
            Successor::Tunnel(tunnel) => {
                Box::pin(join(stream, tunnel, &client, in_flight)).await;
            }
            Successor::PlainHttp(target) => {
                let inner = client.open_inside(None);
                inner.set_target(target);
                serve_inside(ClientSocket::Stream(Box::new(stream)), inner, current, None);
            }
            Successor::Intercepted(mut pending) => {
                let stream = ClientSocket::Stream(Box::new(stream));
                let inner = client.open_inside(pending.place_of_stream.take());
                serve_inside(stream, inner, current, Some(pending));
            }
        }
        return;
    }
    if let Ok(ResponseProgress::Body(sending)) = responder.send(response) {
        send(sending, &client).await;
    }
}

/// Joins a stream with its tunnel, and ends it in the same way as that has ended.
async fn join(
    mut stream: Tunnel,
    tunnel: Box<UpstreamTunnel>,
    client: &Arc<ClientConnection>,
    _in_flight: InFlight,
) {
    // RFC 9113 section 8.5, RFC 8441 section 5.
    let reason = if tunnel.is_connect() {
        Reason::CONNECT_ERROR
    } else {
        Reason::CANCEL
    };
    if tunnel.join_stream(&mut stream, client).await.is_err() {
        stream.reset(reason);
    }
}

/// Sends a body to its end, for as long as its client makes room for it.
async fn send(mut sending: Sending<Reply>, client: &Arc<ClientConnection>) {
    let mut stalled = None;
    let mut deadline = Deadline::default();
    std::future::poll_fn(|cx| {
        if sending.poll_sent(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = sending.stalled_since() else {
            stalled = None;
            return Poll::Pending;
        };
        stalled.get_or_insert_with(|| client.stall());
        let reply = sending.body();
        // A client may send all of its request before it reads.
        reply.send_upload(cx);
        let Some(patience) = reply.patience() else {
            return Poll::Pending;
        };
        std::task::ready!(deadline.poll(cx, since + patience));
        sending.reset(Reason::CANCEL);
        Poll::Ready(())
    })
    .await;
}
