//! `[[listeners]]`

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The upstreams that a forward listener leads to by their own names, `*` for all; `None` for a
    /// reverse listener.
    pub forward: Option<Vec<String>>,
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
