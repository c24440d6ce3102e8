//! The body of a request, read from the connection that carries it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::chunked::MalformedBody;
use super::state::ConnectionState;

/// The body of the request that a connection carries.
#[derive(Debug)]
pub struct RequestBody<S> {
    pub(super) state: Rc<RefCell<ConnectionState<S>>>,
    /// The number of its request: one who still holds this body when the next request comes must not read the body of
    /// that.
    pub(super) number: u64,
}

/// Why a request body cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It does not follow its own framing.
    #[error(transparent)]
    Malformed(#[from] MalformedBody),
    /// The client has gone away.
    #[error("the client closed the connection before the end of the body")]
    ClientGone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionState<S> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let awaits_continue = std::mem::take(&mut self.request.awaits_continue);
        if awaits_continue && self.received.is_empty() && self.response.is_none() {
            self.write_buffer
                .space()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.write_buffer.is_flushed() {
            self.poll_flush_for_reader(cx);
        }
        loop {
            let frame = self.request.body.decode(&mut self.received);
            match frame.map_err(BodyError::from)? {
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None if self.request.body.is_done() => return Poll::Ready(None),
                None => {}
            }
            match self.poll_receive(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                Poll::Pending => {
                    self.body_waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S> RequestBody<S> {
    /// Whether another request has begun since: this body had been read to its end.
    fn is_past(&self) -> bool {
        self.state.borrow().request_count != self.number
    }
}

impl<S> Drop for RequestBody<S> {
    fn drop(&mut self) {
        if self.is_past() {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.request.has_reader = false;
        if let Some(waker) = state.body_end_waker.take() {
            waker.wake();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Body for RequestBody<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_past() {
            return Poll::Ready(None);
        }
        let mut state = self.state.borrow_mut();
        let polled = state.poll_body(cx);
        if state.request.body.is_done()
            && let Some(waker) = state.body_end_waker.take()
        {
            waker.wake();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_past() || self.state.borrow().request.body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_past() {
            return SizeHint::with_exact(0);
        }
        let remaining = self.state.borrow().request.body.remaining();
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
