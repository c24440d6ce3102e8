//! The nftables table that redirects connections.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::arguments::{Exclusion, PortRange, PrintArguments};

/// Where connections are never redirected: this machine, its links, and the metadata services of clouds, which tell by the
/// sender who it is.
const LEFT_ALONE: [&str; 8] = [
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::254/128",
];

/// The port of HTTP/3, which goes over UDP.
const QUIC: u16 = 443;

/// The table, as a file of `nft`. It stands by itself, and what is loaded again replaces what was loaded before.
pub(super) struct RedirectTable {
    to: u16,
    uid: u32,
    ports: Vec<PortRange>,
    ipv4: Vec<IpNet>,
    ipv6: Vec<IpNet>,
}

impl RedirectTable {
    /// What these arguments ask for.
    ///
    /// # Errors
    /// No port is left.
    pub(super) fn new(arguments: &PrintArguments) -> Result<Self, String> {
        let mut ports = arguments.ports.clone();
        let mut prefixes: Vec<IpNet> = LEFT_ALONE.iter().filter_map(|it| it.parse().ok()).collect();
        for exclusion in &arguments.exclude {
            match exclusion {
                Exclusion::Addresses(prefix) => prefixes.push(*prefix),
                Exclusion::Ports(excluded) => {
                    ports = ports
                        .iter()
                        .flat_map(|range| without(*range, *excluded))
                        .collect();
                }
            }
        }
        if ports.is_empty() {
            return Err("--exclude leaves none of --ports".to_owned());
        }
        // The sets of nft take no prefix that another one holds.
        let prefixes = IpNet::aggregate(&prefixes);
        let is_ipv4 = |prefix: &IpNet| prefix.addr().is_ipv4();
        let (ipv4, ipv6) = prefixes.into_iter().partition(is_ipv4);
        Ok(Self {
            to: arguments.to,
            uid: arguments.uid,
            ports: merged(ports),
            ipv4,
            ipv6,
        })
    }

    /// Whether clients that would use QUIC on the port of https have to leave it.
    fn rejects_quic(&self) -> bool {
        let has = |range: &PortRange| (range.first..=range.last).contains(&QUIC);
        self.ports.iter().any(has)
    }

    /// What every chain leaves alone.
    fn write_exclusions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\t\tmeta skuid {} accept", self.uid)?;
        writeln!(f, "\t\toifname \"lo\" accept")?;
        writeln!(f, "\t\tip daddr {} accept", set(&self.ipv4))?;
        writeln!(f, "\t\tip6 daddr {} accept", set(&self.ipv6))
    }
}

impl fmt::Display for RedirectTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, uid, ports, .. } = self;
        let ports = set(ports);
        writeln!(
            f,
            "# Redirects TCP connections of this machine to port {to} of its loopback addresses, but for those of user {uid}."
        )?;
        writeln!(
            f,
            "# To load it, in place of what it has loaded before: nft -f FILE"
        )?;
        writeln!(f, "# To remove it: nft delete table inet sidebearer")?;
        writeln!(f, "table inet sidebearer")?;
        writeln!(f, "delete table inet sidebearer")?;
        writeln!(f)?;
        writeln!(f, "table inet sidebearer {{")?;
        writeln!(f, "\tchain redirect_tcp {{")?;
        writeln!(f, "\t\ttype nat hook output priority -100; policy accept;")?;
        self.write_exclusions(f)?;
        writeln!(f, "\t\ttcp dport {ports} redirect to :{to}")?;
        writeln!(f, "\t}}")?;
        if self.rejects_quic() {
            writeln!(f)?;
            writeln!(f, "\t# Clients of QUIC go on over TCP.")?;
            writeln!(f, "\tchain reject_quic {{")?;
            writeln!(f, "\t\ttype filter hook output priority 0; policy accept;")?;
            self.write_exclusions(f)?;
            writeln!(f, "\t\tudp dport {QUIC} reject")?;
            writeln!(f, "\t}}")?;
        }
        write!(f, "}}")
    }
}

/// A set of nft.
fn set(elements: &[impl NftElement]) -> String {
    let elements: Vec<_> = elements.iter().map(NftElement::written).collect();
    format!("{{ {} }}", elements.join(", "))
}

/// What a set of nft holds.
trait NftElement {
    fn written(&self) -> String;
}

