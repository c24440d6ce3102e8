//! Who can be at an IP address, and which addresses are sockets of this process.
//!
//! Apart from `own`, this is all pure: nothing is resolved and nothing is dialled here.

mod listed;
mod own;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use listed::{Listed, are_guarded};
pub use own::OwnSockets;

/// Who can be at an IP address, by the special-purpose registries of the IANA (RFC 6890).
///
/// In this order each is more dangerous to let others lead to than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    /// Anyone on the Internet: the address is globally reachable.
    Public,
    /// Nobody in particular: documentation, benchmarks, reserved addresses.
    Special,
    /// Someone in the same network: RFC 1918, RFC 6598, unique local addresses.
    Private,
    /// A group.
    Multicast,
    /// Someone on the same link, or a metadata service of a cloud, wherever its address lies.
    LinkLocal,
    /// This machine, the unspecified address included.
    Loopback,
}

/// Metadata services outside of the link-local ranges. They give away what a machine may do.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// The first row that holds the address counts: ranges within ranges come first.
const IPV4: [([u8; 4], u32, AddressKind); 20] = [
    // "This network": the system takes 0.0.0.0 for this machine.
    ([0, 0, 0, 0], 8, AddressKind::Loopback),
    ([10, 0, 0, 0], 8, AddressKind::Private),
    ([100, 64, 0, 0], 10, AddressKind::Private),
    ([127, 0, 0, 0], 8, AddressKind::Loopback),
    ([169, 254, 0, 0], 16, AddressKind::LinkLocal),
    ([172, 16, 0, 0], 12, AddressKind::Private),
    // PCP and TURN anycast are global within a range that is not.
    ([192, 0, 0, 9], 32, AddressKind::Public),
    ([192, 0, 0, 10], 32, AddressKind::Public),
    ([192, 0, 0, 0], 24, AddressKind::Special),
    ([192, 0, 2, 0], 24, AddressKind::Special),
    ([192, 31, 196, 0], 24, AddressKind::Public),
    ([192, 52, 193, 0], 24, AddressKind::Public),
    ([192, 88, 99, 0], 24, AddressKind::Special),
    ([192, 168, 0, 0], 16, AddressKind::Private),
    ([192, 175, 48, 0], 24, AddressKind::Public),
    ([198, 18, 0, 0], 15, AddressKind::Special),
    ([198, 51, 100, 0], 24, AddressKind::Special),
    ([203, 0, 113, 0], 24, AddressKind::Special),
    ([224, 0, 0, 0], 4, AddressKind::Multicast),
    ([240, 0, 0, 0], 4, AddressKind::Special),
];

/// As [`IPV4`], for addresses that embed none. What is not in 2000::/3 has not been given away.
const IPV6: [([u16; 8], u32, AddressKind); 18] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 127, AddressKind::Loopback),
    ([0x0100, 0, 0, 0, 0, 0, 0, 0], 64, AddressKind::Special),
    ([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, AddressKind::Public),
    ([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, AddressKind::Public),
    ([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, AddressKind::Public),
    ([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, AddressKind::Public),
    ([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, AddressKind::Public),
    ([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, AddressKind::Public),
    ([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, AddressKind::Public),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, AddressKind::Special),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, AddressKind::Special),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, AddressKind::Special),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, AddressKind::Private),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, AddressKind::LinkLocal),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, AddressKind::Private),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, AddressKind::Multicast),
    ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, AddressKind::Public),
    ([0, 0, 0, 0, 0, 0, 0, 0], 0, AddressKind::Special),
];

impl AddressKind {
    /// The kind of `ip`; of the IPv4 address that it embeds, if it embeds one. Where several may be
    /// embedded, the most dangerous one decides.
    pub fn of(ip: IpAddr) -> Self {
        if METADATA.contains(&ip) {
            return Self::LinkLocal;
        }
        match ip {
            IpAddr::V4(ip) => row(&IPV4, ip.to_bits().into(), 32, |net| {
                Ipv4Addr::from(net).to_bits().into()
            }),
            IpAddr::V6(ip) => {
                let kinds = embedded(ip).map(|ip| Self::of(IpAddr::V4(ip)));
                kinds.max().unwrap_or_else(|| {
                    row(&IPV6, ip.to_bits(), 128, |net| {
                        Ipv6Addr::from(net).to_bits()
                    })
                })
            }
        }
    }
}

impl AddressKind {
    /// Whether others are kept from addresses of this kind that no prefix names exactly.
    pub fn is_guarded(self) -> bool {
        matches!(self, Self::Multicast | Self::LinkLocal | Self::Loopback)
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Multicast => "multicast",
            Self::LinkLocal => "link-local or metadata",
            Self::Loopback => "loopback",
            Self::Special => "special-purpose",
        })
    }
}

fn row<N: Copy>(
    rows: &[(N, u32, AddressKind)],
    ip: u128,
    bits: u32,
    number: impl Fn(N) -> u128,
) -> AddressKind {
    let within = |(net, length, _): &&(N, u32, AddressKind)| {
        let host = bits - length;
        (ip ^ number(*net)).checked_shr(host).unwrap_or(0) == 0
    };
    let found = rows.iter().find(within);
    found.map_or(AddressKind::Public, |(_, _, kind)| *kind)
}

