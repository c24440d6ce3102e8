//! Which host names belong to a listener.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::config::HostPattern;

/// The host names that a listener calls its own, besides IP literals and `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnHosts {
    any: bool,
    exact: HashSet<Box<str>>,
    /// By the part after `*.`.
    wildcard: HashSet<Box<str>>,
}

impl OwnHosts {
    /// `hosts` are the listener's own `hosts` and the hosts of its upstreams, in lower case without
    /// port, `*` for any; `patterns` are the hosts of its routes.
    pub fn new<'a>(
        hosts: impl IntoIterator<Item = &'a str>,
        patterns: impl IntoIterator<Item = &'a HostPattern>,
    ) -> Self {
        let mut own = Self {
            any: false,
            exact: HashSet::from(["localhost".into()]),
            wildcard: HashSet::new(),
        };
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => own.wildcard.insert(parent.into()),
                None if host == "*" => std::mem::replace(&mut own.any, true),
                None => own.exact.insert(host.trim_end_matches('.').into()),
            };
        }
        for pattern in patterns {
            match pattern {
                // A route for any host does not say which names are ours.
                HostPattern::Any => false,
                HostPattern::Wildcard(parent) => own.wildcard.insert(parent.as_str().into()),
                HostPattern::Exact(name) => own.exact.insert(name.as_str().into()),
            };
        }
        own
    }

    /// Whether `host`, in lower case without port, is one of them.
    pub fn contains(&self, host: &str) -> bool {
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            (!label.is_empty() && self.wildcard.contains(parent)).then_some(())
        };
        self.any
            || is_ip_literal(host)
            // Only HTTP/1.0 may lack a host, and no browser can be made to leave it out.
            || host.is_empty()
            || self.exact.contains(host)
            || wildcard().is_some()
    }
}

fn is_ip_literal(host: &str) -> bool {
    host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
}
