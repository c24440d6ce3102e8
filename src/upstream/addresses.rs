//! What the resolver and the network have said about the addresses of a server.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The server has left an address that every answer of the resolver has lacked for so long. Some
/// resolvers tell only some of many addresses at a time.
const MISSED_FOR: Duration = Duration::from_secs(120);

/// Nothing is known any more of an address that was left so long ago.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The addresses of one server, as far as they are known. Asked and told when connections are made, and
/// now and then between.
#[derive(Debug, Default)]
pub struct Addresses {
    known: Mutex<HashMap<IpAddr, Seen>>,
    version: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was in the last answer, or is connected to.
    There,
    /// Every answer since then has lacked it.
    Missing(Instant),
    /// Known since then that the server has left it.
    Left { since: Instant, refused: bool },
}

impl Addresses {
    /// The resolver has told these.
    pub fn answered(&self, answer: &[SocketAddr], now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        known.retain(|ip, seen| {
            let told = answer.iter().any(|address| address.ip() == *ip);
            let next = match *seen {
                // Whoever answers there again shows it by doing so.
                Seen::Left { since, .. } if now - since > FORGOTTEN_AFTER => {
                    changed = true;
                    return false;
                }
                Seen::Left { refused: true, .. } => *seen,
                _ if told => Seen::There,
                Seen::There => Seen::Missing(now),
                Seen::Missing(since) if now - since >= MISSED_FOR => Seen::Left {
                    since: now,
                    refused: false,
                },
                Seen::Missing(_) | Seen::Left { .. } => *seen,
            };
            changed |= is_left(seen) != is_left(&next);
            *seen = next;
            true
        });
        for address in answer {
            known.entry(address.ip()).or_insert(Seen::There);
        }
        if changed {
            self.version.fetch_add(1, Relaxed);
        }
    }

    /// A connection was made to the one address after the others had failed.
    pub fn connected(&self, to: IpAddr, failed: &[IpAddr], now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = known
            .insert(to, Seen::There)
            .is_some_and(|seen| is_left(&seen));
        for ip in failed.iter().filter(|ip| **ip != to) {
            let left = Seen::Left {
                since: now,
                refused: true,
            };
            // It stays left since it was.
            match known.get(ip) {
                Some(Seen::Left { refused: true, .. }) => {}
                _ => {
                    known.insert(*ip, left);
                    changed = true;
                }
            }
        }
        if changed {
            self.version.fetch_add(1, Relaxed);
        }
    }

    /// A number that is another one when [`left`](Self::left) is.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Those where the server is no longer, and since when that is known.
    pub fn left(&self) -> HashMap<IpAddr, Instant> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let left = known.iter().filter_map(|(ip, seen)| match seen {
            Seen::Left { since, .. } => Some((*ip, *since)),
            _ => None,
        });
        left.collect()
    }
}

fn is_left(seen: &Seen) -> bool {
    matches!(seen, Seen::Left { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn answer(addresses: &[u8]) -> Vec<SocketAddr> {
        let address = |last: &u8| SocketAddr::from((ip(*last), 443));
        addresses.iter().map(address).collect()
    }

    /// What is left after these answers, each this many seconds after the first.
    fn left(answers: &[(u64, &[u8])]) -> Vec<IpAddr> {
        let (addresses, start) = (Addresses::default(), Instant::now());
        for (second, told) in answers {
            addresses.answered(&answer(told), start + Duration::from_secs(*second));
        }
        ips(&addresses)
    }

    fn ips(addresses: &Addresses) -> Vec<IpAddr> {
        addresses.left().into_keys().collect()
    }

    #[test]
    fn an_address_is_left_when_every_answer_of_two_minutes_lacks_it() {
        assert!(left(&[(0, &[1]), (10, &[2]), (100, &[2])]).is_empty());
        assert_eq!(left(&[(0, &[1]), (10, &[2]), (130, &[2])]), [ip(1)]);
        // One answer alone, however late it comes, is not every one of two minutes.
        assert!(left(&[(0, &[1]), (600, &[2])]).is_empty());
        // It was there in between.
        let rotates: [(u64, &[u8]); 4] = [(0, &[1]), (60, &[2]), (120, &[1, 2]), (181, &[2])];
        assert!(left(&rotates).is_empty());
        let back: [(u64, &[u8]); 4] = [(0, &[1]), (10, &[2]), (130, &[2]), (140, &[1, 2])];
        assert!(left(&back).is_empty());
        let forgotten: [(u64, &[u8]); 4] = [(0, &[1]), (10, &[2]), (130, &[2]), (3800, &[2])];
        assert!(left(&forgotten).is_empty());
    }

    #[test]
    fn an_address_that_refuses_is_left_until_a_connection_to_it_is_made() {
        let (addresses, now) = (Addresses::default(), Instant::now());
        addresses.answered(&answer(&[1, 2]), now);
        let before = addresses.version();
        addresses.connected(ip(2), &[ip(1)], now);
        assert_ne!(addresses.version(), before);
        assert_eq!(ips(&addresses), [ip(1)]);
        let before = addresses.version();
        // The resolver does not know.
        addresses.answered(&answer(&[1, 2]), now);
        addresses.connected(ip(2), &[ip(1)], now);
        assert_eq!(ips(&addresses), [ip(1)]);
        assert_eq!(addresses.version(), before, "no news");
        addresses.connected(ip(1), &[], now);
        assert!(addresses.left().is_empty());
    }

    #[test]
    fn an_address_that_is_forgotten_is_news() {
        let (addresses, start) = (Addresses::default(), Instant::now());
        for (second, told) in [(0, [1]), (10, [2]), (130, [2])] {
            addresses.answered(&answer(&told), start + Duration::from_secs(second));
        }
        let before = addresses.version();
        addresses.answered(&answer(&[1, 2]), start + FORGOTTEN_AFTER * 2);
        assert!(addresses.left().is_empty());
        assert_ne!(addresses.version(), before, "the server is there again");
    }
}
