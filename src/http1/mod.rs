//! HTTP/1.1 on the wire (RFC 9112): heads, bodies, and both ends of a connection.
//!
//! One task drives a connection: it reads, decides and writes, and hands nothing to another task.
//! A connection that waits holds no buffer. [`RoundTrip`] is the end towards an upstream,
//! [`ServerConnection`] the one towards a client; they know nothing of routes, tokens or pools.

mod body_decoder;
mod chunked;
mod connect_response;
mod encode;
mod framing;
mod head;
mod header_case;
mod partial_head;
mod read;
mod round_trip;
mod server_connection;
mod syntax;
mod trailers;
mod unsolicited;
mod write_buffer;

pub use connect_response::read_connect_response;
pub use encode::{AbsoluteForm, RequestLine, encode_interim};
pub use head::{ReasonPhrase, read_request_target};
pub use header_case::HeaderCase;
pub use round_trip::{Error, RequestHead, RoundTrip};
pub use server_connection::{BodyError, IncomingRequest, RequestBody, SendError, ServerConnection};
pub use syntax::{HeadError, HeadLimits};
pub use unsolicited::Unsolicited;
