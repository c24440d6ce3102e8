//! A request body on its way, as fast as the windows of its stream and connection let it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Uploading;
use crate::deadline::Deadline;

/// Held by whoever reads the response: the upload ends with it, unless it is told that the response has
/// ended, and how long from then on the upload may stand still.
pub type Held = oneshot::Sender<Option<Duration>>;

/// Sends a body to its end; ready when there is no more to do, for whatever reason. Whoever waits for
/// the response hears of what went wrong.
pub struct Upload<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What has been read and waits for a window, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// `None` behind the response.
    response: Option<oneshot::Receiver<Option<Duration>>>,
    idle: Option<Duration>,
    moved: Instant,
    deadline: Deadline,
    _counted: Uploading,
}

impl<B> Upload<B> {
    pub fn new(
        body: B,
        stream: SendStream<Bytes>,
        response: oneshot::Receiver<Option<Duration>>,
        counted: Uploading,
    ) -> Self {
        Self {
            body,
            stream,
            waiting: None,
            response: Some(response),
            idle: None,
            moved: Instant::now(),
            deadline: Deadline::default(),
            _counted: counted,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // Also to be woken by a reset while the body or a window is waited for.
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
            let Ok(frame) = frame else {
                self.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ok(()));
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    if !data.is_empty() {
                        // Only now, and no more than is needed to be woken: what is reserved is missed
                        // by the other streams. Behind it the library asks for as much as there is.
                        self.stream.reserve_capacity(1);
                        self.waiting = Some((data, last));
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

impl<B: Body<Data = Bytes> + Unpin> Future for Upload<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(response) = &mut this.response
            && let Poll::Ready(ended) = Pin::new(response).poll(cx)
        {
            let Ok(idle) = ended else {
                this.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(());
            };
            (this.response, this.idle, this.moved) = (None, idle, Instant::now());
        }
        match this.poll_sent(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                // Has no effect on a stream that has ended.
                this.stream.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        if let Some(idle) = this.idle {
            ready!(this.deadline.poll(cx, this.moved + idle));
            this.stream.send_reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
