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

use super::Error;
use super::connection::Shared;
use super::receiving::Receiving;
use super::tunnel::Tunnel;
use super::upload::Held;

/// The body of a response. Its stream is reset when it is dropped before its end, whatever the request
/// body does.
pub struct ResponseBody {
    stream: Receiving,
    /// What is still to come, as far as that was said.
    left: Option<u64>,
    /// Trailers are next.
    data_ended: bool,
    shared: Rc<Shared>,
    rest: Rest,
}

/// The other direction.
enum Rest {
    /// The request has been sent.
    Sent,
    /// Its body is still on its way.
    Upload(Held),
    /// This is a tunnel.
    Tunnel(Box<SendStream<Bytes>>),
}

impl ResponseBody {
    pub(super) fn new(
        stream: Receiving,
        length: Option<u64>,
        shared: Rc<Shared>,
        upload: Option<Held>,
    ) -> Self {
        let left = match stream.is_end_stream() {
            true => length.or(Some(0)),
            false => length,
        };
        Self {
            stream,
            left,
            data_ended: false,
            shared,
            rest: upload.map_or(Rest::Sent, Rest::Upload),
        }
    }

    pub(super) fn of_tunnel(
        stream: Receiving,
        connect: SendStream<Bytes>,
        shared: Rc<Shared>,
    ) -> Self {
        Self {
            rest: Rest::Tunnel(Box::new(connect)),
            ..Self::new(stream, None, shared, None)
        }
    }

    /// Both directions, if the server agreed to extended CONNECT (RFC 8441).
    pub fn into_tunnel(self) -> Option<Tunnel> {
        match self.rest {
            Rest::Tunnel(connect) => Some(Tunnel::new(*connect, self.stream)),
            _ => None,
        }
    }

    /// Lets the request body go on, if all of the response has come, for as long as it makes a move
    /// within `idle`.
    pub fn release_at_end(&mut self, idle: Option<Duration>) {
        // A tunnel stays one, also if one direction has ended.
        if matches!(self.rest, Rest::Upload(_))
            && (self.left == Some(0) || self.stream.is_end_stream())
            && let Rest::Upload(upload) = std::mem::replace(&mut self.rest, Rest::Sent)
        {
            // Fails when it has ended.
            let _ = upload.send(idle);
        }
    }

    fn broken_off(&self, error: h2::Error) -> Error {
        match error.reason() {
            Some(Reason::NO_ERROR | Reason::CANCEL) if error.is_reset() => Error::CutShort,
            _ => self.shared.error(error),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ResponseBody");
        shown.field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if !this.data_ended {
            if let Some(data) = ready!(this.stream.poll_data(cx)) {
                let data = data.map_err(|error| this.broken_off(error))?;
                this.stream.release(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(cx));
        let trailers = trailers.map_err(|error| this.broken_off(error))?;
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

/// The length of a body, as far as its headers tell. Whether they make sense is looked at elsewhere.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
