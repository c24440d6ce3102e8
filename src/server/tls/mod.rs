//! TLS with clients: the handshake, whose turn it is to compute, and why one fails.

mod client_hello;
mod failure;
mod handshake;
mod turns;

pub use handshake::{Negotiated, PendingHandshake, handshake};
pub use turns::HandshakeTurns;
