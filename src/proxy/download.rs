//! The response body on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::error::ErrorKind;
use super::exchange::Exchange;
use super::headers;
use super::tunnel::UpstreamTunnel;
use super::upload::{Outgoing, Upload};
use crate::deadline::Deadline;
use crate::upstream::{ResponseBody, ResponseBodyError};

/// A response body: the upstream's, streamed, or a short one of ours. The exchange ends with it.
pub struct Reply {
    kind: Kind,
    exchange: Exchange,
    switched: Option<Box<UpstreamTunnel>>,
}

enum Kind {
    Ours(Option<Bytes>),
    Theirs(Download),
}

/// The upstream's response body.
pub struct Download {
    /// What arrives, and the connection it arrives on.
    incoming: ResponseBody<Outgoing>,
    /// The request body, which may still be on its way: its progress counts too.
    upload: Option<Rc<Upload>>,
    /// The longest pause between two chunks, either way.
    idle: Option<Duration>,
    /// Never comes back in a trailer.
    injected: Option<HeaderName>,
    waiting_since: Option<Instant>,
    deadline: Deadline,
    /// Told once what came before has had its chance to leave.
    broken: Option<Box<DownloadError>>,
}

/// The response cannot be completed: the connection or stream is then reset.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The upstream broke off.
    #[error("the upstream broke off its response")]
    BrokenOff(#[source] ResponseBodyError),
    /// Nothing moved for `stream_idle_timeout`.
    #[error("nothing moved for the stream_idle_timeout")]
    Idle,
}

impl Reply {
    /// A whole body of ours.
    pub fn ours(body: Bytes, exchange: Exchange) -> Self {
        Self {
            kind: Kind::Ours((!body.is_empty()).then_some(body)),
            exchange,
            switched: None,
        }
    }

    /// The upstream's body; `switched` is what the connection becomes behind it.
    pub fn theirs(
        download: Download,
        switched: Option<Box<UpstreamTunnel>>,
        exchange: Exchange,
    ) -> Self {
        Self {
            kind: Kind::Theirs(download),
            exchange,
            switched,
        }
    }

    /// What the connection over HTTP/1.1, or the stream of HTTP/2, becomes behind this response.
    pub fn take_tunnel(&mut self) -> Option<Box<UpstreamTunnel>> {
        self.switched.take()
    }

    /// How long the client may take to make room for the next piece.
    pub fn patience(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Ours(_) => Some(self.exchange.shard.snapshot.config.server.idle_timeout),
            Kind::Theirs(download) => download.idle,
        }
    }

    /// Moves the request on while nobody asks for more of the response.
    pub fn send_upload(&mut self, cx: &mut Context<'_>) {
        if let Kind::Theirs(download) = &mut self.kind
            && let Err(error) = download.incoming.send_upload(cx)
        {
            download
                .broken
                .get_or_insert(Box::new(DownloadError::BrokenOff(error)));
        }
    }
}

impl Download {
    /// A body that has yet to be read.
    pub fn new(
        incoming: ResponseBody<Outgoing>,
        upload: Option<Rc<Upload>>,
        idle: Option<Duration>,
        injected: Option<HeaderName>,
    ) -> Self {
        if let Some(upload) = &upload {
            upload.answered();
        }
        let mut download = Self {
            incoming,
            upload,
            idle,
            injected,
            waiting_since: None,
            deadline: Deadline::default(),
            broken: None,
        };
        // Whoever sends it may ask for no more once the declared length has passed, so that the end
        // is looked for early.
        download.incoming.release_at_end(idle);
        download
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(*broken)));
        }
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting_since = None;
                self.incoming.release_at_end(self.idle);
                Poll::Ready(Some(Ok(self.scrubbed(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(Box::new(DownloadError::BrokenOff(error)));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.incoming.release_at_end(self.idle);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_idle(cx).map(|()| Some(Err(DownloadError::Idle))),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = self.idle else {
            return Poll::Pending;
        };
        let waiting_since = *self.waiting_since.get_or_insert_with(Instant::now);
        let uploaded = self.upload.as_ref().map(|upload| upload.progress());
        let last = uploaded.map_or(waiting_since, |at| at.max(waiting_since));
        self.deadline.poll(cx, last + idle)
    }

    fn scrubbed(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                headers::scrub_trailers(&mut trailers, self.injected.as_ref());
                Frame::trailers(trailers)
            }
            // Data, or a kind of frame that there is not today.
            Err(frame) => frame,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = self.get_mut();
        let download = match &mut this.kind {
            Kind::Ours(body) => {
                this.exchange.sends(body.as_ref());
                return Poll::Ready(body.take().map(|body| Ok(Frame::data(body))));
            }
            Kind::Theirs(download) => download,
        };
        let frame = std::task::ready!(download.poll_next(cx));
        if let Some(Ok(frame)) = &frame {
            this.exchange.sends(frame.data_ref());
        }
        if let Some(Err(error)) = &frame {
            let kind = match error {
                DownloadError::BrokenOff(_) => ErrorKind::UpstreamConnect,
                DownloadError::Idle => ErrorKind::UpstreamTimeout,
            };
            this.exchange.cut_off(kind, error);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Ours(body) => body.is_none(),
            Kind::Theirs(download) => download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Ours(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Theirs(download) => download.incoming.size_hint(),
        }
    }
}
