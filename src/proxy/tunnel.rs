//! Bytes both ways that nobody reads, until both sides have ended: what a connection or stream has become by an
//! upgrade, or by CONNECT.

mod copy;
mod side;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::admission::HeldLimits;
use super::client_connection::{ClientConnection, ConnectionTarget};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::open_tunnels::OpenTunnel;
use super::outgoing::OutgoingRequest;
use super::response::UpstreamResponse;
use super::response_body::ResponseBody;
use super::tunnel_record::TunnelRecord;
use super::upgrade::{self, RequestedUpgrade};
use crate::client_socket::ClientSocket;
use crate::deadline::Deadline;
use crate::limit::Permit;
use crate::metrics::TunnelEnd;
use crate::snapshot::BuiltUpstream;
use crate::upstream::{Lease, TunnelLease, UpstreamIo};
use copy::TunnelCopy;
use side::UpstreamSide;

/// What is read at once of a server whose client waits for it to speak.
const READ_AHEAD: usize = 1024;

/// What leads to the upstream: a connection, or a stream of HTTP/2. It is to be joined with the client's once the
/// answer that says so has been sent.
pub struct UpstreamTunnel {
    side: UpstreamSide,
    /// What has come of the new protocol already.
    received: Bytes,
    /// Held until the end.
    held: HeldUpstream,
    /// Held until the end.
    limits: HeldLimits,
    idle: Option<Duration>,
    buffer: usize,
    record: Box<TunnelRecord>,
    /// What may end its permission.
    open: Rc<OpenTunnel>,
}

/// A connection that a CONNECT has asked for. It is open, and no tunnel yet.
pub struct OpenedConnection {
    /// The connection.
    pub io: UpstreamIo,
    /// Its place among those to its server.
    pub lease: TunnelLease,
    /// Its place among those of clients, if it has one of its own.
    pub place: Option<Permit>,
    /// What was asked for.
    pub asked: ConnectionTarget,
    /// Where a reload may end its permission.
    pub open: Rc<OpenTunnel>,
}

/// What a tunnel holds of its upstream.
enum HeldUpstream {
    /// The connection or stream that carried the request which asked for it.
    Request(#[expect(dead_code, reason = "held until it is dropped")] Lease),
    /// A connection of its own, and the place of the tunnel among those of clients, if it has one of its own.
    Connection(
        #[expect(dead_code, reason = "held until it is dropped")] TunnelLease,
        #[expect(dead_code, reason = "held until it is dropped")] Option<Permit>,
    ),
}

/// Which side of a tunnel says something first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstToSpeak {
    /// The client.
    Client,
    /// The server; or one of both has ended, or may stay no longer, and joining them is the end of it.
    Server,
    /// Neither did in the time that a tunnel may be idle.
    Nobody,
}

/// A tunnel has ended otherwise than by its own end, before all was sent to the client: that side is to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenOff;

/// What follows an answer, if the upstream switched protocols, or over HTTP/2 agreed to extended CONNECT, as was
/// `asked`.
///
/// # Errors
/// A reload has ended it already. It has not begun then, for the audit neither.
pub fn take_tunnel(
    answer: UpstreamResponse,
    request: &OutgoingRequest<'_>,
    exchange: &mut Exchange,
    asked: Option<Box<RequestedUpgrade>>,
) -> Result<(UpstreamResponse, Option<Box<UpstreamTunnel>>), ProxyError> {
    let (head, taken) = match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => take_upgrade(answer),
        StatusCode::OK if request.is_extended_connect() => {
            let (head, incoming) = answer.into_parts();
            let taken = incoming.into_http2_tunnel();
            let taken =
                taken.map(|(stream, lease)| (UpstreamSide::Stream(stream), Bytes::new(), lease));
            (head, taken)
        }
        _ => return Ok((answer, None)),
    };
    let answer = UpstreamResponse::from_parts(head, ResponseBody::ended());
    let Some(((side, received, lease), asked)) = taken.zip(asked) else {
        return Ok((answer, None));
    };
    let open = upgrade::open(asked, lease.peer(), exchange, request.upstream)?;
    let tunnel =
        UpstreamTunnel::of_request(side, received, lease, exchange, request.upstream, open);
    Ok((answer, Some(tunnel)))
}

/// What leads to the upstream, what has come of the new protocol, and what it holds of the upstream.
type TakenTunnel = (UpstreamSide, Bytes, Lease);

