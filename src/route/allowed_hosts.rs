//! Which host names belong to a listener.

use std::collections::HashSet;

use compact_str::CompactString;

use crate::config::HostPattern;
use crate::host::{canonical_host, written_address};

/// The host names that a socket calls its own, besides `localhost` and [addresses](AllowedAddresses).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts {
    addresses: AllowedAddresses,
    any: bool,
    exact: HashSet<CompactString>,
    /// By the part after `*.`.
    wildcard: HashSet<CompactString>,
}

/// Which IP addresses are a socket's own without being configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedAddresses {
    /// 127.0.0.0/8 and `::1`: no other leads to a socket on loopback but by a detour, and to others
    /// (`0.0.0.0`, `::ffff:127.0.0.1`) browsers do not say which page asks.
    Loopback,
    /// Every one: a socket on the network does not know by which it is reached.
    All,
}

impl AllowedHosts {
    /// `hosts` are the listener's own `hosts` and the hosts of its upstreams, in lower case without
    /// port, `*` for any; `patterns` are the hosts of its routes. Loopback addresses among them make no other spelling of
    /// theirs its own.
    pub fn new<'a>(
        addresses: AllowedAddresses,
        hosts: impl IntoIterator<Item = &'a str>,
        patterns: impl IntoIterator<Item = &'a HostPattern>,
    ) -> Self {
        let mut own = Self {
            addresses,
            any: false,
            exact: HashSet::from(["localhost".into()]),
            wildcard: HashSet::new(),
        };
        // Own in any case, in the spelling that browsers trust alone.
        let mut exact =
            |name: &str| !is_loopback_host(name) && own.exact.insert(canonical_host(name).into());
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => own.wildcard.insert(parent.into()),
                None if host == "*" => std::mem::replace(&mut own.any, true),
                None => exact(host.trim_end_matches('.')),
            };
        }
        for pattern in patterns {
            match pattern {
                // A route for any host does not say which names are ours.
                HostPattern::Any => false,
                HostPattern::Wildcard(parent) => own.wildcard.insert(parent.clone()),
                HostPattern::Exact(name) => exact(name),
            };
        }
        own
    }

    /// Whether `host`, in lower case without port and as the client has written it, is one of them.
    pub fn contains(&self, host: &str) -> bool {
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            (!label.is_empty() && self.wildcard.contains(parent)).then_some(())
        };
        self.any
            || written_address(host).is_some_and(|ip| self.addresses == AllowedAddresses::All || ip.is_loopback())
            // Only HTTP/1.0 may lack a host, and no browser can be made to leave it out.
            || host.is_empty()
            || self.exact.contains(canonical_host(host).as_ref())
            || wildcard().is_some()
    }
}

/// Whether it is `localhost` or a loopback address, as it is written: what browsers trust without TLS.
pub fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || written_address(host).is_some_and(|ip| ip.is_loopback())
}

/// Whether it is an IP address and no name, IPv6 in brackets.
pub fn is_address(host: &str) -> bool {
    written_address(host).is_some()
}
