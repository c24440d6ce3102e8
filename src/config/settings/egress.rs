//! `[egress]`: what may leave that no route leads to.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::{CallerList, HostPattern, ProxyChoice};

/// `[egress]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Which addresses may be connected to that neither `allow` nor `deny` holds.
    pub addresses: EgressAddresses,
    /// Prefixes that may be connected to. None of them embeds IPv4 addresses.
    pub allow: Vec<IpNet>,
    /// Prefixes that may not.
    pub deny: Vec<IpNet>,
    /// The ports that may be connected to.
    pub ports: EgressPorts,
    /// What of both holds for redirected listeners.
    pub redirected: RedirectedEgress,
    /// The longest time in which nothing moves in the tunnel of a CONNECT or of a redirected connection.
    pub tunnel_idle_timeout: Duration,
    /// Through which proxy everything is reached whose own table says nothing, and what passes.
    pub proxy: ProxyChoice,
    /// In the order of the configuration.
    pub rules: Vec<EgressRule>,
}

/// Where connections of redirected listeners may pass: what their apps reached before is kept from them only where that
/// is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectedEgress {
    /// Which addresses.
    pub addresses: EgressAddresses,
    /// Which ports.
    pub ports: EgressPorts,
}

/// `[[egress.rules]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    /// Never empty. A wildcard stands for names of any depth.
    pub hosts: Vec<HostPattern>,
    /// The forward and redirected listeners whose requests it decides about; all of them when empty.
    pub listeners: Vec<String>,
    /// The callers whose requests it decides about.
    pub callers: CallerList,
    /// What becomes of them.
    pub action: EgressAction,
}

/// `egress.addresses`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressAddresses {
    /// Those that are globally reachable.
    Public,
    /// All.
    Any,
}

/// `egress.ports`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressPorts {
    /// Every port.
    Any,
    /// These.
    Only(Vec<u16>),
}

/// What becomes of a request or tunnel for a destination that no route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressAction {
    /// It goes on, without a token, to where its client names.
    Pass,
    /// It is refused.
    Deny,
}

impl EgressRule {
    /// Whether it decides about requests of this listener.
    pub fn is_for(&self, listener: &str) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| name == listener)
    }
}

impl EgressPorts {
    /// Whether this port may be connected to.
    pub fn includes(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ports) => ports.contains(&port),
        }
    }
}

impl EgressAddresses {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Any => "any",
        }
    }
}

impl EgressAction {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for EgressAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
