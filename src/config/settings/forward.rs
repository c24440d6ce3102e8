//! Forward and redirected listeners: which destinations lead where by themselves.

use std::fmt;
use std::time::Duration;

use super::EgressAction;

/// Where a forward or redirected listener leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// The upstreams that it leads to by their own names, `*` for all.
    pub upstreams: Vec<String>,
    /// What becomes of what nothing matches.
    pub unmatched: EgressAction,
    /// Whether the TLS of clients is ended where an upstream is matched, with certificates of the CA of `[interception]`.
    pub intercept: bool,
    /// Its connections are redirected to it by the system; `None`: its clients know it as a proxy.
    pub redirection: Option<Redirection>,
}

/// How a listener takes connections that the system has redirected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// How long a client may say nothing until it is taken for one that waits for its server to speak first.
    pub detect_timeout: Duration,
}

/// The scheme that a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `http`, and `ws`.
    Http,
    /// `https`, and `wss`.
    Https,
}

impl Scheme {
    /// The port where none is named.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host name or IP literal in lower case, without trailing dot, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// IPv6 in brackets.
    pub host: String,
    /// `None`: the ports of the `url` of the same upstream.
    pub port: Option<u16>,
}

/// Stands for every upstream.
pub(in crate::config) const EVERY_UPSTREAM: &str = "*";

/// Whether `upstreams` of a forward listener names this one.
pub(in crate::config) fn leads_to(upstreams: &[String], name: &str) -> bool {
    upstreams
        .iter()
        .any(|named| named == EVERY_UPSTREAM || named == name)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}
