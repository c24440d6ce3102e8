//! The body of a response.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use super::driver::DriverState;
use super::error::Error;
use super::receiving::Receiving;
use super::tunnel::Tunnel;
use super::upload::UploadHandle;

/// The body of a response. Its stream is reset when it is dropped before its end, whatever the request
/// body does.
pub struct IncomingBody {
    stream: Receiving,
    /// Bytes that are still to come, if the server said how many.
    left: Option<u64>,
    /// All data has been read. Trailers may follow.
    data_ended: bool,
    state: Rc<DriverState>,
    request: RequestSide,
}

/// The other direction of the stream.
enum RequestSide {
    /// The request has been sent.
    Sent,
    /// Its body is still being sent.
    UploadTask(UploadHandle),
    /// This is a tunnel.
    Tunnel(Box<SendStream<Bytes>>),
}

impl IncomingBody {
    pub(super) fn new(
        stream: Receiving,
        length: Option<u64>,
        state: Rc<DriverState>,
        upload: Option<UploadHandle>,
    ) -> Self {
        let left = if stream.is_end_stream() {
            length.or(Some(0))
        } else {
            length
        };
        Self {
            stream,
            left,
            data_ended: false,
            state,
            request: upload.map_or(RequestSide::Sent, RequestSide::UploadTask),
        }
    }

    pub(super) fn of_tunnel(
        stream: Receiving,
        connect: SendStream<Bytes>,
        state: Rc<DriverState>,
    ) -> Self {
        Self {
            request: RequestSide::Tunnel(Box::new(connect)),
            ..Self::new(stream, None, state, None)
        }
    }

    /// Both directions, if the server agreed to extended CONNECT (RFC 8441).
    pub fn into_tunnel(self) -> Option<Tunnel> {
        match self.request {
            RequestSide::Tunnel(connect) => Some(Tunnel::new(*connect, self.stream)),
            _ => None,
        }
    }

    /// Lets the request body be sent to its end, if all of the response has come. The stream is reset when
    /// nothing more of the body could be sent for `idle`.
    pub fn release_at_end(&mut self, idle: Option<Duration>) {
        // A tunnel stays one, also if one direction has ended.
        if matches!(self.request, RequestSide::UploadTask(_))
            && (self.left == Some(0) || self.stream.is_end_stream())
            && let RequestSide::UploadTask(upload) =
                std::mem::replace(&mut self.request, RequestSide::Sent)
        {
            // This fails when the upload has ended.
            let _ = upload.send(idle);
        }
    }

    fn error(&self, error: h2::Error) -> Error {
        match error.reason() {
            Some(Reason::NO_ERROR | Reason::CANCEL) if error.is_reset() => Error::CutShort,
            _ => self.state.error(error),
        }
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("IncomingBody");
        shown.field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if !this.data_ended {
            if let Some(data) = ready!(this.stream.poll_data(cx)) {
                let data = match data {
                    Ok(data) => data,
                    // Servers on Node's `http2` end a response so when the window of its stream is negative.
                    // All that was promised has come.
                    Err(error) if this.left == Some(0) && is_reset_without_error(&error) => {
                        return Poll::Ready(None);
                    }
                    Err(error) => return Poll::Ready(Some(Err(this.error(error)))),
                };
                this.stream.release(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(cx));
        let trailers = trailers.map_err(|error| this.error(error))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Whether the other side reset the stream and says that nothing was wrong.
fn is_reset_without_error(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

/// The length of a body, if its headers tell it. The library checks that they agree with the body.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
