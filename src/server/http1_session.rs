//! A client connection of HTTP/1.1.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::refusal::{Refusal, linger, refuse};
use crate::client_socket::ClientSocket;
use crate::config;
use crate::deadline::TaskDeadline;
use crate::http1::{HeadLimits, IncomingRequest, SendError, ServerConnection};
use crate::proxy::{self, ClientBody, ClientConnection, CurrentSnapshot, InterimSink, Reply};

/// Serves a connection of which `received` has been read already.
pub fn serve(
    socket: ClientSocket,
    received: Bytes,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
) -> impl Future<Output = ()> {
    let head = HeadLimits {
        bytes: limits.max_header_bytes,
        fields: limits.max_headers,
    };
    let most = limits.max_header_bytes.max(limits.body_buffer);
    let mut served = Served {
        connection: ServerConnection::new(socket, received, head, most),
        client,
        current,
        limits,
        deadline: TaskDeadline::default(),
        registered: false,
    };
    async move {
        let end = loop {
            if let Err(end) = served.serve_next().await {
                break end;
            }
        };
        Box::pin(served.end(end)).await;
    }
}

/// How a connection ends.
enum End {
    /// After its last response.
    Closed,
    /// Between two requests, since we are to end: nothing is under way that could get lost.
    Idle,
    /// The client has gone.
    Gone,
    /// What was sent must not look complete.
    Reset,
    /// What arrived is no request.
    Refused(Refusal),
    /// It has become something else.
    Tunnel(Box<proxy::UpstreamTunnel>),
}

/// What is left of a response, and what the connection becomes behind it.
type Begun = (
    Option<Box<Option<Reply>>>,
    Option<Box<proxy::UpstreamTunnel>>,
);

struct Served {
    connection: ServerConnection<ClientSocket>,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
    limits: Rc<config::Server>,
    /// Armed only while something is waited for.
    deadline: TaskDeadline,
    registered: bool,
}

