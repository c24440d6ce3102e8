//! One client connection, from its first byte: which version of HTTP it speaks.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::refusal::{Refusal, refuse};
use super::{http1, http2};
use crate::config;
use crate::deadline::Deadline;
use crate::proxy::{ClientConnection, CurrentSnapshot};
use crate::stream::Stream;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read to tell HTTP/1.1 from HTTP/2.
const SNIFFED_BYTES: usize = 8 * 1024;

/// Serves a connection to its end.
///
/// Its task is as large as what it may wait in: on the heap is what a connection needs only once.
pub fn serve(
    mut stream: Stream,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
) -> impl Future<Output = ()> {
    let limits = Rc::clone(&current(&client).0.limits);
    async move {
        let (sniffed, received) = Box::pin(sniff(&mut stream, &client, &limits)).await;
        match sniffed {
            Sniffed::Http1 => http1::serve(stream, received, client, current, limits).await,
            Sniffed::Http2 => {
                Box::pin(http2::serve(stream, received, client, current, limits)).await;
            }
            Sniffed::Silent => {}
            Sniffed::Slow => {
                Box::pin(refuse(&mut stream, Refusal::Slow, &client, &current)).await;
            }
        }
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

/// The version, and what has been read to find it.
async fn sniff(
    stream: &mut Stream,
    client: &ClientConnection,
    limits: &config::Server,
) -> (Sniffed, Bytes) {
    let mut ahead = BytesMut::new();
    let sniffed = look_ahead(stream, &mut ahead, client, limits).await;
    // A copy: little is not to hold much.
    (sniffed, Bytes::copy_from_slice(&ahead))
}

async fn look_ahead(
    stream: &mut Stream,
    ahead: &mut BytesMut,
    client: &ClientConnection,
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
