//! What lists of allowed and denied prefixes say about addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{IPV4, IPV6};

/// What the prefixes say about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// None holds it.
    No,
    /// One that is allowed decides.
    Allowed {
        /// It holds this address alone.
        exactly: bool,
    },
    /// This one decides, which is denied.
    Denied(IpNet),
}

impl Listed {
    /// The longest prefix that holds `ip` decides; a tie is denied.
    pub fn find(allow: &[IpNet], deny: &[IpNet], ip: IpAddr) -> Self {
        let longest = |prefixes: &[IpNet]| {
            let within = prefixes.iter().filter(|prefix| prefix.contains(&ip));
            within.copied().max_by_key(IpNet::prefix_len)
        };
        match (longest(allow), longest(deny)) {
            (Some(allow), Some(deny)) if deny.prefix_len() >= allow.prefix_len() => {
                Self::Denied(deny)
            }
            (Some(allow), _) => Self::Allowed {
                exactly: allow.prefix_len() == allow.max_prefix_len(),
            },
            (None, Some(deny)) => Self::Denied(deny),
            (None, None) => Self::No,
        }
    }
}

/// Whether every address of a prefix is one that others are [kept from](super::AddressKind::is_guarded), as far as one range of the
/// registries holds all of them.
pub fn are_guarded(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(prefix) => IPV4.iter().any(|(row, length, kind)| {
            let row = Ipv4Net::new(Ipv4Addr::from(*row), *length as u8);
            kind.is_guarded() && row.is_ok_and(|row| row.contains(&prefix))
        }),
        IpNet::V6(prefix) => IPV6.iter().any(|(row, length, kind)| {
            let row = Ipv6Net::new(Ipv6Addr::from(*row), *length as u8);
            kind.is_guarded() && row.is_ok_and(|row| row.contains(&prefix))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_guarded_if_all_of_it_is() {
        for (prefix, guarded) in [
            ("127.0.0.0/8", true),
            ("169.254.169.254/32", true),
            ("224.0.0.0/4", true),
            ("fe80::/64", true),
            ("::1/128", true),
            ("126.0.0.0/7", false),
            ("10.0.0.0/8", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("fd00::/8", false),
        ] {
            assert_eq!(are_guarded(prefix.parse().unwrap()), guarded, "{prefix}");
        }
    }
}