impl NftElement for PortRange {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl NftElement for IpNet {
    fn written(&self) -> String {
        if self.prefix_len() == self.max_prefix_len() {
            let ip: IpAddr = self.addr();
            ip.to_string()
        } else {
            self.to_string()
        }
    }
}

/// What is left of a range of ports.
fn without(range: PortRange, excluded: PortRange) -> impl Iterator<Item = PortRange> {
    let below = PortRange {
        last: range.last.min(excluded.first - 1),
        ..range
    };
    let above = PortRange {
        first: range.first.max(excluded.last.saturating_add(1)),
        ..range
    };
    let above = (excluded.last < u16::MAX).then_some(above);
    let parts = [Some(below), above].into_iter().flatten();
    parts.filter(|part| part.first <= part.last && part.first > 0)
}

/// The same ports in ranges that neither overlap nor touch, in their order.
fn merged(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first <= last.last => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use insta::assert_snapshot;

    use super::*;
    use crate::cli::redirect::RedirectCommand;
    use crate::cli::{Cli, Command};

    fn arguments(text: &str) -> Result<PrintArguments, String> {
        let words = ["sidebearer", "redirect", "print"].into_iter();
        let cli = Cli::try_parse_from(words.chain(text.split(' ')));
        match cli.map_err(|error| error.to_string())?.command {
            Command::Redirect {
                command: RedirectCommand::Print(arguments),
            } => Ok(arguments),
            other => Err(format!("{other:?}")),
        }
    }

    fn table(text: &str) -> Result<String, String> {
        Ok(RedirectTable::new(&arguments(text)?)?.to_string())
    }

    #[test]
    fn the_usual_table_redirects_the_ports_of_http_and_rejects_quic() {
        assert_snapshot!(table("--to 15001 --ports 80,443 --uid 64201").unwrap(), @r#"
        # Redirects TCP connections of this machine to port 15001 of its loopback addresses, but for those of user 64201.
        # To load it, in place of what it has loaded before: nft -f FILE
        # To remove it: nft delete table inet sidebearer
        table inet sidebearer
        delete table inet sidebearer

        table inet sidebearer {
        	chain redirect_tcp {
        		type nat hook output priority -100; policy accept;
        		meta skuid 64201 accept
        		oifname "lo" accept
        		ip daddr { 100.100.100.200, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, 192.0.0.192 } accept
        		ip6 daddr { ::1, fd00:ec2::254, fe80::/10 } accept
        		tcp dport { 80, 443 } redirect to :15001
        	}

        	# Clients of QUIC go on over TCP.
        	chain reject_quic {
        		type filter hook output priority 0; policy accept;
        		meta skuid 64201 accept
        		oifname "lo" accept
        		ip daddr { 100.100.100.200, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, 192.0.0.192 } accept
        		ip6 daddr { ::1, fd00:ec2::254, fe80::/10 } accept
        		udp dport 443 reject
        	}
        }
        "#);
    }

    #[test]
    fn what_is_excluded_is_in_no_set_twice() {
        let exclude =
            "10.0.0.0/8,10.1.0.0/16,127.1.2.3,2001:db8::1,2001:db8::/32,192.168.1.7/24,8080";
        let text = format!(
            "--to 15001 --ports 8000-8099,80,8050-8200 --uid 1000 --exclude {exclude} --exclude 8199"
        );
        assert_snapshot!(table(&text).unwrap(), @r#"
        # Redirects TCP connections of this machine to port 15001 of its loopback addresses, but for those of user 1000.
        # To load it, in place of what it has loaded before: nft -f FILE
        # To remove it: nft delete table inet sidebearer
        table inet sidebearer
        delete table inet sidebearer

        table inet sidebearer {
        	chain redirect_tcp {
        		type nat hook output priority -100; policy accept;
        		meta skuid 1000 accept
        		oifname "lo" accept
        		ip daddr { 10.0.0.0/8, 100.100.100.200, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, 192.0.0.192, 192.168.1.0/24 } accept
        		ip6 daddr { ::1, 2001:db8::/32, fd00:ec2::254, fe80::/10 } accept
        		tcp dport { 80, 8000-8079, 8081-8198, 8200 } redirect to :15001
        	}
        }
        "#);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, said) in [
            ("--to 0 --uid 1", "0 is not in 1..=65535"),
            ("--to 15001", "--uid <UID>"),
            ("--uid 1", "--to <PORT>"),
            ("--to 1 --uid root", "invalid digit"),
            ("--to 1 --uid 4294967295", "4294967295 is not in"),
            (
                "--to 1 --uid 1 --ports 0",
                "expected a port from 1 to 65535",
            ),
            (
                "--to 1 --uid 1 --ports 9-8",
                "expected a port from 1 to 65535",
            ),
            (
                "--to 1 --uid 1 --ports https",
                "expected a port from 1 to 65535",
            ),
            (
                "--to 1 --uid 1 --exclude 10.0.0.0/33",
                "expected an address, a prefix",
            ),
            (
                "--to 1 --uid 1 --exclude crm.example.com",
                "expected an address, a prefix",
            ),
            (
                "--to 1 --uid 1 --exclude 443,80",
                "--exclude leaves none of --ports",
            ),
        ] {
            let refused = table(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_left_of_ranges_is_right_at_their_ends() {
        let range = |first, last| PortRange { first, last };
        let left = |a: PortRange, b: PortRange| without(a, b).collect::<Vec<_>>();
        assert_eq!(left(range(1, 65535), range(1, 65535)), []);
        assert_eq!(left(range(1, 65535), range(1, 1)), [range(2, 65535)]);
        assert_eq!(
            left(range(1, 65535), range(65535, 65535)),
            [range(1, 65534)]
        );
        assert_eq!(
            left(range(10, 20), range(15, 15)),
            [range(10, 14), range(16, 20)]
        );
        assert_eq!(left(range(10, 20), range(30, 40)), [range(10, 20)]);
        assert_eq!(left(range(10, 20), range(1, 5)), [range(10, 20)]);
    }
}
