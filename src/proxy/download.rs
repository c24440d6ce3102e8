//! The response body on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::error::ErrorKind;
use super::exchange::Exchange;
use super::headers;
use super::unread;
use super::upload::{Outgoing, Upload};
use crate::deadline::Deadline;
use crate::upstream::Lease;

/// A response body: the upstream's, streamed, or a short one of ours. The exchange ends with it.
pub struct Reply {
    kind: Kind,
    exchange: Exchange,
}

enum Kind {
    Ours(Option<Bytes>),
    Theirs(Download),
}

/// The upstream's response body.
pub struct Download {
    /// What arrives.
    pub incoming: Incoming,
    /// Whether it arrives by HTTP/2.
    pub http2: bool,
    /// The connection it arrives on; given back at its end.
    pub lease: Option<Lease<Outgoing>>,
    /// The request body, which may still be on its way: its progress counts too.
    pub upload: Option<Rc<Upload>>,
    /// The longest pause between two chunks, either way.
    pub idle: Option<Duration>,
    /// Never comes back in a trailer.
    pub injected: Option<HeaderName>,
    waiting_since: Option<Instant>,
    deadline: Deadline,
}

/// The response cannot be completed: hyper then resets the connection or stream.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The upstream broke off.
    #[error("the upstream broke off its response")]
    BrokenOff(#[source] hyper::Error),
    /// The upstream reset the stream before its end, as if nothing were wrong.
    #[error("the upstream reset its response before the end")]
    CutShort,
    /// Nothing moved for `stream_idle_timeout`.
    #[error("nothing moved for the stream_idle_timeout")]
    Idle,
}

impl Reply {
    /// A whole body of ours.
    pub fn ours(body: Bytes, exchange: Exchange) -> Self {
        let kind = Kind::Ours((!body.is_empty()).then_some(body));
        Self { kind, exchange }
    }

    /// The upstream's body.
    pub fn theirs(download: Download, exchange: Exchange) -> Self {
        Self {
            kind: Kind::Theirs(download),
            exchange,
        }
    }
}

impl Download {
    /// A body that has yet to be read.
    pub fn new(
        incoming: Incoming,
        version: Version,
        lease: Option<Lease<Outgoing>>,
        upload: Option<Rc<Upload>>,
        idle: Option<Duration>,
        injected: Option<HeaderName>,
    ) -> Self {
        let mut download = Self {
            incoming,
            http2: version >= Version::HTTP_2,
            lease,
            upload,
            idle,
            injected,
            waiting_since: None,
            deadline: Deadline::default(),
        };
        download.release_at_end();
        download
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting_since = None;
                self.release_at_end();
                Poll::Ready(Some(Ok(self.scrubbed(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                Poll::Ready(Some(Err(DownloadError::BrokenOff(error))))
            }
            // hyper takes RST_STREAM with NO_ERROR for an end. It may only follow one (RFC 9113
            // section 8.1).
            Poll::Ready(None) if self.http2 && !self.incoming.is_end_stream() => {
                self.lease = None;
                Poll::Ready(Some(Err(DownloadError::CutShort)))
            }
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.release();
                }
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_idle(cx).map(|()| {
                self.lease = None;
                Some(Err(DownloadError::Idle))
            }),
        }
    }

    /// hyper stops asking once the declared length has passed, so the end is looked for early.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
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
            // Data, or a kind of frame that hyper does not have today.
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
                let server = &this.exchange.view.snapshot.config.server;
                unread::handed_on(Some(server.idle_timeout));
                return Poll::Ready(body.take().map(|body| Ok(Frame::data(body))));
            }
            Kind::Theirs(download) => download,
        };
        unread::asked_for_more();
        let frame = std::task::ready!(download.poll_next(cx));
        unread::handed_on(download.idle);
        if let Some(Err(error)) = &frame {
            let kind = match error {
                DownloadError::BrokenOff(_) | DownloadError::CutShort => ErrorKind::UpstreamConnect,
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
