//! What lookups and connections have shown about the addresses of a server.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An address is gone when no answer of the resolver has contained it for this time. Some resolvers return only
/// some of many addresses at a time.
const MISSED_FOR: Duration = Duration::from_secs(120);

/// An address that has been gone for this time is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The addresses of one server, as far as they are known. Used when connections are made, and when the name
/// is looked up in between.
#[derive(Debug, Default)]
pub struct KnownAddresses {
    known: Mutex<HashMap<IpAddr, AddressState>>,
    version: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddressState {
    /// The last answer of the resolver contained it, or a connection to it was made.
    Present,
    /// No answer since then has contained it.
    Missing(Instant),
    /// Since then it is known that the server is not there any more.
    Gone { since: Instant, refused: bool },
}

impl KnownAddresses {
    /// The resolver has returned these addresses.
    pub fn record_lookup(&self, answer: &[SocketAddr], now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        known.retain(|ip, state| {
            let is_listed = answer.iter().any(|address| address.ip() == *ip);
            let next = match *state {
                // If the server comes back, a connection will show it.
                AddressState::Gone { since, .. } if now - since > FORGOTTEN_AFTER => {
                    changed = true;
                    return false;
                }
                AddressState::Gone { refused: true, .. } => *state,
                _ if is_listed => AddressState::Present,
                AddressState::Present => AddressState::Missing(now),
                AddressState::Missing(since) if now - since >= MISSED_FOR => AddressState::Gone {
                    since: now,
                    refused: false,
                },
                AddressState::Missing(_) | AddressState::Gone { .. } => *state,
            };
            changed |= is_gone(state) != is_gone(&next);
            *state = next;
            true
        });
        for address in answer {
            known.entry(address.ip()).or_insert(AddressState::Present);
        }
        if changed {
            self.version.fetch_add(1, Relaxed);
        }
    }

    /// A connection was made to one address after it had failed with the others.
    pub fn record_connection(&self, to: IpAddr, failed: &[IpAddr], now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = known
            .insert(to, AddressState::Present)
            .is_some_and(|state| is_gone(&state));
        for ip in failed.iter().filter(|ip| **ip != to) {
            let gone = AddressState::Gone {
                since: now,
                refused: true,
            };
            // The time since when it is gone stays.
            match known.get(ip) {
                Some(AddressState::Gone { refused: true, .. }) => {}
                _ => {
                    known.insert(*ip, gone);
                    changed = true;
                }
            }
        }
        if changed {
            self.version.fetch_add(1, Relaxed);
        }
    }

    /// A number that changes when [`gone_addresses`](Self::gone_addresses) is.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// The addresses where the server is no longer, and since when that is known.
    pub fn gone_addresses(&self) -> HashMap<IpAddr, Instant> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = known.iter().filter_map(|(ip, state)| match state {
            AddressState::Gone { since, .. } => Some((*ip, *since)),
            _ => None,
        });
        gone.collect()
    }
}

fn is_gone(state: &AddressState) -> bool {
    matches!(state, AddressState::Gone { .. })
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

    /// What is gone after these answers, each this many seconds after the first.
    fn gone_after(answers: &[(u64, &[u8])]) -> Vec<IpAddr> {
        let (addresses, start) = (KnownAddresses::default(), Instant::now());
        for (second, listed) in answers {
            addresses.record_lookup(&answer(listed), start + Duration::from_secs(*second));
        }
        ips(&addresses)
    }

    fn ips(addresses: &KnownAddresses) -> Vec<IpAddr> {
        addresses.gone_addresses().into_keys().collect()
    }

    #[test]
    fn an_address_is_gone_when_no_answer_of_two_minutes_contains_it() {
        assert!(gone_after(&[(0, &[1]), (10, &[2]), (100, &[2])]).is_empty());
        assert_eq!(gone_after(&[(0, &[1]), (10, &[2]), (130, &[2])]), [ip(1)]);
        // One answer alone, however late it comes, is not every one of two minutes.
        assert!(gone_after(&[(0, &[1]), (600, &[2])]).is_empty());
        // It was there in between.
        let rotates: [(u64, &[u8]); 4] = [(0, &[1]), (60, &[2]), (120, &[1, 2]), (181, &[2])];
        assert!(gone_after(&rotates).is_empty());
        let back: [(u64, &[u8]); 4] = [(0, &[1]), (10, &[2]), (130, &[2]), (140, &[1, 2])];
        assert!(gone_after(&back).is_empty());
        let forgotten: [(u64, &[u8]); 4] = [(0, &[1]), (10, &[2]), (130, &[2]), (3800, &[2])];
        assert!(gone_after(&forgotten).is_empty());
    }

    #[test]
    fn an_address_that_refuses_is_gone_until_a_connection_to_it_is_made() {
        let (addresses, now) = (KnownAddresses::default(), Instant::now());
        addresses.record_lookup(&answer(&[1, 2]), now);
        let before = addresses.version();
        addresses.record_connection(ip(2), &[ip(1)], now);
        assert_ne!(addresses.version(), before);
        assert_eq!(ips(&addresses), [ip(1)]);
        let before = addresses.version();
        // The resolver does not know.
        addresses.record_lookup(&answer(&[1, 2]), now);
        addresses.record_connection(ip(2), &[ip(1)], now);
        assert_eq!(ips(&addresses), [ip(1)]);
        assert_eq!(addresses.version(), before, "no news");
        addresses.record_connection(ip(1), &[], now);
        assert!(addresses.gone_addresses().is_empty());
    }

    #[test]
    fn forgetting_an_address_changes_the_version() {
        let (addresses, start) = (KnownAddresses::default(), Instant::now());
        for (second, listed) in [(0, [1]), (10, [2]), (130, [2])] {
            addresses.record_lookup(&answer(&listed), start + Duration::from_secs(second));
        }
        let before = addresses.version();
        addresses.record_lookup(&answer(&[1, 2]), start + FORGOTTEN_AFTER * 2);
        assert!(addresses.gone_addresses().is_empty());
        assert_ne!(addresses.version(), before, "the server is there again");
    }
}
