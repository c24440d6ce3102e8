//! `NO_PROXY`: which hosts are reached without a proxy, as curl reads it.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// A list of hosts that are reached directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy {
    /// It is `*` and nothing else.
    everything: bool,
    /// Names without the dots around them, addresses, and networks such as `10.0.0.0/8`.
    entries: Vec<String>,
}

impl NoProxy {
    /// Reads what the variable holds: entries with commas or blanks between them.
    pub fn new(text: &str) -> Self {
        let is_between = |c: char| matches!(c, ',' | ' ' | '\t');
        let entries = text.split(is_between).filter(|entry| !entry.is_empty());
        Self {
            everything: text == "*",
            entries: entries.map(str::to_owned).collect(),
        }
    }

    /// Whether `host` is reached directly. A name is exempt if it is an entry or ends in a dot and an entry; case,
    /// one dot before an entry and one behind it do not count. An address is exempt if it is an entry or in the
    /// network that one names. Ports and other wildcards mean nothing: an entry that has them matches no host.
    pub fn exempts(&self, host: &Host<&str>) -> bool {
        self.everything
            || match host {
                Host::Domain(name) => self.entries.iter().any(|entry| is_within(name, entry)),
                Host::Ipv4(ip) => self.exempts_address(IpAddr::V4(*ip)),
                Host::Ipv6(ip) => self.exempts_address(IpAddr::V6(*ip)),
            }
    }

    fn exempts_address(&self, ip: IpAddr) -> bool {
        self.entries.iter().any(|entry| is_in_network(ip, entry))
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let Some(at) = name.len().checked_sub(domain.len()) else {
        return false;
    };
    let (Some(before), Some(end)) = (name.get(..at), name.get(at..)) else {
        return false;
    };
    !domain.is_empty()
        && end.eq_ignore_ascii_case(domain)
        && (before.is_empty() || before.ends_with('.'))
}

fn is_in_network(ip: IpAddr, network: &str) -> bool {
    let (address, bits) = match network.split_once('/') {
        Some((address, bits)) => (address, leading_number(bits)),
        None => (network, Some(0)),
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'));
    let address: Result<IpAddr, _> = bare.unwrap_or(address).parse();
    let (Ok(address), Some(bits)) = (address, bits) else {
        return false;
    };
    let width: u8 = if address.is_ipv4() { 32 } else { 128 };
    // curl takes no bits, or none that it understands, for all of them.
    let bits = if bits == 0 { width } else { bits };
    IpNet::new(address, bits).is_ok_and(|network| network.contains(&ip))
}

/// The number that a text begins with, and 0 where it begins with something else, as C's `atoi` has it. `None`: it
/// is below zero, or larger than any number of bits.
fn leading_number(text: &str) -> Option<u8> {
    if text.starts_with('-') {
        return None;
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match &text[..digits] {
        "" => Some(0),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What curl 7.88 does with the same, less networks of IPv6, which it takes for names; its manual and later
    /// versions do not.
    const HOSTS: &[(&str, &str, bool)] = &[
        ("a.example.com", "example.com", true),
        ("a.example.com", ".example.com", true),
        ("example.com", ".example.com", true),
        ("example.com", "example.com", true),
        ("nexample.com", "example.com", false),
        ("a.example.com", "EXAMPLE.com", true),
        ("A.EXAMPLE.COM", "example.com", true),
        ("a.example.com", "*.example.com", false),
        ("a.example.com", "*", true),
        ("a.example.com", " *", false),
        ("a.example.com", "*,x", false),
        ("a.example.com", "x,*", false),
        ("example.com", "example.com.", true),
        ("example.com.", "example.com", true),
        ("example.com.", "example.com.", true),
        ("example.com", "example.com:80", false),
        ("example.com", "x, example.com", true),
        ("example.com", "x example.com", true),
        ("example.com", "x,,example.com", true),
        ("example.com", "x ,example.com", true),
        ("example.com", ",example.com", true),
        ("example.com", "..example.com", false),
        ("example.com", "example.com..", false),
        ("example.com", "com", true),
        ("example.com", ".", false),
        ("example.com", "", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "127.0.0.0/8", true),
        ("127.0.0.1", "127.0.0.1/32", true),
        ("127.0.0.1", "127.0.0.1/0", true),
        ("127.0.0.1", "127.0.0.1/33", false),
        ("127.0.0.1", "127.0.0.0/x", false),
        ("127.0.0.1", "128.0.0.0/0", false),
        ("127.0.0.1", "126.0.0.0/7", true),
        ("127.0.0.1", "126.0.0.0/-1", false),
        ("127.0.0.1", "0.0.1", false),
        ("127.0.0.1", "127.0.0.1:80", false),
        ("127.0.0.1", "127.1", false),
        ("127.0.0.1", "localhost", false),
        ("127.0.0.1", "127.0.0.0/08", true),
        ("127.0.0.1", "127.0.0.0/8x", true),
        ("127.0.0.1", "127.0.0.0/ 8", false),
        ("127.0.0.1", "127.0.0.1.", false),
        ("127.0.0.1", ".127.0.0.1", false),
        ("localhost", "127.0.0.1", false),
        ("localhost", "127.0.0.0/8", false),
        ("[::1]", "::1", true),
        ("[::1]", "[::1]", true),
        ("[::1]", "::/64", true),
        ("[::1]", "[::]/64", true),
        ("[::1]", "0:0:0:0:0:0:0:1", true),
        ("[::1]", "::1/129", false),
        ("[::1]", "::2/126", true),
        ("[::1]", "::2/127", false),
        ("[::1]", "127.0.0.0/8", false),
        ("127.0.0.1", "::/1", false),
    ];

    #[test]
    fn hosts_are_exempt_as_curl_exempts_them() {
        for (host, list, exempt) in HOSTS {
            let host = match Host::parse(host).unwrap() {
                // The parser writes names in lower case and keeps a dot behind them.
                Host::Domain(_) => Host::Domain(*host),
                Host::Ipv4(ip) => Host::Ipv4(ip),
                Host::Ipv6(ip) => Host::Ipv6(ip),
            };
            assert_eq!(
                NoProxy::new(list).exempts(&host),
                *exempt,
                "{host} {list:?}"
            );
        }
    }
}
