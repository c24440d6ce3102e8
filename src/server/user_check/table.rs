//! The tables of TCP sockets that the kernel shows: one line for each.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The addresses of a connection: of the client, and of the listener.
pub(super) type SocketPair = (SocketAddr, SocketAddr);

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `/proc/net/tcp`
    V4,
    /// `/proc/net/tcp6`, where an IPv4 address is mapped: the sockets of many programs are for both.
    V6,
}

/// The users of the clients' sockets, as far as the table has them. A socket that no process holds any more has
/// none: it is shown as one of root.
pub(super) fn owners(
    table: &str,
    family: Family,
    connections: &[SocketPair],
) -> HashMap<SocketPair, u32> {
    let wanted: HashMap<String, SocketPair> = connections
        .iter()
        .filter_map(|ends| Some((shown(family, ends)?, *ends)))
        .collect();
    let found = table.lines().filter_map(|line| {
        let (_, socket) = line.split_once(": ")?;
        let addresses = socket.get(..family.width())?;
        let ends = wanted.get(addresses)?;
        let mut fields = socket[addresses.len()..].split_ascii_whitespace();
        // The state, both queues, the timer, the retransmissions; the user; the timeout; the inode.
        let uid = fields.nth(4)?.parse().ok()?;
        let is_held = fields.nth(1)? != "0";
        is_held.then_some((*ends, uid))
    });
    found.collect()
}

impl Family {
    /// How many characters both addresses take.
    fn width(self) -> usize {
        let address = match self {
            Self::V4 => 8,
            Self::V6 => 32,
        };
        2 * (address + ":0000".len()) + " ".len()
    }
}

/// Both addresses as the line of the client's socket has them; `None` where it cannot be in this table.
fn shown(family: Family, (client, server): &SocketPair) -> Option<String> {
    Some(format!(
        "{} {}",
        shown_address(family, client)?,
        shown_address(family, server)?
    ))
}

/// The address in words of 32 bits, each of which is shown as a number of this machine.
fn shown_address(family: Family, address: &SocketAddr) -> Option<String> {
    let octets = match (family, address.ip()) {
        (Family::V4, ip) => match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(_) => return None,
        },
        (Family::V6, IpAddr::V4(ip)) => ip.to_ipv6_mapped().octets().to_vec(),
        (Family::V6, IpAddr::V6(ip)) => Ipv6Addr::octets(&ip).to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        format!("{word:08X}")
    });
    Some(format!(
        "{}:{:04X}",
        words.collect::<String>(),
        address.port()
    ))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const V4: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 02:000A7B2C 00000000  1001        0 12 2 0000000000000000 20 4 30 10 -1
   2: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 13 1 0000000000000000 20 4 30 10 -1
10003: 0100007F:C002 0100007F:1F90 05 00000000:00000000 00:00000000 00000000  1002        0 14 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:C003 0100007F:1F90 06 00000000:00000000 03:000005D4 00000000     0        0 0 3 0000000000000000
";
    const V6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:C004 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1003        0 15 1 0000000000000000 20 4 30 10 -1
   1: 00000000000000000000000001000000:C005 00000000000000000000000001000000:1F90 01 00000000:00000000 00:00000000 00000000  1004        0 16 1 0000000000000000 20 4 30 10 -1
";

    fn ends(client: &str, server: &str) -> SocketPair {
        (client.parse().unwrap(), server.parse().unwrap())
    }

    /// The user of this socket, if the table has one.
    fn owner(table: &str, family: Family, client: &str, server: &str) -> Option<u32> {
        let connection = ends(client, server);
        owners(table, family, &[connection]).remove(&connection)
    }

    #[test]
    fn the_user_is_that_of_the_clients_end() {
        let server = "127.0.0.1:8080";
        assert_eq!(owner(V4, Family::V4, "127.0.0.1:49153", server), Some(1001));
        // One that sends no more, but still reads.
        assert_eq!(owner(V4, Family::V4, "127.0.0.1:49154", server), Some(1002));
        assert_eq!(owner(V4, Family::V4, "127.0.0.1:49160", server), None);
        assert_eq!(owner(V4, Family::V4, "127.0.0.2:49153", server), None);
        assert_eq!(owner(V4, Family::V4, "[::1]:49153", "[::1]:8080"), None);
    }

    #[test]
    fn a_socket_that_nobody_holds_any_more_is_nobodys() {
        assert_eq!(
            owner(V4, Family::V4, "127.0.0.1:49155", "127.0.0.1:8080"),
            None
        );
    }

    #[test]
    fn a_socket_for_both_families_is_found_by_its_mapped_address() {
        assert_eq!(
            owner(V6, Family::V6, "127.0.0.1:49156", "127.0.0.1:8080"),
            Some(1003)
        );
        assert_eq!(
            owner(V6, Family::V6, "[::1]:49157", "[::1]:8080"),
            Some(1004)
        );
    }

    #[test]
    fn a_broken_line_is_no_socket() {
        for table in [
            "",
            "\n",
            "0: 0100007F:C001 0100007F:1F90",
            "0: 0100007F:C001 0100007F:1F90 01 0 0 0 x 0 12",
            "0: é100007F:C001 0100007F:1F90 01 0 0 0 1 0 12",
        ] {
            assert_eq!(
                owner(table, Family::V4, "127.0.0.1:49153", "127.0.0.1:8080"),
                None
            );
        }
    }
}
