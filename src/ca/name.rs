//! The names that certificates are for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::{DnsName, ServerName};

/// What a certificate is for: one DNS name, or one IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertifiedName {
    /// In lower case, without trailing dot.
    Dns(DnsName<'static>),
    /// An address.
    Ip(IpAddr),
}

impl CertifiedName {
    /// The name that a host is: in lower case, without trailing dot, IPv6 in brackets. `None` for what no certificate
    /// can be for: other bytes than letters, digits, `-`, `_` and dots, labels that are empty or too long, a wildcard.
    pub fn parse(host: &str) -> Option<Self> {
        if let Some(address) = host.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(address.into()));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let is_canonical =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if host.ends_with('.') || !host.bytes().all(is_canonical) {
            return None;
        }
        DnsName::try_from(host)
            .ok()
            .map(|name| Self::Dns(name.to_owned()))
    }

    /// The same, as a client asks for it.
    pub(super) fn to_server_name(&self) -> ServerName<'static> {
        match self {
            Self::Dns(name) => ServerName::DnsName(name.clone()),
            Self::Ip(address) => ServerName::IpAddress((*address).into()),
        }
    }
}

/// Whether one of `domains` is `host`, or a domain that `host` is in. Both are in lower case, without trailing dot, IPv6
/// in brackets. Nothing is within an IP address.
pub fn covers(domains: &[String], host: &str) -> bool {
    domains.iter().any(|domain| {
        let outer = host.strip_suffix(domain.as_str());
        let is_within = |outer: &str| {
            let is_name = matches!(CertifiedName::parse(domain), Some(CertifiedName::Dns(_)));
            is_name && outer.len() > 1 && outer.ends_with('.')
        };
        outer.is_some_and(|outer| outer.is_empty() || is_within(outer))
    })
}
