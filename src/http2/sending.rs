//! A body that is being sent, as fast as the windows of its stream and connection allow.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::time::Instant;

/// A body and the stream that it is sent on.
pub struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What has been read and waits for a window, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// When some of it was last read or handed on.
    moved: Instant,
}

impl<B> Sending<B> {
    /// A body of which nothing has been sent.
    pub fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            waiting: None,
            moved: Instant::now(),
        }
    }

    /// The body.
    pub fn body(&mut self) -> &mut B {
        &mut self.body
    }

    /// When some of it was last read or sent.
    pub fn last_progress(&self) -> Instant {
        self.moved
    }

    /// Since when the next piece of it has waited for a window.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.waiting.is_some().then_some(self.moved)
    }

    /// Ends the stream, unless it has ended.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    /// Ready when there is no more to do: all of it has been handed to the connection, or its stream has ended. If
    /// the body fails, the stream is reset with the reason that is among the causes of its error.
    ///
    /// # Errors
    /// The stream or its connection has failed.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // This also wakes the task when the stream is reset while it waits for the body or a window.
            if self.stream.poll_reset(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.waiting.is_some() {
                ready!(self.poll_window(cx))?;
            }
            if let Some((data, last)) = self.waiting.take() {
                self.moved = Instant::now();
                self.stream.send_data(data, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(self.stream.send_data(Bytes::new(), true));
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.reset(reason(&error));
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    if !data.is_empty() {
                        // Only now, and no more than is needed to be woken: the other streams cannot use
                        // what is reserved. `send_data` then reserves as much as there is.
                        self.stream.reserve_capacity(1);
                        self.waiting = Some((data, last));
                        self.moved = Instant::now();
                    } else if last {
                        return Poll::Ready(self.stream.send_data(data, true));
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.reserve_capacity(0);
                        return Poll::Ready(self.stream.send_trailers(trailers));
                    }
                }
            }
        }
    }

    /// Ready when something of it can be sent.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(polled) => polled.map(drop)?,
                // It has ended.
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The reason with which a stream is reset whose body has failed.
fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut next = Some(error);
    while let Some(error) = next {
        let reason = error.downcast_ref().and_then(h2::Error::reason);
        if let Some(reason) = reason {
            return reason;
        }
        next = error.source();
    }
    Reason::INTERNAL_ERROR
}
