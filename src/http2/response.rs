//! The body of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use super::Error;
use super::tunnel::Tunnel;

/// The body of a response. Its stream is reset when it is dropped before its end.
pub struct ResponseBody {
    stream: RecvStream,
    /// What is still to come, as far as that was said.
    left: Option<u64>,
    /// Trailers are next.
    data_ended: bool,
    /// The other direction, if this is a tunnel.
    connect: Option<Box<SendStream<Bytes>>>,
}

impl ResponseBody {
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        let left = match stream.is_end_stream() {
            true => length.or(Some(0)),
            false => length,
        };
        Self {
            stream,
            left,
            data_ended: false,
            connect: None,
        }
    }

    pub(super) fn of_tunnel(stream: RecvStream, connect: SendStream<Bytes>) -> Self {
        Self {
            connect: Some(Box::new(connect)),
            ..Self::new(stream, None)
        }
    }

    /// Both directions, if the server agreed to extended CONNECT (RFC 8441).
    pub fn into_tunnel(self) -> Option<Tunnel> {
        Some(Tunnel::new(*self.connect?, self.stream))
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
                let data = data.map_err(broken_off)?;
                // Fails only for more than came.
                let _ = this.stream.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(cx)).map_err(broken_off)?;
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

fn broken_off(error: h2::Error) -> Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) if error.is_reset() => Error::CutShort,
        _ => error.into(),
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
