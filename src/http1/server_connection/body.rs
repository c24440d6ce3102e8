//! The body of a request, read from the connection that carries it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::chunked::MalformedBody;
use super::ConnectionState;

/// The body of the request that a connection carries.
#[derive(Debug)]
pub struct RequestBody<S> {
    pub(super) shared: Rc<RefCell<ConnectionState<S>>>,
    /// Which request it is of: who holds it for longer must not get at the next one's.
    pub(super) number: u64,
}

/// Why a request body cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It breaks its own framing.
    #[error(transparent)]
    Malformed(#[from] MalformedBody),
    /// The client has gone away.
    #[error("the client closed the connection before the end of the body")]
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionState<S> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let expects = std::mem::take(&mut self.asked.expects);
        if expects && self.received.is_empty() && self.answer.is_none() {
            self.out
                .space()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.out.is_flushed() {
            self.poll_flush_aside(cx);
        }
        loop {
            match self
                .asked
                .body
                .decode(&mut self.received)
                .map_err(BodyError::from)?
            {
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None if self.asked.body.is_done() => return Poll::Ready(None),
                None => {}
            }
            if let Poll::Ready(more) = self.poll_receive(cx) {
                match more {
                    true => continue,
                    false => return Poll::Ready(Some(Err(BodyError::Gone))),
                }
            }
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

impl<S> RequestBody<S> {
    /// Whether its request was answered, and another has begun: it had been read to its end.
    fn is_past(&self) -> bool {
        self.shared.borrow().count != self.number
    }
}

impl<S> Drop for RequestBody<S> {
    fn drop(&mut self) {
        if self.is_past() {
            return;
        }
        let mut shared = self.shared.borrow_mut();
        shared.asked.read = false;
        if let Some(waiter) = shared.waiter.take() {
            waiter.wake();
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
        let mut shared = self.shared.borrow_mut();
        let polled = shared.poll_body(cx);
        if shared.asked.body.is_done()
            && let Some(waiter) = shared.waiter.take()
        {
            waiter.wake();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_past() || self.shared.borrow().asked.body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_past() {
            return SizeHint::with_exact(0);
        }
        let left = self.shared.borrow().asked.body.remaining();
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
