//! A connection after it was upgraded: bytes both ways, until both sides have ended.

mod copy;
mod side;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_connection::ClientConnection;
use super::exchange::Exchange;
use super::response::UpstreamResponse;
use super::response_body::ResponseBody;
use super::tunnel_record::TunnelRecord;
use crate::snapshot::BuiltUpstream;
use crate::upstream::Lease;
use copy::TunnelCopy;
use side::UpstreamSide;

/// What an upstream's connection over HTTP/1.1, or its stream of HTTP/2, has become: to be joined with the
/// client's once the answer that says so has been sent.
pub struct UpstreamTunnel {
    side: UpstreamSide,
    /// What has come of the new protocol already.
    received: Bytes,
    /// Held until the end.
    lease: Lease,
    idle: Option<Duration>,
    buffer: usize,
    record: Option<Box<TunnelRecord>>,
}

/// What follows an answer, if the upstream switched protocols, or over HTTP/2 agreed to extended CONNECT.
pub fn accepted(
    answer: UpstreamResponse,
    connects: bool,
    exchange: &mut Exchange,
    upstream: &BuiltUpstream,
) -> (UpstreamResponse, Option<Box<UpstreamTunnel>>) {
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => upgraded(answer, exchange, upstream),
        StatusCode::OK if connects => {
            let (head, incoming) = answer.into_parts();
            let tunnel = incoming.into_http2_tunnel().map(|(stream, lease)| {
                let side = UpstreamSide::Http2(stream);
                UpstreamTunnel::new(side, Bytes::new(), lease, exchange, upstream)
            });
            (
                UpstreamResponse::from_parts(head, ResponseBody::ended()),
                tunnel,
            )
        }
        _ => (answer, None),
    }
}

fn upgraded(
    mut answer: UpstreamResponse,
    exchange: &mut Exchange,
    upstream: &BuiltUpstream,
) -> (UpstreamResponse, Option<Box<UpstreamTunnel>>) {
    let protocol = answer.headers().get(header::UPGRADE).cloned();
    super::headers::scrub_response(answer.headers_mut(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    let (head, incoming) = answer.into_parts();
    let tunnel = incoming.into_tunnel().map(|(io, received, lease)| {
        UpstreamTunnel::new(UpstreamSide::Http1(io), received, lease, exchange, upstream)
    });
    (
        UpstreamResponse::from_parts(head, ResponseBody::ended()),
        tunnel,
    )
}

impl UpstreamTunnel {
    fn new(
        side: UpstreamSide,
        received: Bytes,
        lease: Lease,
        exchange: &mut Exchange,
        upstream: &BuiltUpstream,
    ) -> Box<Self> {
        Box::new(Self {
            side,
            received,
            lease,
            idle: upstream.config.stream_idle_timeout,
            buffer: exchange.shard.snapshot.config.server.tunnel_buffer,
            record: exchange.begin_tunnel_record(),
        })
    }

    /// Joins both sides until both have ended, or nothing moves.
    ///
    /// # Errors
    /// One broke off, or the connection is cut, before all was sent to the client: it is to be reset.
    pub async fn join<C>(self, connection: C, client: &ClientConnection) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let is_cut = |cx: &mut Context<'_>| {
            client.register(cx);
            client.is_cut()
        };
        self.join_until(connection, is_cut, |_| ()).await
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
    pub async fn join_stream<C>(self, stream: C, client: &Arc<ClientConnection>) -> io::Result<()>
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
        self.join_until(stream, |_| client.is_cut(), set_stalled)
            .await
    }

    async fn join_until<C>(
        self,
        client: C,
        mut is_cut: impl FnMut(&mut Context<'_>) -> bool,
        mut set_stalled: impl FnMut(bool),
    ) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut copy = TunnelCopy::new(client, self.side, self.received, self.buffer);
        copy.idle = self.idle;
        copy.record = self.record;
        let joined = std::future::poll_fn(|cx| {
            if is_cut(cx) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let polled = copy.poll(cx);
            set_stalled(copy.client_stalls());
            polled
        });
        let joined = joined.await;
        if joined.is_err() && !copy.is_upstream_closed() {
            copy.upstream.break_off();
        }
        drop(self.lease);
        // Once all has been sent to the client, it does not matter what becomes of the other direction.
        if copy.is_client_closed() {
            Ok(())
        } else {
            joined
        }
    }
}
