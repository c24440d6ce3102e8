//! Connections to the protected APIs and to authorization servers.

mod connect;
mod dns;
mod tls;

pub use connect::{ConnectError, Connected, Connector, Io, Protocols, Stage};
pub use tls::{TlsError, fingerprint};
