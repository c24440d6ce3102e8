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

use super::io::{Activity, ClientIo};
use crate::config;
use crate::deadline::Deadline;
use crate::http2::server::{
    Connection, IncomingRequest, RequestContent, Responder, ResponseProgress, Settings,
    TunnelReceiver,
};
use crate::http2::{Pace, Sending, Sizes};
use crate::proxy::{self, ClientBody, ClientConnection, CurrentSnapshot, InterimSink, Reply};
use crate::stream::Stream;

/// Serves a connection of which `received` has been read already.
pub async fn serve(
    stream: Stream,
    received: Bytes,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
) {
    let activity = Activity::new();
    let io = ClientIo::new(stream, Rc::clone(&activity), received);
    let settings = settings(&limits, &client, &current);
    // However it ends, there is nobody left to tell.
    if let Ok(connection) = Connection::begin(io, &settings).await {
        Served {
            connection,
            client,
            current,
            activity,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            deadline: Deadline::default(),
            waiting: Waiting::Busy,
            registered: false,
            told: false,
        }
        .await;
    }
}

fn settings(
    limits: &config::Server,
    client: &ClientConnection,
    current: &CurrentSnapshot,
) -> Settings {
    let http2 = &limits.http2;
    let (shard, _) = current(client);
    Settings {
        windows: Sizes {
            stream: http2.stream_window,
            max_streams: http2.max_streams,
            budget: Arc::clone(&shard.snapshot.windows),
        },
        small_frames: http2.connection_window() as usize / 2,
        max_header_bytes: u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX),
        send_buffer: limits.body_buffer,
        max_interim_bytes: limits.max_interim_bytes,
        pace: Pace::new(http2.ping_interval),
        ping_timeout: http2.ping_timeout,
    }
}

/// A connection with its timers, which are armed only while it waits.
struct Served {
    connection: Connection<ClientIo>,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
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

impl Served {
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

    /// Answers a request by a task of its own.
    fn answer(&self, request: IncomingRequest) {
        let IncomingRequest {
            head,
            content,
            responder,
        } = request;
        let client = Arc::clone(&self.client);
        let (shard, listener) = (self.current)(&client);
        let in_flight = client.begin();
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
                    answer(client, responder, None, Box::pin(handling)).await;
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
                tokio::task::spawn_local(answer(client, responder, receiver, handling));
            }
        }
    }
}

impl Future for Served {
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
            if this.client.is_closing() && !std::mem::replace(&mut this.told, true) {
                this.connection.close();
                continue;
            }
            match std::task::ready!(this.poll_waiting(cx)) {
                // Nobody has to guess whether a request was too late.
                Late::Idle if !this.told => {
                    this.told = true;
                    this.waiting = Waiting::Busy;
                    this.connection.close();
                }
                Late::Idle | Late::Ends => return Poll::Ready(()),
            }
        }
    }
}

/// Answers one request, unless its client resets the stream before. `receiver` is the client's direction of
/// a tunnel that it asks for.
async fn answer(
    client: Arc<ClientConnection>,
    responder: Rc<Responder>,
    receiver: Option<TunnelReceiver>,
    mut handling: Pin<Box<impl Future<Output = Response<Reply>>>>,
) {
    let response = std::future::poll_fn(|cx| match handling.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => responder.poll_reset(cx).map(|()| None),
    });
    let Some(mut response) = response.await else {
        return;
    };
    drop(handling);
    if let (Some(tunnel), Some(receiver)) = (response.body_mut().take_tunnel(), receiver) {
        // It counts as in flight until the end of the tunnel.
        let _in_flight = client.begin();
        let (head, _) = response.into_parts();
        if let Ok(mut stream) = responder.connect(Response::from_parts(head, ()), receiver) {
            let joined = tunnel.join_stream(&mut stream, &client).await;
            if joined.is_err() {
                stream.reset();
            }
        }
        return;
    }
    if let Ok(ResponseProgress::Body(sending)) = responder.send(response) {
        send(sending, &client).await;
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
