//! A client connection of HTTP/1.1.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::refusal::{Refusal, close, part, refuse};
use crate::client_socket::ClientSocket;
use crate::config;
use crate::deadline::TaskDeadline;
use crate::http1::{HeadLimits, IncomingRequest, SendError, ServerConnection};
use crate::proxy::{
    self, ClientBody, ClientConnection, CurrentSnapshot, InterimSink, Reply, Successor,
};

/// How often a client that nothing is read from is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Serves a connection of which `received` has been read already. If it becomes something else, the socket is given
/// back with what has been read of what follows.
pub fn serve(
    socket: ClientSocket,
    received: Bytes,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
) -> impl Future<Output = Option<(ClientSocket, Bytes, Successor)>> {
    let head = HeadLimits {
        bytes: limits.max_header_bytes,
        fields: limits.max_headers,
    };
    let max_read = limits.max_header_bytes.max(limits.body_buffer);
    let mut session = Http1Session {
        connection: ServerConnection::new(socket, received, head, max_read),
        client,
        current,
        limits,
        deadline: TaskDeadline::default(),
        look: TaskDeadline::default(),
        look_at: None,
        is_registered: false,
    };
    async move {
        let end = loop {
            if let Err(end) = session.serve_next().await {
                break end;
            }
        };
        if let End::Succeeded(successor) = end {
            let (socket, received) = session.connection.take_socket()?;
            return Some((socket, received, successor));
        }
        Box::pin(session.end(end)).await;
        None
    }
}

/// How a connection ends.
enum End {
    /// After its last response.
    Closed,
    /// Between two requests, since the connection is drained: no request is under way.
    Drained,
    /// The same socket goes on as something else.
    Succeeded(Successor),
    /// The client has gone.
    ClientGone,
    /// By a reset: what was sent must not look complete.
    Reset,
    /// What arrived is not a request.
    Refused(Refusal),
}

/// A response that has begun: what is left of it, and what the connection becomes behind it.
type StartedResponse = (Option<Box<Option<Reply>>>, Option<Successor>);

struct Http1Session {
    connection: ServerConnection<ClientSocket>,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
    /// Armed only while the connection waits.
    deadline: TaskDeadline,
    /// When a client that nothing is read from is looked at next.
    look: TaskDeadline,
    look_at: Option<Instant>,
    /// Whether the task is known to those who end the connection.
    is_registered: bool,
}

