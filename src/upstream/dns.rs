//! From a host to the addresses to dial.

use std::io;
use std::net::{IpAddr, SocketAddr};

use url::Host;

/// The addresses of `host`, families alternating (RFC 8305 section 4).
///
/// Names go through the system's resolver, so that `/etc/hosts` and `nsswitch.conf` count.
pub(super) async fn resolve(host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = match host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::from((*ip, port))]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::from((*ip, port))]),
        Host::Domain(name) => tokio::net::lookup_host((name.as_str(), port)).await?,
    };
    let addresses = interleave(found.filter(|found| may_be(host, found.ip())));
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no usable address"));
    }
    Ok(addresses)
}

/// Plain HTTP is allowed to `localhost`, so that name must not lead off the machine, whatever a
/// resolver says (RFC 6761 section 6.3).
fn may_be(host: &Host, ip: IpAddr) -> bool {
    let local = |name: &str| name.trim_end_matches('.') == "localhost";
    !matches!(host, Host::Domain(name) if local(name)) || ip.is_loopback()
}

/// Alternates the families, beginning with the one the resolver put first; keeps its order within
/// each.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let first_is_v4 = addresses.peek().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.partition(|a| a.is_ipv4() == first_is_v4);
    let mut second = second.into_iter();
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(addresses: &[&str]) -> Vec<String> {
        let parsed = addresses.iter().map(|a| a.parse().unwrap());
        interleave(parsed).iter().map(|a| a.to_string()).collect()
    }

    #[test]
    fn families_alternate_and_the_resolvers_first_stays_first() {
        assert_eq!(
            mixed(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]
        );
        assert_eq!(
            mixed(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
            ["1.1.1.1:1", "[::1]:1", "[::2]:1"]
        );
        assert_eq!(mixed(&["1.1.1.1:1"]), ["1.1.1.1:1"]);
        assert!(mixed(&[]).is_empty());
    }

    #[test]
    fn localhost_never_leads_off_the_machine() {
        for name in ["localhost", "localhost."] {
            let localhost = Host::Domain(name.to_owned());
            assert!(may_be(&localhost, [127, 0, 0, 1].into()));
            assert!(!may_be(&localhost, [192, 0, 2, 1].into()));
        }
        let other = Host::Domain("api.example.com".to_owned());
        assert!(may_be(&other, [192, 0, 2, 1].into()));
    }

    #[tokio::test]
    async fn literals_need_no_resolver() {
        let found = resolve(&Host::Ipv6("::1".parse().unwrap()), 443).await;
        assert_eq!(found.unwrap(), ["[::1]:443".parse().unwrap()]);
    }
}
