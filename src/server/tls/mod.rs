//! TLS with clients: the handshake of a listener or inside of a CONNECT, and why one fails.

pub mod client_hello;
mod failure;
mod handshake;
mod intercept;

pub use handshake::{Negotiated, PendingHandshake, handshake};
pub use intercept::{Intercepted, intercept, report_silence};