impl Served {
    /// The next request.
    async fn next(&mut self) -> Result<IncomingRequest<ClientSocket>, End> {
        // Of a head that has begun, and of the silence before.
        let (mut begun, mut silent) = (None, None);
        std::future::poll_fn(|cx| {
            self.look(cx)?;
            match self.connection.poll_request(cx) {
                Poll::Ready(Ok(Some(request))) => return Poll::Ready(Ok(request)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(End::Gone)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(End::Refused(Refusal::Head(error))));
                }
                Poll::Pending => {}
            }
            let now = Instant::now();
            if self.connection.has_partial_head() {
                let at = *begun.get_or_insert(now) + self.limits.header_timeout;
                let late = self.deadline.poll(cx, now, at);
                return late.map(|()| Err(End::Refused(Refusal::Slow)));
            }
            // Not before the request that made us come here has begun.
            if self.client.is_closing() && self.client.started() > 0 {
                return Poll::Ready(Err(End::Idle));
            }
            let at = *silent.get_or_insert(now) + self.limits.idle_timeout;
            let late = self.deadline.poll(cx, now, at);
            late.map(|()| Err(End::Closed))
        })
        .await
    }

    /// Answers the next request. `Ok`: another may follow.
    async fn serve_next(&mut self) -> Result<(), End> {
        let request = self.next().await?;
        // On the heap: a connection that waits for a request must not be as large as one that has it.
        let mut handling = Box::pin(self.handle(request));
        let begun = std::future::poll_fn(|cx| self.poll_begun(cx, handling.as_mut()));
        let (rest, tunnel) = begun.await?;
        drop(handling);
        if let Some(mut rest) = rest {
            std::future::poll_fn(|cx| self.poll_answered(cx, &mut rest)).await?;
        }
        if let Some(tunnel) = tunnel {
            return Err(End::Tunnel(tunnel));
        }
        self.upload_over().await?;
        match self.connection.keeps_alive() {
            true => Ok(()),
            false => Err(End::Closed),
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
        proxy::handle(shard, listener, self.client.begin(), head, body, interim)
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        handling: Pin<&mut impl Future<Output = Response<Reply>>>,
    ) -> Poll<Result<Response<Reply>, End>> {
        self.look(cx)?;
        if let Poll::Ready(response) = handling.poll(cx) {
            return Poll::Ready(Ok(response));
        }
        if let Some(interim) = self.interim() {
            self.connection.send_interim(&interim);
        }
        if let Poll::Ready(Err(_)) = self.connection.poll_flush(cx) {
            return Poll::Ready(Err(End::Gone));
        }
        self.poll_waiting(cx)
    }

    /// Begins a response: its body, and what the connection becomes behind it.
    fn begin(&self, response: Response<Reply>) -> (Reply, Option<Box<proxy::UpstreamTunnel>>) {
        if let Some(interim) = self.interim() {
            self.connection.send_interim(&interim);
        }
        // What was left out so far belongs to this request, not to the next one.
        let _ = self.client.take_interim();
        let (head, mut reply) = response.into_parts();
        self.connection
            .start_response(&head, &reply, self.client.is_closing());
        let tunnel = reply.take_tunnel();
        (reply, tunnel)
    }

    /// Ready when the response has begun: with what is left of it, if anything is.
    fn poll_begun(
        &mut self,
        cx: &mut Context<'_>,
        handling: Pin<&mut impl Future<Output = Response<Reply>>>,
    ) -> Poll<Result<Begun, End>> {
        let response = ready!(self.poll_response(cx, handling))?;
        let (reply, tunnel) = self.begin(response);
        // Gone by the time that the rest of an upload is waited for.
        let mut reply = Some(reply);
        let rest = match self.poll_answered(cx, &mut reply) {
            Poll::Ready(answered) => answered.map(|()| None)?,
            Poll::Pending => Some(Box::new(reply)),
        };
        Poll::Ready(Ok((rest, tunnel)))
    }

    fn poll_answered(
        &mut self,
        cx: &mut Context<'_>,
        reply: &mut Option<Reply>,
    ) -> Poll<Result<(), End>> {
        self.look(cx)?;
        match self.connection.poll_send_response(cx, reply) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(SendError::BodyBroken)) => Poll::Ready(Err(End::Reset)),
            Poll::Ready(Err(SendError::ClientGone)) => Poll::Ready(Err(End::Gone)),
            Poll::Pending => {
                if let Some(reply) = reply {
                    // A client may send all of its request before it reads.
                    reply.send_upload(cx);
                }
                self.poll_waiting(cx)
            }
        }
    }

    /// An upload may go on behind its response, for as long as it moves.
    async fn upload_over(&mut self) -> Result<(), End> {
        let mut moved = None;
        std::future::poll_fn(|cx| {
            self.look(cx)?;
            if self.connection.poll_body_end(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            // Its reader may be another task, and nobody tells this one what it reads.
            loop {
                let now = || (Instant::now(), self.connection.read_count());
                let (since, reads) = *moved.get_or_insert_with(now);
                let at = since + self.limits.idle_timeout;
                ready!(self.deadline.poll(cx, Instant::now(), at));
                if self.connection.read_count() == reads {
                    return Poll::Ready(Err(End::Gone));
                }
                moved = None;
            }
        })
        .await
    }

    /// What the upstream says before its response. The hints would pile up where the client does not
    /// read them, and are left out there.
    fn interim(&self) -> Option<Vec<u8>> {
        match self.connection.unwritten() {
            0 => self.client.take_interim(),
            _ => None,
        }
    }

    /// Whether the connection is to end now.
    fn look(&mut self, cx: &Context<'_>) -> Result<(), End> {
        if !std::mem::replace(&mut self.registered, true) {
            self.client.register(cx);
        }
        match self.client.is_cut() {
            true => Err(End::Reset),
            false => Ok(()),
        }
    }

    /// While a request is being answered: whether its client is gone, or does not read.
    fn poll_waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, End>> {
        if self.connection.poll_client_gone(cx).is_ready() {
            return Poll::Ready(Err(End::Gone));
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

    async fn end(&mut self, end: End) {
        match end {
            End::Gone | End::Idle => {}
            End::Reset => {
                // The sooner it learns that its response broke off, the better.
                self.client.reset();
                self.connection.with_socket(ClientSocket::reset_at_close);
            }
            End::Refused(refusal) => {
                refuse(&mut self.connection, refusal, &self.client, &self.current).await;
            }
            End::Tunnel(tunnel) => match tunnel.join(&mut self.connection, &self.client).await {
                Ok(()) if self.client.is_cut() => {}
                Ok(()) => self.close().await,
                Err(_) => self.connection.with_socket(ClientSocket::reset_at_close),
            },
            // A request may have been answered before all of its body was read.
            End::Closed => self.close().await,
        }
    }

    /// Ends what is sent. Whatever still comes must not keep it from arriving.
    async fn close(&mut self) {
        let closed = timeout(self.limits.idle_timeout, self.connection.shutdown()).await;
        if matches!(closed, Ok(Ok(()))) {
            linger(&mut self.connection, self.limits.linger_timeout).await;
        }
    }
}