fn take_upgrade(mut answer: UpstreamResponse) -> (Parts, Option<TakenTunnel>) {
    let protocol = answer.headers().get(header::UPGRADE).cloned();
    super::headers::scrub_response(answer.headers_mut(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    let (head, incoming) = answer.into_parts();
    let taken = incoming.into_tunnel();
    let taken = taken.map(|(io, received, lease)| (UpstreamSide::Connection(io), received, lease));
    (head, taken)
}

impl OpenedConnection {
    /// The tunnel that the CONNECT has opened.
    pub fn into_tunnel(self, exchange: &mut Exchange) -> Box<UpstreamTunnel> {
        let config = &exchange.shard.snapshot.config;
        let idle = config.egress.tunnel_idle_timeout;
        let buffer = config.server.tunnel_buffer;
        let mut record = exchange.begin_tunnel_record();
        record.set_destination(&self.asked.host, self.asked.port);
        exchange.set_tunnel_opened();
        Box::new(UpstreamTunnel {
            side: UpstreamSide::Connection(self.io),
            received: Bytes::new(),
            held: HeldUpstream::Connection(self.lease, self.place),
            limits: exchange.take_tunnel_limits(),
            idle: Some(idle),
            buffer,
            record,
            open: self.open,
        })
    }
}

impl UpstreamTunnel {
    /// One that a request to the upstream has asked for.
    fn of_request(
        side: UpstreamSide,
        received: Bytes,
        lease: Lease,
        exchange: &mut Exchange,
        upstream: &BuiltUpstream,
        open: Rc<OpenTunnel>,
    ) -> Box<Self> {
        Box::new(Self {
            side,
            received,
            held: HeldUpstream::Request(lease),
            limits: exchange.take_tunnel_limits(),
            idle: upstream.config.stream_idle_timeout,
            buffer: exchange.shard.snapshot.config.server.tunnel_buffer,
            record: exchange.begin_tunnel_record(),
            open,
        })
    }

    /// Whether a CONNECT has asked for it.
    pub fn is_connect(&self) -> bool {
        matches!(self.held, HeldUpstream::Connection(..))
    }

    /// Waits until one side says something. What the client says is added to `received`, what the server says is kept.
    pub async fn first_to_speak(
        &mut self,
        socket: &mut ClientSocket,
        received: &mut BytesMut,
        client: &ClientConnection,
    ) -> FirstToSpeak {
        let mut ahead = BytesMut::with_capacity(READ_AHEAD);
        let until = self.idle.map(|idle| Instant::now() + idle);
        let mut deadline = Deadline::default();
        let open = Rc::clone(&self.open);
        let first = {
            let mut from_client = pin!(socket.read_buf(received));
            let mut from_server = pin!(self.side.read_buf(&mut ahead));
            poll_fn(|cx| {
                client.register(cx);
                if open.is_revoked(cx)
                    || client.is_cut()
                    || from_server.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(FirstToSpeak::Server);
                }
                if let Poll::Ready(read) = from_client.as_mut().poll(cx) {
                    return Poll::Ready(match read {
                        Ok(0) | Err(_) => FirstToSpeak::Server,
                        Ok(_) => FirstToSpeak::Client,
                    });
                }
                match until {
                    Some(until) => deadline.poll(cx, until).map(|()| FirstToSpeak::Nobody),
                    None => Poll::Pending,
                }
            })
            .await
        };
        if first == FirstToSpeak::Nobody {
            self.record.set_end(TunnelEnd::Idle);
        }
        self.received = ahead.freeze();
        first
    }

    /// Joins both sides until both have ended, or nothing moves. Of the client's, `received` has been read already.
    ///
    /// # Errors
    /// One broke off, or the tunnel is cut, before all was sent to the client.
    pub async fn join<C>(
        self,
        connection: C,
        received: Bytes,
        client: &ClientConnection,
    ) -> Result<(), BrokenOff>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let is_cut = |cx: &mut Context<'_>| {
            client.register(cx);
            client.is_cut()
        };
        self.join_until(connection, received, is_cut, |_| ()).await
    }

    /// The same with a stream of a client's connection, which lives on: it has to wake this task itself
    /// when it is cut.
    ///
    /// While the client does not read what has come for it, the tunnel counts as stalled, as a response
    /// does: the client may find no ping before that. A tunnel that is silent does not: a ping is the only
    /// way to learn that its client has vanished.
    ///
    /// # Errors
    /// As [`UpstreamTunnel::join`].
    pub async fn join_stream<C>(
        self,
        stream: C,
        client: &Arc<ClientConnection>,
    ) -> Result<(), BrokenOff>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stalled = None;
        let set_stalled = |stalls: bool| {
            if stalls {
                stalled.get_or_insert_with(|| client.stall());
            } else {
                stalled = None;
            }
        };
        self.join_until(stream, Bytes::new(), |_| client.is_cut(), set_stalled)
            .await
    }

    async fn join_until<C>(
        self,
        client: C,
        received: Bytes,
        mut is_cut: impl FnMut(&mut Context<'_>) -> bool,
        mut set_stalled: impl FnMut(bool),
    ) -> Result<(), BrokenOff>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let received = [received, self.received];
        let mut copy = TunnelCopy::new(client, self.side, received, self.buffer, self.record);
        copy.idle = self.idle;
        let open = self.open;
        let end = poll_fn(|cx| {
            let permission = open.poll_permission(cx);
            if let Poll::Ready(Err(reason)) = permission {
                copy.record.set_revoked(reason);
                return Poll::Ready(TunnelEnd::Revoked);
            }
            if is_cut(cx) {
                return Poll::Ready(TunnelEnd::Cut);
            }
            if permission.is_pending() {
                return Poll::Pending;
            }
            let polled = copy.poll(cx);
            set_stalled(copy.is_client_stalled());
            polled
        })
        .await;
        copy.record.set_end(end);
        let is_orderly = matches!(end, TunnelEnd::Closed | TunnelEnd::Idle);
        if !is_orderly && !copy.is_upstream_closed() {
            copy.upstream.break_off();
        }
        drop((self.held, self.limits));
        // Once all has been sent to the client, it does not matter how the other direction ends.
        if is_orderly || copy.is_client_closed() {
            Ok(())
        } else {
            Err(BrokenOff)
        }
    }
}
