//! `[[listeners]]`

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Forwarding;

/// `[[listeners]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique; the address as written when not given.
    pub name: String,
    /// The socket.
    pub address: ListenAddress,
    /// More `Host` values accepted on a loopback listener, lower case without port; `*` is any.
    pub hosts: Vec<String>,
    /// Whether requests that a browser made for another site are let through.
    pub allow_browsers: bool,
    /// The origins whose pages are let through anyhow, as browsers spell them: lower case, and no
    /// port that the scheme implies.
    pub allow_origins: Vec<String>,
    /// Where a forward listener leads to; `None` for a reverse listener.
    pub forward: Option<Forwarding>,
}

/// A socket address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl ListenAddress {
    /// Whether other machines can reach it.
    pub fn is_on_network(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => false,
        }
    }
}
