//! HTTP/2 (RFC 9113) on the frames and windows of the crate `h2`: towards upstreams here, and towards
//! clients in [`server`].
//!
//! One task drives a [`Connection`]; the task that has a request sends it and reads the answer itself,
//! with nothing between. Only a request body that cannot be sent at once gets a task of its own: it is sent
//! on when the response has ended. Pools, routes and tokens are unknown here.

mod budget;
mod connection;
mod driver;
mod error;
mod frames;
mod inbound;
mod inbox;
#[cfg(test)]
pub mod long_way;
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
pub use connection::{ClientSettings, Connection};
pub use error::Error;
pub use frames::{Arrived, Frames};
pub use pings::PingInterval;
pub use response::IncomingBody;
pub use round_trip::RoundTrip;
pub use sending::Sending;
pub use tunnel::Tunnel;
pub use windows::Sizes;

/// Streams that may be reset because of invalid frames, before the connection is ended.
const MAX_FAULTY_STREAMS: usize = 1024;
