//! Rules by address: the longest prefix decides, and where none does, what kind of address it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::address::{self, AddressKind, Listed};
use crate::config::{Egress, EgressAddresses};

/// Who can reach the listener that a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Processes of this machine.
    Machine,
    /// Other machines.
    Network,
    /// Nobody by its address: the system redirects connections of this machine to it.
    Redirected,
}

/// Which addresses may be dialled for what no route leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressRules {
    addresses: EgressAddresses,
    /// The same for redirected listeners.
    redirected: EgressAddresses,
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// Why an address may not be dialled. Shown as words that follow the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRefusal {
    /// The address that the dialled one embeds, if that was judged.
    embedded: Option<Ipv4Addr>,
    rule: AddressRule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AddressRule {
    Denied(IpNet),
    NotPublic(AddressKind),
    OnlyExact(AddressKind),
}

impl AddressRules {
    /// The rules of `[egress]`.
    pub fn new(egress: &Egress) -> Self {
        Self {
            addresses: egress.addresses,
            redirected: egress.redirected.addresses,
            allow: egress.allow.clone(),
            deny: egress.deny.clone(),
        }
    }

    /// Whether `ip` may be dialled for a request of a listener with this reach. An address that embeds IPv4
    /// addresses may if each of them may, and no prefix denies it as it stands.
    ///
    /// # Errors
    /// Which rule forbids it.
    pub fn judge(&self, ip: IpAddr, reach: Reach) -> Result<(), AddressRefusal> {
        let refused = |embedded| move |rule| AddressRefusal { embedded, rule };
        let embedding = match ip {
            IpAddr::V6(ip) if address::embeds_ipv4(ip) => ip,
            _ => return self.judge_plain(ip, reach).map_err(refused(None)),
        };
        if let Listed::Denied(prefix) = self.listed(ip) {
            return Err(refused(None)(AddressRule::Denied(prefix)));
        }
        for ip in address::embedded(embedding) {
            let judged = self.judge_plain(ip.into(), reach);
            judged.map_err(refused(Some(ip)))?;
        }
        Ok(())
    }

    /// The rule that is given for a name without any address: what has no address has no public one. Who asks
    /// cannot tell it from a name of this network.
    pub fn rule_for_none(&self) -> Option<&'static str> {
        (self.addresses == EgressAddresses::Public).then_some(PUBLIC_ONLY)
    }

    fn judge_plain(&self, ip: IpAddr, reach: Reach) -> Result<(), AddressRule> {
        let (listed, kind) = (self.listed(ip), AddressKind::of(ip));
        if let Listed::Denied(prefix) = listed {
            return Err(AddressRule::Denied(prefix));
        }
        let addresses = if reach == Reach::Redirected {
            self.redirected
        } else {
            self.addresses
        };
        let only_public = addresses == EgressAddresses::Public;
        if listed == Listed::No && only_public && kind != AddressKind::Public {
            return Err(AddressRule::NotPublic(kind));
        }
        let exactly = listed == Listed::Allowed { exactly: true };
        if reach == Reach::Network && kind.is_guarded() && !exactly {
            return Err(AddressRule::OnlyExact(kind));
        }
        Ok(())
    }

    fn listed(&self, ip: IpAddr) -> Listed {
        Listed::find(&self.allow, &self.deny, ip)
    }
}

impl AddressRefusal {
    /// The rule for the client: it tells nothing of the address, which the client may not know.
    pub fn rule(&self) -> &'static str {
        match self.rule {
            AddressRule::Denied(_) => "`deny` of [egress]",
            AddressRule::NotPublic(_) => PUBLIC_ONLY,
            AddressRule::OnlyExact(_) => {
                "that a listener on the network leads to no address of its own machine, link or group unless `allow` \
                 of [egress] names it exactly"
            }
        }
    }
}

/// The rule that only public addresses are dialled.
pub const PUBLIC_ONLY: &str = "`addresses = \"public\"` of [egress]";

