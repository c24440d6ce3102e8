//! HTTP/1.1 on the wire (RFC 9112): heads, bodies, and both ends of a connection.
//!
//! One task moves a connection: it reads, decides and writes without handing anything to another.
//! A connection that waits holds no buffer. [`RoundTrip`] is the end towards an upstream,
//! [`Connection`] the one towards a client; they know nothing of routes, tokens or pools.

mod client;
mod decode;
mod encode;
mod framing;
mod gather;
mod head;
mod outbox;
mod receive;
mod server;
mod spelling;
mod syntax;
mod trailers;
mod unasked;

pub use client::{Error, RoundTrip, Sent};
pub use encode::{RequestLine, interim};
pub use head::Reason;
pub use server::{Asking, BodyError, Connection, RequestBody, Stopped};
pub use spelling::Spelling;
pub use syntax::{HeadError, HeadLimits};
pub use unasked::{Unasked, unasked};