impl Http1Session {
    /// Waits for the next request.
    async fn next_request(&mut self) -> Result<IncomingRequest<ClientSocket>, End> {
        // Since when a head is incomplete, and since when nothing has come.
        let (mut head_since, mut idle_since) = (None, None);
        std::future::poll_fn(|cx| {
            self.check_cut(cx)?;
            match self.connection.poll_request(cx) {
                Poll::Ready(Ok(Some(request))) => return Poll::Ready(Ok(request)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(End::ClientGone)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(End::Refused(Refusal::Head(error))));
                }
                Poll::Pending => {}
            }
            let now = Instant::now();
            if self.connection.has_partial_head() {
                let at = *head_since.get_or_insert(now) + self.limits.header_timeout;
                let late = self.deadline.poll(cx, now, at);
                return late.map(|()| Err(End::Refused(Refusal::Slow)));
            }
            // A new connection is kept until its first request has come: it may be on its way.
            if self.client.is_closing() && self.client.requests_begun() > 0 {
                return Poll::Ready(Err(End::Drained));
            }
            let at = *idle_since.get_or_insert(now) + self.limits.idle_timeout;
            let late = self.deadline.poll(cx, now, at);
            late.map(|()| Err(End::Closed))
        })
        .await
    }

    /// Serves the next request. `Ok`: another may follow.
    async fn serve_next(&mut self) -> Result<(), End> {
        let request = self.next_request().await?;
        // Boxed, so that a connection that waits for a request is not as large as one that serves one.
        let mut handling = Box::pin(self.handle(request));
        let started = std::future::poll_fn(|cx| self.poll_start(cx, handling.as_mut()));
        let (rest, successor) = started.await?;
        drop(handling);
        if let Some(mut rest) = rest {
            std::future::poll_fn(|cx| self.poll_rest(cx, &mut rest)).await?;
        }
        if let Some(successor) = successor {
            return Err(End::Succeeded(successor));
        }
        self.finish_upload().await?;
        if self.connection.keeps_alive() {
            Ok(())
        } else {
            Err(End::Closed)
        }
    }

    fn handle(
        &self,
        request: IncomingRequest<ClientSocket>,
    ) -> impl Future<Output = Response<Reply>> + use<> {
        let (head, body) = request.into_parts();
        let (shard, listener) = (self.current)(&self.client);
        let body = body.map(ClientBody::Http1);
        let interim = InterimSink::over_http1(head.version, &self.client);
        proxy::handle(
            shard,
            listener,
            self.client.begin_request(),
            head,
            body,
            interim,
        )
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        handling: Pin<&mut impl Future<Output = Response<Reply>>>,
    ) -> Poll<Result<Response<Reply>, End>> {
        self.check_cut(cx)?;
        if let Poll::Ready(response) = handling.poll(cx) {
            return Poll::Ready(Ok(response));
        }
        if let Some(interim) = self.interim() {
            self.connection.send_interim(&interim);
        }
        if let Poll::Ready(Err(_)) = self.connection.poll_flush(cx) {
            return Poll::Ready(Err(End::ClientGone));
        }
        self.poll_client(cx)
    }

    /// Begins a response: its body, and what the connection becomes behind it.
    fn start_response(&self, response: Response<Reply>) -> (Reply, Option<Successor>) {
        if let Some(interim) = self.interim() {
            self.connection.send_interim(&interim);
        }
        // Interim responses that were not sent belong to this request, not to the next one.
        let _ = self.client.take_interim();
        let (head, mut reply) = response.into_parts();
        self.connection
            .start_response(&head, &reply, self.client.is_closing());
        let successor = reply.take_successor();
        (reply, successor)
    }

    /// Ready when the response has begun, with what is left of it.
    fn poll_start(
        &mut self,
        cx: &mut Context<'_>,
        handling: Pin<&mut impl Future<Output = Response<Reply>>>,
    ) -> Poll<Result<StartedResponse, End>> {
        let response = ready!(self.poll_response(cx, handling))?;
        let (reply, successor) = self.start_response(response);
        // Dropped as soon as it is sent, before the rest of an upload is waited for.
        let mut reply = Some(reply);
        let rest = match self.poll_rest(cx, &mut reply) {
            Poll::Ready(answered) => answered.map(|()| None)?,
            Poll::Pending => Some(Box::new(reply)),
        };
        Poll::Ready(Ok((rest, successor)))
    }

    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        reply: &mut Option<Reply>,
    ) -> Poll<Result<(), End>> {
        self.check_cut(cx)?;
        match self.connection.poll_send_response(cx, reply) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(SendError::BodyBroken)) => Poll::Ready(Err(End::Reset)),
            Poll::Ready(Err(SendError::ClientGone)) => Poll::Ready(Err(End::ClientGone)),
            Poll::Pending => {
                if let Some(reply) = reply {
                    // Some clients send all of their request before they read the response.
                    reply.send_upload(cx);
                }
                self.poll_client(cx)
            }
        }
    }

    /// Waits for the rest of the request's body. It may go on behind the response for as long as it moves.
    async fn finish_upload(&mut self) -> Result<(), End> {
        let mut progress = None;
        std::future::poll_fn(|cx| {
            self.check_cut(cx)?;
            if self.connection.poll_body_end(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            // Another task may read the body, and does not tell this one that it does.
            loop {
                let now = || (Instant::now(), self.connection.read_count());
                let (since, reads) = *progress.get_or_insert_with(now);
                let at = since + self.limits.idle_timeout;
                ready!(self.deadline.poll(cx, Instant::now(), at));
                if self.connection.read_count() == reads {
                    return Poll::Ready(Err(End::ClientGone));
                }
                progress = None;
            }
        })
        .await
    }

    /// The interim responses of the upstream. They would pile up while the client does not read, and are left
    /// out then.
    fn interim(&self) -> Option<Vec<u8>> {
        if self.connection.unwritten_bytes() > 0 {
            return None;
        }
        self.client.take_interim()
    }

    /// Registers this task with those who end the connection; an error if they have ended it.
    fn check_cut(&mut self, cx: &Context<'_>) -> Result<(), End> {
        if !std::mem::replace(&mut self.is_registered, true) {
            self.client.register(cx);
        }
        if self.client.is_cut() {
            Err(End::Reset)
        } else {
            Ok(())
        }
    }

    /// Ready when the client of a request that is being served has gone, or does not read.
    fn poll_client<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, End>> {
        if self.connection.poll_client_gone(cx).is_ready() || self.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(End::ClientGone));
        }
        match self.connection.stalled_since() {
            Some(since) => {
                let at = since + self.limits.idle_timeout;
                let late = self.deadline.poll(cx, Instant::now(), at);
                late.map(|()| Err(End::Reset))
            }
            None => Poll::Pending,
        }
    }

    /// Ready when a client has reset its connection from which nothing is read. Nobody is woken for that: one looks.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.connection.is_held_back() {
            self.look_at = None;
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            let at = *self.look_at.get_or_insert(now + LOOK_INTERVAL);
            ready!(self.look.poll(cx, now, at));
            self.look_at = None;
            let mut is_reset = false;
            (self.connection).with_socket(|socket| is_reset = socket.is_reset());
            if is_reset {
                return Poll::Ready(());
            }
        }
    }

    async fn end(&mut self, end: End) {
        match end {
            End::ClientGone | End::Succeeded(_) => {}
            End::Drained => part(&mut self.connection, &self.limits).await,
            End::Reset => {
                // The client learns at once that its response broke off.
                self.client.reset();
                self.connection.with_socket(ClientSocket::reset_at_close);
            }
            End::Refused(refusal) => {
                refuse(&mut self.connection, refusal, &self.client, &self.current).await;
            }
            // A request may have been answered before all of its body was read.
            End::Closed => close(&mut self.connection, &self.limits).await,
        }
    }
}
