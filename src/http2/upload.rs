//! A request body that is being sent.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::driver::UploadGuard;
use super::sending::Sending;
use crate::deadline::Deadline;

/// Held by the reader of the response. The upload is cancelled when it is dropped. Once the response has
/// ended, the reader sends how long from then on the upload may be without progress; the upload then
/// continues without the reader.
pub type UploadHandle = oneshot::Sender<Option<Duration>>;

/// Sends a body to its end. Ready when there is no more to do, for whatever reason: an error is reported to
/// those who wait for the response.
pub struct UploadTask<B> {
    sending: Sending<B>,
    /// `None` once the response has ended.
    response: Option<oneshot::Receiver<Option<Duration>>>,
    idle: Option<Duration>,
    /// When the response ended.
    ended: Instant,
    deadline: Deadline,
    _counted: UploadGuard,
}

impl<B> UploadTask<B> {
    pub fn new(
        body: B,
        stream: SendStream<Bytes>,
        response: oneshot::Receiver<Option<Duration>>,
        counted: UploadGuard,
    ) -> Self {
        Self {
            sending: Sending::new(body, stream),
            response: Some(response),
            idle: None,
            ended: Instant::now(),
            deadline: Deadline::default(),
            _counted: counted,
        }
    }
}

impl<B> Future for UploadTask<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(response) = &mut this.response
            && let Poll::Ready(ended) = Pin::new(response).poll(cx)
        {
            let Ok(idle) = ended else {
                this.sending.reset(Reason::CANCEL);
                return Poll::Ready(());
            };
            (this.response, this.idle, this.ended) = (None, idle, Instant::now());
        }
        match this.sending.poll_sent(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                // This has no effect on a stream that has ended.
                this.sending.reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        if let Some(idle) = this.idle {
            let last = this.sending.last_progress().max(this.ended);
            ready!(this.deadline.poll(cx, last + idle));
            this.sending.reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
