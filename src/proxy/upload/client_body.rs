//! The request body as it arrives from the client, whatever version of HTTP it comes by.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::client_socket::ClientSocket;
use crate::{http1, http2};

/// A request body as it arrives.
pub enum ClientBody {
    /// Over HTTP/1.1.
    Http1(http1::RequestBody<ClientSocket>),
    /// Over HTTP/2.
    Http2(http2::server::RequestBody),
}

/// Why a body could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyFault {
    /// The client broke its own framing.
    Malformed,
    /// The client went away.
    Gone,
}

impl ClientBody {
    /// The next piece of it.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(|error| match error {
                http1::BodyError::Malformed(_) => BodyFault::Malformed,
                http1::BodyError::ClientGone => BodyFault::Gone,
            }),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|error| match error {
                http2::server::BodyError::Malformed => BodyFault::Malformed,
                http2::server::BodyError::Gone => BodyFault::Gone,
            }),
        }
    }

    /// Whether there is no more of it.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    /// Its declared length.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Http1(body) => body.size_hint().exact(),
            Self::Http2(body) => body.size_hint().exact(),
        }
    }
}
