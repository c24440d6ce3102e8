//! The body of a request.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};

use super::super::receiving::Receiving;
use super::responder::Responder;

/// The body of a request. The last byte of a declared length is handed out only when the end of the stream has
/// come too: a reader that has got the declared length knows that the request is complete and valid.
pub struct RequestBody {
    stream: Receiving,
    /// What is still to come, as far as that was said.
    left: Option<u64>,
    /// The last of that, until the end of the stream.
    last: Option<Bytes>,
    /// Trailers are next.
    data_ended: bool,
    /// What has gone wrong and was not told yet.
    broken: Option<BodyError>,
    /// The client waits for `100 Continue` before it sends it (RFC 9110 section 10.1.1).
    expects: Option<Rc<Responder>>,
}

/// Why a request body cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It breaks the rules of its stream, such as its own length.
    #[error("the request body breaks the rules of HTTP/2")]
    Malformed,
    /// The client has reset the stream, or gone away.
    #[error("the client reset the stream before the end of the body")]
    Gone,
}

impl RequestBody {
    pub(super) fn new(
        stream: Receiving,
        length: Option<u64>,
        head: &Parts,
        responder: &Rc<Responder>,
    ) -> Self {
        let expects = head.headers.get(EXPECT);
        let expects = expects.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            stream,
            left: length,
            last: None,
            data_ended: false,
            broken: None,
            expects: expects.then(|| Rc::clone(responder)),
        }
    }

    /// Whether a length of zero was promised, and the stream has not ended yet.
    pub fn promises_none(&self) -> bool {
        self.left == Some(0) && !self.stream.is_end_stream()
    }

    /// Ready when a body of no bytes has ended: before that its request is not known to be sound.
    /// Its reader then gets an error.
    pub fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.poll_data(cx)) {
            None => self.data_ended = true,
            Some(Err(error)) => self.broken = Some(error),
            // The library takes no bytes beyond none.
            Some(Ok(_)) => {}
        }
        Poll::Ready(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(data) = ready!(self.stream.poll_data(cx)) else {
                return Poll::Ready(self.last.take().map(Ok));
            };
            let data = data.map_err(|error| BodyError::of(&error))?;
            self.stream.release(data.len());
            if let Some(left) = &mut self.left {
                // The library takes no more than was promised.
                *left = left.saturating_sub(data.len() as u64);
                if *left == 0 && !self.stream.is_end_stream() {
                    if !data.is_empty() {
                        self.last = Some(data);
                    }
                    continue;
                }
            }
            return Poll::Ready(Some(Ok(data)));
        }
    }
}

impl BodyError {
    fn of(error: &h2::Error) -> Self {
        if error.is_library() {
            Self::Malformed
        } else {
            Self::Gone
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        if let Some(responder) = this.expects.take()
            && !this.stream.has_begun()
        {
            responder.send_continue();
        }
        if !this.data_ended {
            if let Some(data) = ready!(this.poll_data(cx)) {
                return Poll::Ready(Some(data.map(Frame::data)));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(cx));
        let trailers = trailers.map_err(|error| BodyError::of(&error))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.broken.is_none() && self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.last.as_ref().map_or(0, Bytes::len) as u64;
        self.left
            .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}