impl fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.embedded {
            write!(f, "stands for {ip}, which ")?;
        }
        match &self.rule {
            AddressRule::Denied(prefix) => {
                write!(f, "is denied by {prefix} in `deny` of [egress]")
            }
            AddressRule::NotPublic(kind) => {
                write!(
                    f,
                    "is a {kind} address, and {PUBLIC_ONLY} lets no other pass"
                )
            }
            AddressRule::OnlyExact(kind) => write!(
                f,
                "is a {kind} address: a listener on the network leads there only if `allow` of [egress] names it exactly"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EgressAddresses::{Any, Public};

    fn rules(addresses: EgressAddresses, allow: &[&str], deny: &[&str]) -> AddressRules {
        let prefix = |text: &&str| match text.parse::<IpAddr>() {
            Ok(ip) => ip.into(),
            Err(_) => text.parse().unwrap(),
        };
        AddressRules {
            addresses,
            redirected: addresses,
            allow: allow.iter().map(prefix).collect(),
            deny: deny.iter().map(prefix).collect(),
        }
    }

    fn judge(rules: &AddressRules, ip: &str, reach: Reach) -> Result<(), String> {
        let judged = rules.judge(ip.parse().unwrap(), reach);
        judged.map_err(|refusal| format!("{ip} {refusal}"))
    }

    const NOT_PUBLIC: [&str; 24] = [
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::1",
        "2001:0:101:101::80ff:fffe",
    ];

    #[test]
    fn only_public_addresses_pass_unless_others_are_allowed() {
        for reach in [Reach::Machine, Reach::Network] {
            let public = rules(Public, &[], &[]);
            for ip in NOT_PUBLIC {
                let refused = public.judge(ip.parse().unwrap(), reach).unwrap_err();
                assert_eq!(refused.rule(), PUBLIC_ONLY, "{ip}");
            }
            for ip in [
                "1.1.1.1",
                "2606:4700::1111",
                "64:ff9b::1.1.1.1",
                "::ffff:1.1.1.1",
            ] {
                judge(&public, ip, reach).unwrap();
            }
        }
        let any = rules(Any, &[], &[]);
        for ip in NOT_PUBLIC {
            judge(&any, ip, Reach::Machine).unwrap();
        }
    }

    #[test]
    fn a_listener_on_the_network_leads_to_guarded_addresses_only_if_they_are_named_exactly() {
        let wide = ["0.0.0.0/0", "::/0", "fe80::1/127"];
        for rules in [rules(Any, &[], &[]), rules(Public, &wide, &[])] {
            for ip in [
                "10.0.0.1",
                "192.168.1.1",
                "198.18.0.1",
                "fd00::1",
                "64:ff9b::10.0.0.1",
            ] {
                judge(&rules, ip, Reach::Network).unwrap();
            }
            for ip in [
                "127.0.0.1",
                "127.9.9.9",
                "0.0.0.0",
                "169.254.169.254",
                "168.63.129.16",
                "100.100.100.200",
                "192.0.0.192",
                "224.0.0.1",
                "::",
                "::1",
                "fe80::1",
                "ff02::1",
                "fd00:ec2::254",
                "::ffff:127.0.0.1",
                "64:ff9b::127.0.0.1",
                "2002:a9fe:a9fe::1",
            ] {
                let refused = judge(&rules, ip, Reach::Network).unwrap_err();
                assert!(refused.contains("names it exactly"), "{refused}");
                judge(&rules, ip, Reach::Machine).unwrap();
            }
        }
        let exact = rules(Public, &["127.0.0.7", "fd00:ec2::254"], &[]);
        for ip in [
            "127.0.0.7",
            "fd00:ec2::254",
            "::ffff:127.0.0.7",
            "64:ff9b::127.0.0.7",
        ] {
            judge(&exact, ip, Reach::Network).unwrap();
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_a_tie_is_denied() {
        let rules = rules(
            Public,
            &[
                "10.20.0.0/16",
                "10.20.30.40",
                "2001:db8::/32",
                "::/0",
                "192.0.2.0/24",
            ],
            &[
                "10.20.30.0/24",
                "1.1.1.0/24",
                "2001:db8::/32",
                "64:ff9b::/96",
                "192.0.2.0/24",
            ],
        );
        for (ip, denied_by) in [
            ("10.20.0.1", None),
            ("10.20.30.40", None),
            ("::ffff:10.20.0.1", None),
            ("fd00::1", None),
            ("10.20.30.1", Some("10.20.30.0/24")),
            ("::ffff:10.20.30.1", Some("10.20.30.0/24")),
            ("1.1.1.1", Some("1.1.1.0/24")),
            ("2002:101:101::1", Some("1.1.1.0/24")),
            ("2001:db8::1", Some("2001:db8::/32")),
            ("192.0.2.1", Some("192.0.2.0/24")),
            // As it stands, though what it embeds may pass.
            ("64:ff9b::8.8.8.8", Some("64:ff9b::/96")),
        ] {
            let judged = judge(&rules, ip, Reach::Machine);
            match denied_by {
                None => judged.unwrap(),
                Some(prefix) => assert!(judged.unwrap_err().contains(prefix), "{ip}"),
            }
        }
        // A prefix of IPv6 allows nothing that stands for an IPv4 address.
        for ip in ["64:ff9b:1::10.9.9.9", "2002:a09:909::1", "::ffff:10.9.9.9"] {
            let refused = judge(&rules, ip, Reach::Machine).unwrap_err();
            assert!(refused.contains("stands for 10.9.9.9"), "{refused}");
        }
    }
}
