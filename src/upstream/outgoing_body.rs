//! The bodies of requests to upstreams.

use bytes::Bytes;
use http_body::Body;

/// What the body of a request to an upstream must be.
pub trait OutgoingBody:
    Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin + 'static
{
}
impl<B> OutgoingBody for B
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
}
