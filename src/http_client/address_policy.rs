//! Where a URL may lead that a server named, and not the operator.
//!
//! Without this the owner of an issuer could have our secret, or the token of another API that one of
//! our own listeners injects, sent to any address that this machine can reach.

use std::net::SocketAddr;

use url::Url;

use crate::address::AddressKind;
use crate::host::canonical_host_of;
use crate::upstream::{AddressCheck, ForbiddenAddress};

/// Judges the addresses of one URL that a discovery document named.
#[derive(Debug)]
pub struct AddressPolicy {
    /// What the address was that the document came from.
    issuer: AddressKind,
    /// How `discovery_hosts` lists the host of the URL, if it does.
    listed: ListedAs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListedAs {
    No,
    /// By a name: it may be in this network.
    Name,
    /// By its very address, or as `localhost`: it may be exactly there.
    Address,
}

impl AddressPolicy {
    /// For `url`, which was named by a document that came from `issuer`. `hosts` are those that
    /// `discovery_hosts` lists.
    pub fn new(issuer: Option<SocketAddr>, url: &Url, hosts: &[String]) -> Self {
        let host = canonical_host_of(url);
        let listed = if !hosts.iter().any(|listed| *listed == host) {
            ListedAs::No
        } else if matches!(url.host(), Some(url::Host::Domain(_))) && host != "localhost" {
            ListedAs::Name
        } else {
            ListedAs::Address
        };
        Self {
            // An issuer whose address is not known counts as a public one: that allows least.
            issuer: issuer.map_or(AddressKind::Public, |address| AddressKind::of(address.ip())),
            listed,
        }
    }

    /// Whether `discovery_hosts` lists the host of the URL.
    pub fn is_listed(&self) -> bool {
        self.listed != ListedAs::No
    }

    /// Whether both allow the same addresses.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.issuer, self.listed) == (other.issuer, other.listed)
    }

    /// The reason why the server may not be at `address`, in words that follow the address.
    fn reason_against(&self, address: SocketAddr) -> Result<(), String> {
        let kind = AddressKind::of(address.ip());
        let allowed = match self.listed {
            _ if kind == AddressKind::Public || kind == self.issuer => true,
            ListedAs::No => false,
            ListedAs::Name => matches!(kind, AddressKind::Private | AddressKind::Special),
            ListedAs::Address => true,
        };
        if allowed {
            return Ok(());
        }
        let help = match (kind, self.listed) {
            (AddressKind::Private | AddressKind::Special, _) => "discovery_hosts can name the host",
            (_, ListedAs::Name) => {
                "a name in discovery_hosts stands for private addresses alone; it can name this address"
            }
            _ => "discovery_hosts can name this address",
        };
        Err(format!(
            "is a {kind} address, but the issuer that named it is at a {} one; {help}",
            self.issuer
        ))
    }
}

impl AddressCheck for AddressPolicy {
    fn judge(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let judged = self.reason_against(address);
        judged.map_err(|reason| ForbiddenAddress {
            reason,
            rule: "that a discovered endpoint is where its issuer is, unless discovery_hosts names it",
        })
    }

    fn rule_for_none(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 4] = ["sso.corp.example", "localhost", "127.0.0.7", "[fd00::7]"];

    fn judge(issuer: &str, url: &str, address: &str) -> Result<(), String> {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 443);
        let hosts = HOSTS.map(str::to_owned);
        let url = url.parse().unwrap();
        AddressPolicy::new(Some(at(issuer)), &url, &hosts).reason_against(at(address))
    }

    #[test]
    fn an_issuer_leads_to_public_addresses_and_to_those_of_its_own_kind() {
        let kinds = [
            "1.1.1.1",
            "10.0.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "198.18.0.1",
        ];
        for issuer in kinds {
            for address in kinds {
                let judged = judge(issuer, "https://as.example/t", address);
                let expected = address == "1.1.1.1" || issuer == address;
                assert_eq!(judged.is_ok(), expected, "{issuer} {address} {judged:?}");
            }
        }
        for disguised in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:101:101::80ff:fffe",
            "0.0.0.0",
            "::",
            "fd00:ec2::254",
        ] {
            let judged = judge("1.1.1.1", "https://as.example/t", disguised);
            assert!(judged.is_err(), "{disguised}");
        }
    }

    #[test]
    fn a_name_in_discovery_hosts_may_be_in_this_network_and_an_address_where_it_is() {
        for (url, address, expected) in [
            ("https://sso.corp.example/t", "10.0.0.1", true),
            ("https://sso.corp.example./t", "fd00::1", true),
            ("https://sso.corp.example/t", "169.254.169.254", false),
            ("https://sso.corp.example/t", "127.0.0.1", false),
            ("https://other.corp.example/t", "10.0.0.1", false),
            ("https://127.0.0.7/t", "127.0.0.7", true),
            ("https://localhost/t", "127.0.0.1", true),
            ("https://[fd00::7]/t", "fd00::7", true),
            ("https://[::ffff:127.0.0.7]/t", "127.0.0.7", true),
            ("https://[::ffff:127.0.0.8]/t", "127.0.0.8", false),
            ("https://127.0.0.8/t", "127.0.0.8", false),
        ] {
            let judged = judge("1.1.1.1", url, address);
            assert_eq!(judged.is_ok(), expected, "{url} {address} {judged:?}");
        }
    }

    #[test]
    fn an_issuer_whose_address_is_not_known_is_taken_for_a_public_one() {
        let url = "https://as.example/t".parse().unwrap();
        let policy = AddressPolicy::new(None, &url, &[]);
        let why = policy
            .reason_against(([10, 0, 0, 1], 443).into())
            .unwrap_err();
        assert!(why.ends_with("discovery_hosts can name the host"), "{why}");
        policy.reason_against(([1, 1, 1, 1], 443).into()).unwrap();
    }
}
