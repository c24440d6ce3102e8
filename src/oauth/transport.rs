//! How requests reach authorization servers.

use bytes::Bytes;
use http::{Request, Response};
use url::{Position, Url};
use zeroize::Zeroizing;

use super::last_good::Fault;
use super::{BoxFuture, TokenError};

/// A body read to its end, wiped on drop; `None` if it is longer than `max_response_bytes`.
pub type Whole = Option<Zeroizing<Vec<u8>>>;

/// What carries requests to an authorization server: the network, or a simulation of it.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request, once, to the origin of `url`, and reads the whole answer, whatever its
    /// status. The target is in origin form and `Host` is set (RFC 9112 section 3.2.1). The caller
    /// bounds its time by dropping the future. The address that answered, a [`SocketAddr`](std::net::SocketAddr), is
    /// among the extensions of the response, if there is one.
    ///
    /// # Errors
    /// The server was not reached, or what it said is no answer.
    fn carry<'a>(
        &'a self,
        url: &'a Url,
        request: Request<Bytes>,
    ) -> BoxFuture<'a, Result<Response<Whole>, TokenError>>;

    /// Looks at the files that it is made of, if any: a number that stands for those in use, and
    /// why those there are now are not in use.
    fn look(&self) -> (u64, Option<Fault>) {
        (0, None)
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let host = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{host}", url.scheme())
}
