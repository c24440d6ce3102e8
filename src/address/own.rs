//! The sockets of this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use arc_swap::ArcSwap;

/// The TCP addresses where this process listens. A connection to one of them would be served, and
/// given a token, as a client's.
#[derive(Debug, Default)]
pub struct OwnSockets(ArcSwap<Vec<SocketAddr>>);

impl OwnSockets {
    /// From now on these are the ones.
    pub fn set(&self, sockets: impl IntoIterator<Item = SocketAddr>) {
        self.0.store(sockets.into_iter().collect::<Vec<_>>().into());
    }

    /// Whether a connection to `address` would reach one of them.
    pub fn contain(&self, address: SocketAddr) -> bool {
        let ip = canonical(address.ip());
        self.0.load().iter().any(|own| {
            let all = own.ip().to_canonical().is_unspecified();
            own.port() == address.port()
                && (canonical(own.ip()) == ip || (all && is_of_this_machine(ip)))
        })
    }
}

/// Without the forms that the system takes for another address.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The system talks to an address of its own from that very address. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_loopback() || from().is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(own: &str, address: &str) -> bool {
        let sockets = OwnSockets::default();
        sockets.set([own.parse().unwrap()]);
        sockets.contain(address.parse().unwrap())
    }

    #[test]
    fn a_socket_is_known_by_every_address_that_leads_to_it() {
        for (own, address) in [
            ("127.0.0.1:7080", "127.0.0.1:7080"),
            ("127.0.0.1:7080", "[::ffff:127.0.0.1]:7080"),
            ("127.0.0.1:7080", "0.0.0.0:7080"),
            ("[::1]:7080", "[::]:7080"),
            ("0.0.0.0:7080", "127.0.0.1:7080"),
            ("0.0.0.0:7080", "127.9.9.9:7080"),
            ("[::]:7080", "127.0.0.1:7080"),
            ("[::]:7080", "[::1]:7080"),
        ] {
            assert!(contain(own, address), "{own} {address}");
        }
        for (own, address) in [
            ("127.0.0.1:7080", "127.0.0.1:7081"),
            ("127.0.0.1:7080", "127.0.0.2:7080"),
            ("0.0.0.0:7080", "192.0.2.1:7080"),
            ("0.0.0.0:7080", "[2001:db8::1]:7080"),
        ] {
            assert!(!contain(own, address), "{own} {address}");
        }
        assert!(!OwnSockets::default().contain(([127, 0, 0, 1], 80).into()));
    }

    #[test]
    fn the_last_set_counts() {
        let sockets = OwnSockets::default();
        let [one, two] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        sockets.set([one]);
        sockets.set([two]);
        assert!(!sockets.contain(one));
        assert!(sockets.contain(two));
    }
}
