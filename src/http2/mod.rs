//! HTTP/2 (RFC 9113) on the frames and windows of the crate `h2`: towards upstreams here, and towards
//! clients in [`server`].
//!
//! One task drives a [`Connection`]; whoever has a request sends it and reads the answer itself, with
//! nothing between. Only a request body that cannot be sent at once gets a task of its own: it goes on
//! when the response has ended. Pools, routes and tokens are unknown here.

mod budget;
mod connection;
mod frames;
mod pings;
mod receiving;
mod response;
mod round_trip;
mod sending;
pub mod server;
mod tunnel;
mod upload;
mod windows;

pub use budget::Budget;
pub use connection::{Connection, Settings};
pub use frames::{Arrived, Frames};
pub use pings::Pace;
pub use response::ResponseBody;
pub use round_trip::RoundTrip;
pub use sending::Sending;
pub use tunnel::Tunnel;
pub use windows::Sizes;

/// Streams that we may have to reset for what comes on them, before the connection is ended.
const FAULTY_STREAMS: usize = 1024;

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke off.
    #[error("the connection broke off")]
    Io(#[source] std::io::Error),
    /// The stream or its connection was ended with a reason, or its rules were broken.
    #[error("HTTP/2 error")]
    Stream(#[source] h2::Error),
    /// The stream was reset with NO_ERROR or CANCEL before its end. Passed on as they are they would look
    /// like one to some clients: an end may only be followed by NO_ERROR (RFC 9113 section 8.1).
    #[error("the stream was reset before its end")]
    CutShort,
    /// A server agreed to a tunnel and announced a body (RFC 8441 section 5).
    #[error("a tunnel with a body")]
    TunnelWithBody,
    /// Interim responses came without end.
    #[error("more than {} interim responses came", round_trip::MAX_INTERIM)]
    Interim,
    /// A ping was not answered in time: the connection has been given up.
    #[error("the connection did not answer a ping")]
    Unanswered,
}

impl From<h2::Error> for Error {
    fn from(error: h2::Error) -> Self {
        match error.is_io() {
            true => Self::Io(
                error
                    .into_io()
                    .unwrap_or_else(|| std::io::ErrorKind::Other.into()),
            ),
            false => Self::Stream(error),
        }
    }
}
