//! Where a tunnel leads, and why there is none.

use std::io;

use url::Host;

use super::refusal::ProxyRefusal;

/// Where a tunnel leads. A name is resolved by the proxy.
#[derive(Debug, Clone, Copy)]
pub struct TunnelTarget<'t> {
    /// The host.
    pub host: &'t Host,
    /// The TCP port.
    pub port: u16,
}

/// Why there is no tunnel.
#[derive(Debug)]
pub enum TunnelError {
    /// The proxy says no, or something that cannot be understood.
    Refused(ProxyRefusal),
    /// The connection to the proxy broke.
    Io(io::Error),
}

impl From<ProxyRefusal> for TunnelError {
    fn from(refusal: ProxyRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for TunnelError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
