//! What a connection and the body of its request share.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::super::body_decoder::BodyDecoder;
use super::super::encode::BodyEncoder;
use super::super::framing::MessageFraming;
use super::super::partial_head::PartialHead;
use super::super::read::poll_read;
use super::super::syntax::HeadLimits;
use super::super::write_buffer::WriteBuffer;

/// The state of a connection. It is used by the task of the connection, and by the reader of the request body, which
/// may be another task.
#[derive(Debug)]
pub(super) struct ConnectionState<S> {
    /// `None` once the connection is closed, though somebody may still hold a body.
    pub(super) socket: Option<S>,
    pub(super) limits: HeadLimits,
    /// The most bytes of one read.
    max_read: usize,
    /// What was read and not used so far.
    pub(super) received: Bytes,
    pub(super) partial_head: PartialHead,
    pub(super) write_buffer: WriteBuffer,
    /// Since when the client has read nothing of what waits for it, nor sent anything.
    pub(super) stalled_since: Option<Instant>,
    pub(super) request: CurrentRequest,
    /// How many requests have come so far.
    pub(super) request_count: u64,
    /// How many reads have ended so far.
    pub(super) read_count: u64,
    /// Encodes what is left of the response, until its end.
    pub(super) response: Option<BodyEncoder>,
    /// The connection's task, while it waits for the client to read.
    flush_waker: Option<Waker>,
    /// The task that waits for more of the request's body.
    pub(super) body_waker: Option<Waker>,
    /// The connection's task, while it waits for the end of the request's body.
    pub(super) body_end_waker: Option<Waker>,
}

/// The request that is being served.
#[derive(Debug)]
pub(super) struct CurrentRequest {
    pub(super) body: BodyDecoder,
    /// Somebody holds the body and may read it.
    pub(super) has_reader: bool,
    /// The client sends the body once it has got a `100 Continue`.
    pub(super) awaits_continue: bool,
    pub(super) accepts_trailers: bool,
    /// Its method is `HEAD`.
    pub(super) is_head: bool,
    pub(super) is_http11: bool,
    /// Its method is `CONNECT`: nothing stands between the head of a 2xx and what follows.
    pub(super) is_connect: bool,
    /// Another request may follow.
    pub(super) keep_alive: bool,
}

impl CurrentRequest {
    pub(super) fn new(method: &Method, framing: &MessageFraming, limits: HeadLimits) -> Self {
        let body = BodyDecoder::of_request(framing, limits);
        Self {
            has_reader: !body.is_done(),
            body,
            awaits_continue: framing.is_http11 && framing.expects_continue,
            accepts_trailers: framing.accepts_trailers,
            is_head: *method == Method::HEAD,
            is_http11: framing.is_http11,
            is_connect: *method == Method::CONNECT,
            keep_alive: framing.keep_alive,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionState<S> {
    pub(super) fn new(socket: S, received: Bytes, limits: HeadLimits, max_read: usize) -> Self {
        let none = MessageFraming::default();
        Self {
            socket: Some(socket),
            limits,
            max_read,
            received,
            partial_head: PartialHead::default(),
            write_buffer: WriteBuffer::default(),
            stalled_since: None,
            request: CurrentRequest::new(&Method::GET, &none, limits),
            request_count: 0,
            read_count: 0,
            response: None,
            flush_waker: None,
            body_waker: None,
            body_end_waker: None,
        }
    }

    /// Reads what comes next; `false` at the end of the connection.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.received = ready!(self.poll_read(cx, self.max_read));
        Poll::Ready(!self.received.is_empty())
    }

    /// Reads what comes next behind what has been received, unless that is [full](Self::is_full); `false` at the end of the
    /// connection.
    pub(super) fn poll_receive_more(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let room = self.max_read.saturating_sub(self.received.len());
        let more = ready!(self.poll_read(cx, room));
        let comes = !more.is_empty();
        self.received = match &self.received {
            before if before.is_empty() => more,
            before => [&**before, &*more].concat().into(),
        };
        Poll::Ready(comes)
    }

    /// Whether as much has been received as is kept for later.
    pub(super) fn is_full(&self) -> bool {
        self.received.len() >= self.max_read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Bytes> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Bytes::new());
        };
        // An error ends the connection as its regular end does: nothing more comes.
        let received = ready!(poll_read(socket, cx, max)).unwrap_or_default();
        self.read_count += 1;
        if let Some(since) = &mut self.stalled_since {
            *since = Instant::now();
        }
        Poll::Ready(received)
    }

    /// Has this task woken once the body has been read to its end, or nobody reads it any more.
    pub(super) fn register_body_end(&mut self, cx: &Context<'_>) {
        let known = self.body_end_waker.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.body_end_waker = Some(cx.waker().clone());
        }
    }

    /// Drops the body that nobody reads, as far as it has come.
    pub(super) fn skip_body(&mut self) {
        while !self.request.has_reader
            && let Ok(Some(_)) = self.request.body.decode(&mut self.received)
        {}
    }

    /// Writes and flushes everything, for the connection's task.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.write(cx);
        self.flush_waker = written.is_pending().then(|| cx.waker().clone());
        // To write, a socket that encrypts may have to read, and it wakes only the last task that polled it. So the
        // reader of the body is woken, to poll it again.
        if written.is_pending()
            && let Some(reader) = self
                .body_waker
                .take_if(|waker| !waker.will_wake(cx.waker()))
        {
            reader.wake();
        }
        written
    }

    /// The same for the reader of the body, which may be another task. It learns of a failed write when it reads.
    pub(super) fn poll_flush_for_reader(&mut self, cx: &mut Context<'_>) {
        // The socket wakes only the task that has polled it last: this must stay the connection's.
        let _ = match self.flush_waker.take() {
            None => self.write(cx),
            Some(waker) => {
                let written = self.write(&mut Context::from_waker(&waker));
                if written.is_pending() {
                    self.flush_waker = Some(waker);
                } else {
                    waker.wake();
                }
                written
            }
        };
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = self.write_buffer.len();
        let written = self.write_buffer.poll_write(socket, cx);
        if written.is_ready() {
            self.stalled_since = None;
        } else if self.stalled_since.is_none() || self.write_buffer.len() < before {
            self.stalled_since = Some(Instant::now());
        }
        written
    }
}
