//! What a table of redirections is printed for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::{IpNet, Ipv4Net};

/// Stands for no user at all: `(uid_t) -1`.
const NOBODY: u32 = u32::MAX;

/// Which connections to redirect, and where to.
#[derive(Debug, Args)]
pub struct PrintArguments {
    /// The port of the redirected listener
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) to: u16,
    /// The TCP ports whose connections are redirected: numbers, or ranges such as 8000-8099
    #[arg(
        long,
        value_name = "PORTS",
        value_delimiter = ',',
        default_value = "80,443"
    )]
    pub(super) ports: Vec<PortRange>,
    /// The user that sidebearer runs as, a number: its own connections are not redirected
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(..i64::from(NOBODY)))]
    pub(super) uid: u32,
    /// Destinations that are left alone: an address, a prefix or a port; may be repeated
    #[arg(long, value_name = "ADDRESS|PREFIX|PORT", value_delimiter = ',')]
    pub(super) exclude: Vec<Exclusion>,
    /// The table is for another machine or network namespace: do not look for other chains in this one
    #[arg(long)]
    pub(super) elsewhere: bool,
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortRange {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Where connections are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusion {
    Addresses(IpNet),
    Ports(PortRange),
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err("expected a port from 1 to 65535, or a range such as 8000-8099".to_owned()),
        }
    }
}

impl FromStr for Exclusion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ports) = text.parse() {
            return Ok(Self::Ports(ports));
        }
        let prefix = match text.parse::<IpAddr>() {
            Ok(ip) => Some(IpNet::from(ip)),
            Err(_) => text.parse::<IpNet>().ok(),
        };
        let prefix = prefix.map(|prefix| Self::Addresses(canonical(prefix).trunc()));
        prefix
            .ok_or_else(|| "expected an address, a prefix such as 10.0.0.0/8, or a port".to_owned())
    }
}

/// A prefix of IPv4 addresses that is written inside of IPv6 (RFC 4291 section 2.5.5.2), as what it stands for:
/// connections to them are of IPv4.
fn canonical(prefix: IpNet) -> IpNet {
    let IpNet::V6(mapped) = prefix else {
        return prefix;
    };
    let ip = mapped.addr().to_ipv4_mapped();
    let length = mapped.prefix_len().checked_sub(96);
    let unmapped = ip
        .zip(length)
        .and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    unmapped.map_or(prefix, IpNet::V4)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}
