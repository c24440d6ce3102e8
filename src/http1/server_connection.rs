//! The end of a connection towards a client: requests in, responses out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, StatusCode, response};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::encode::{self, BodyEncoder, ResponseFraming};
use super::head::parse_request;
use super::syntax::{HeadError, HeadLimits, Strictness};
use super::write_buffer::COALESCED;

mod body;
mod state;
#[cfg(test)]
mod tests;
mod upgraded;

use state::{ConnectionState, CurrentRequest};

pub use body::{BodyError, RequestBody};

/// A client's connection, which carries one request after another. After an upgrade it is what it has been
/// upgraded to, as [`AsyncRead`] and [`AsyncWrite`].
///
/// The connection's task drives it; the body of a request may be read by another task of the same thread.
#[derive(Debug)]
pub struct ServerConnection<S>(Rc<RefCell<ConnectionState<S>>>);

/// A request, with its body if it has one.
pub type IncomingRequest<S> = Request<Option<RequestBody<S>>>;

/// Why a response could not be sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Its body failed, or is not as long as its head says.
    BodyBroken,
    /// The client has gone.
    ClientGone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerConnection<S> {
    /// A connection of which `received` has been read already. It reads at most `max_read` bytes at once.
    pub fn new(socket: S, received: Bytes, limits: HeadLimits, max_read: usize) -> Self {
        let state = ConnectionState::new(socket, received, limits, max_read);
        Self(Rc::new(RefCell::new(state)))
    }

    /// The next request; `None` when the connection has ended before its head was complete.
    ///
    /// # Errors
    /// What came is not a request, or its head is too large.
    pub fn poll_request(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<IncomingRequest<S>>, HeadError>> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        loop {
            if !state.received.is_empty() {
                let max = state.limits.bytes;
                let partial = &mut state.partial_head;
                let head = partial.gather(&mut state.received, Strictness::Strict, max)?;
                if let Some(head) = head {
                    let (request, framing) = parse_request(&head, &state.limits)?;
                    state.request = CurrentRequest::new(request.method(), &framing, state.limits);
                    state.request_count += 1;
                    let body = state.request.has_reader.then(|| RequestBody {
                        state: Rc::clone(&self.0),
                        number: state.request_count,
                    });
                    return Poll::Ready(Ok(Some(request.map(|()| body))));
                }
            }
            if !ready!(state.poll_receive(cx)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Whether a part of a request head has come, and not all of it.
    pub fn has_partial_head(&self) -> bool {
        self.0.borrow().partial_head.has_begun()
    }

    /// Whether another request may follow the one that was answered. That one must have been read to its
    /// end.
    pub fn keeps_alive(&self) -> bool {
        let state = self.0.borrow();
        state.request.keep_alive && state.request.body.is_done()
    }

    /// Since when the client has read nothing of what waits for it, nor sent anything.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.0.borrow().stalled_since
    }

    /// Ready once the client has gone while it waits for its response. What it sends meanwhile is kept for
    /// later, up to the size of one read; what is left of a body that nobody reads is dropped.
    pub fn poll_client_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        loop {
            state.skip_body();
            if state.request.has_reader && !state.request.body.is_done() {
                // The reader of the body, perhaps another task, learns of it while reading. Only behind
                // the body this task has to read.
                state.register_body_end(cx);
                return Poll::Pending;
            }
            if state.is_full() {
                return Poll::Pending;
            }
            if !ready!(state.poll_receive_more(cx)) {
                return Poll::Ready(());
            }
        }
    }

    /// Whether nothing may be read from the client now, so that [`poll_client_gone`](Self::poll_client_gone) would not learn
    /// that it has gone: its body waits for whom it is for, or as much as is kept for later has come.
    pub fn is_held_back(&self) -> bool {
        let state = self.0.borrow();
        let waits_with_body = state.request.has_reader && !state.request.body.is_done();
        waits_with_body || state.is_full()
    }

    /// Takes interim responses, to be sent before the final one.
    pub fn send_interim(&self, interim: &[u8]) {
        let mut state = self.0.borrow_mut();
        if state.request.is_http11 && state.response.is_none() {
            state.write_buffer.space().extend_from_slice(interim);
        }
    }

    /// How many bytes wait for the client to read them.
    pub fn unwritten_bytes(&self) -> usize {
        self.0.borrow().write_buffer.len()
    }

    /// Writes and flushes what waits to be written.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    /// Begins the response to the request. `body` tells how long it is. With `close` no other request
    /// follows.
    pub fn start_response<B: Body>(&self, head: &response::Parts, body: &B, close: bool) {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.skip_body();
        let request = &mut state.request;
        let bodiless = head.status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status)
            || request.is_connect && head.status.is_success();
        let told = head.headers.get(CONTENT_LENGTH).and_then(encode::number);
        let mut add_length = None;
        let encoder = match (told, body.size_hint().exact()) {
            _ if request.is_head || bodiless => BodyEncoder::Absent,
            (Some(length), _) => BodyEncoder::Length(length),
            (None, Some(length)) => {
                add_length = Some(length);
                BodyEncoder::Length(length)
            }
            (None, None) if request.is_http11 => BodyEncoder::Chunked,
            (None, None) => BodyEncoder::UntilClose,
        };
        // The rest of a body that nobody reads would be taken for the next request.
        let body_is_read = request.has_reader || request.body.is_done();
        // What has come behind a CONNECT that is refused was meant for the tunnel: it is no request.
        let is_meant_for_tunnel = request.is_connect && !state.received.is_empty();
        request.keep_alive &= body_is_read
            && !is_meant_for_tunnel
            && !close
            && !closes(&head.headers)
            && encoder != BodyEncoder::UntilClose;
        let framing = ResponseFraming {
            is_http11: request.is_http11,
            keep_alive: request.keep_alive,
            add_length,
            body: encoder,
        };
        encode::response_head(state.write_buffer.space(), head, framing);
        state.response = Some(encoder);
    }

    /// Sends the response that was begun. The body is dropped as soon as all of it has been read.
    ///
    /// # Errors
    /// It cannot be sent to its end: the connection is to be reset.
    pub fn poll_send_response<B>(
        &self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Poll<Result<(), SendError>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let mut waits = false;
            while let Some(more) = body
                && !waits
                && self.0.borrow().write_buffer.has_room(COALESCED)
            {
                // The state must not be borrowed here: the body may read from this connection itself.
                let frame = if more.is_end_stream() {
                    Poll::Ready(None)
                } else {
                    Pin::new(more).poll_frame(cx)
                };
                match frame {
                    Poll::Ready(frame) => self.push(frame)?,
                    Poll::Pending => waits = true,
                }
                if !self.is_response_unfinished() {
                    *body = None;
                }
            }
            if ready!(self.poll_flush(cx)).is_err() {
                return Poll::Ready(Err(SendError::ClientGone));
            }
            if body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Whether there is more of a response to come than what waits to be written.
    fn is_response_unfinished(&self) -> bool {
        self.0.borrow().response.is_some()
    }

    /// Takes a piece of the response, or its end.
    fn push<E>(&self, frame: Option<Result<Frame<Bytes>, E>>) -> Result<(), SendError> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let Some(encoder) = &mut state.response else {
            return Ok(());
        };
        let out = &mut state.write_buffer;
        let frame = frame.transpose().map_err(|_| SendError::BodyBroken)?;
        let (fits, is_last) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (encoder.push(out, data, false), false),
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok();
                let trailers = trailers.filter(|_| state.request.accepts_trailers);
                (encoder.end(out, trailers.as_ref()), true)
            }
            None => (encoder.end(out, None), true),
        };
        if is_last {
            state.response = None;
        }
        if fits {
            Ok(())
        } else {
            Err(SendError::BodyBroken)
        }
    }

    /// Ready once the request has been read to its end, or nobody reads it any more.
    pub fn poll_body_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.request.body.is_done() || !state.request.has_reader {
            state.skip_body();
            return Poll::Ready(());
        }
        state.register_body_end(cx);
        Poll::Pending
    }

    /// How many reads have ended so far: as long as the number grows, the client sends.
    pub fn read_count(&self) -> u64 {
        self.0.borrow().read_count
    }

    /// The socket, and what has been read of it and not used.
    pub fn take_socket(&self) -> Option<(S, Bytes)> {
        let mut state = self.0.borrow_mut();
        let received = std::mem::take(&mut state.received);
        Some((state.socket.take()?, received))
    }

    /// Gives access to the socket, unless it is closed.
    pub fn with_socket(&self, work: impl FnOnce(&mut S)) {
        if let Some(socket) = &mut self.0.borrow_mut().socket {
            work(socket);
        }
    }
}

fn closes(headers: &HeaderMap) -> bool {
    let close = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    headers.get_all(CONNECTION).iter().any(close)
}

impl<S> Drop for ServerConnection<S> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.socket = None;
        if let Some(reader) = state.body_waker.take() {
            reader.wake();
        }
    }
}
