//! Prefixes of addresses, and the hosts of rules about what may leave.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::report::Expected;
use super::super::settings::HostPattern;
use super::address::host_pattern;
use super::syntax::Syntax;
use crate::address;

/// An IP address or a prefix.
pub(in crate::config) const PREFIX: Syntax<IpNet> = Syntax::new(pattern!(prefix), prefix).address();

/// An IP address, or a prefix whose further bits are zero.
pub(in crate::config) fn prefix(text: &str) -> Result<IpNet, Expected> {
    const EXPECTED: &str = "expected an IP address or a prefix such as \"10.20.0.0/16\"";
    if text.starts_with('[') {
        return Err("write an IPv6 address here without brackets".into());
    }
    let written = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => text.parse().map_err(|_| EXPECTED)?,
    };
    let prefix = written.trunc();
    if prefix != written {
        return Err(format!("has bits beyond its length: did you mean \"{prefix}\"?").into());
    }
    Ok(prefix)
}

/// An IP address or a prefix that addresses are compared with.
pub(in crate::config) const ALLOWED_PREFIX: Syntax<IpNet> =
    Syntax::new(pattern!(prefix), allowed_prefix).address();

/// The same, if addresses are compared with it: those that embed an IPv4 address are compared as that one.
pub(in crate::config) fn allowed_prefix(text: &str) -> Result<IpNet, Expected> {
    let prefix = prefix(text)?;
    match prefix {
        IpNet::V6(net) if address::embeds_ipv4(net.broadcast()) => Err(
            "these addresses embed IPv4 addresses, which are allowed as such: name those".into(),
        ),
        _ => Ok(prefix),
    }
}

/// The host of a rule.
pub(in crate::config) const RULE_HOST: Syntax<HostPattern> = Syntax::new(
    concat!("(?:", pattern!(host), r"|\*\.", pattern!(domain), ")"),
    rule_host,
)
.address();

/// A host name, an IP address, or `*.` and a host name.
pub(in crate::config) fn rule_host(text: &str) -> Result<HostPattern, Expected> {
    match text {
        "*" => Err("what becomes of all other hosts is said by `unmatched` of the listener".into()),
        _ => host_pattern(text),
    }
}