/// Whether `ip` stands for an IPv4 address.
pub fn embeds_ipv4(ip: Ipv6Addr) -> bool {
    embedded(ip).next().is_some()
}

/// The IPv4 addresses that `ip` may stand for.
pub fn embedded(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = ip.to_bits();
    let last = bits as u32;
    let found: [Option<u32>; 4] = match ip.segments() {
        // ::1 and :: are this machine, not 0.0.0.1.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 4],
        // Compatible (RFC 4291 section 2.5.5.1), mapped (2.5.5.2), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            [Some(last), None, None, None]
        }
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [Some(last), None, None, None],
        // NAT64 of this network (RFC 8215): the length of its prefix is not known here, so that each
        // form counts (RFC 6052 section 2.2). Nothing is sent to 0.0.0.0/8.
        [0x64, 0xff9b, 1, ..] => {
            // This many of its bits stand before the octet at 64 to 71, which is left out.
            let around_u = |before: u32| {
                let [high, low] = [(bits >> 64) as u64, bits as u64];
                (high << (32 - before)) as u32 | ((low << 8) >> (32 + before)) as u32
            };
            let forms = [around_u(16), around_u(8), around_u(0), last];
            forms.map(|form| Some(form).filter(|form| form >> 24 != 0))
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => [Some((bits >> 80) as u32), None, None, None],
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        [0x2001, 0, ..] => [Some((bits >> 64) as u32), Some(!last), None, None],
        _ => [None; 4],
    };
    found.into_iter().flatten().map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(ip: &str) -> AddressKind {
        AddressKind::of(ip.parse().unwrap())
    }

    #[test]
    fn addresses_are_of_the_kind_that_the_registries_say() {
        for (expected, addresses) in [
            (
                AddressKind::Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.0.9",
                    "192.31.196.1",
                    "192.167.255.255",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "2001:4860:4860::8888",
                    "2001:1::1",
                    "2001:200::1",
                    "2600::1",
                    "3ffe::1",
                ][..],
            ),
            (
                AddressKind::Private,
                &[
                    "10.0.0.0",
                    "10.255.255.255",
                    "100.64.0.0",
                    "100.127.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.168.0.1",
                    "fc00::1",
                    "fdff:ffff::1",
                    "fec0::1",
                ],
            ),
            (
                AddressKind::LinkLocal,
                &[
                    "169.254.169.254",
                    "fe80::1",
                    "febf:ffff::1",
                    "fd00:ec2::254",
                    "100.100.100.200",
                    "168.63.129.16",
                    "192.0.0.192",
                ],
            ),
            (
                AddressKind::Loopback,
                &[
                    "127.0.0.1",
                    "127.255.255.255",
                    "0.0.0.0",
                    "0.1.2.3",
                    "::",
                    "::1",
                ],
            ),
            (
                AddressKind::Special,
                &[
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "100::1",
                    "2001:db8::1",
                    "2001:2::1",
                    "3fff::1",
                    "4000::1",
                    "5f00::1",
                    "100:0:0:1::1",
                ],
            ),
            (
                AddressKind::Multicast,
                &[
                    "224.0.0.1",
                    "239.255.255.255",
                    "ff00::1",
                    "ff02::1",
                    "ffff::1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(kind(address), expected, "{address}");
            }
        }
    }

    #[test]
    fn an_embedded_ipv4_address_decides() {
        let forms = |ip: [u8; 4]| {
            let [a, b, c, d] = ip.map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let last = |front: [u16; 6]| {
                let [p, q, r, s, t, u] = front;
                Ipv6Addr::new(p, q, r, s, t, u, high, low)
            };
            [
                last([0, 0, 0, 0, 0, 0]),
                last([0, 0, 0, 0, 0, 0xffff]),
                last([0, 0, 0, 0, 0xffff, 0]),
                last([0x64, 0xff9b, 0, 0, 0, 0]),
                last([0x64, 0xff9b, 1, 0, 0, 0]),
                Ipv6Addr::new(0x64, 0xff9b, 1, high, c, d << 8, 0, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, a, b, c << 8 | d, 0, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, a, b << 8 | c, d << 8, 0),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x101, 0x101, 0, 0, !high, !low),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xfefe, 0xfefe),
            ]
        };
        for (ip, expected) in [
            ([127, 0, 0, 1], AddressKind::Loopback),
            ([10, 1, 2, 3], AddressKind::Private),
            ([169, 254, 169, 254], AddressKind::LinkLocal),
            ([192, 168, 7, 9], AddressKind::Private),
        ] {
            for form in forms(ip) {
                assert_eq!(AddressKind::of(form.into()), expected, "{form}");
            }
        }
        // The length of a local prefix of NAT64 is not known: this may be 10.0.0.0, or 127.0.0.1.
        assert_eq!(kind("64:ff9b:1:a00::7f00:1"), AddressKind::Loopback);
        for form in [
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            assert_eq!(kind(form), AddressKind::Public, "{form}");
        }
    }
}
