//! A limit of which one client does not get all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many of something there may be at once, and of those how many of one client: once more than half are taken, an
/// address gets no more than a quarter of those that are left, so that some are left for others however many addresses
/// want all that they can get. Of IPv6 the first 64 bits count, since a client has all addresses
/// that begin with them. The number may change at any time. A new limit has none.
#[derive(Debug, Default)]
pub struct FairLimit(Mutex<FairCounts>);

#[derive(Debug, Default)]
struct FairCounts {
    max: usize,
    taken: usize,
    /// Those that hold one, at least.
    by_client: HashMap<IpAddr, usize>,
}

/// What one holds until the end.
#[derive(Debug)]
pub struct FairPermit {
    limit: Arc<FairLimit>,
    client: Option<IpAddr>,
}

impl FairLimit {
    /// Changes the number. What is held stays valid.
    pub fn set(&self, max: usize) {
        self.held().max = max;
    }

    /// One for the client at this address, if one is free for it; `None` stands for one without an address.
    pub fn try_acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<FairPermit> {
        let client = address.map(client_of);
        let mut held = self.held();
        let own = client.and_then(|client| held.by_client.get(&client).copied());
        let own = own.unwrap_or(0);
        let left = held.max.saturating_sub(held.taken);
        let has_its_share = held.taken > held.max / 2 && own >= (left / 4).max(1);
        if left == 0 || has_its_share {
            return None;
        }
        held.taken += 1;
        if let Some(client) = client {
            held.by_client.insert(client, own + 1);
        }
        drop(held);
        Some(FairPermit {
            limit: Arc::clone(self),
            client,
        })
    }

    fn held(&self) -> MutexGuard<'_, FairCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        let mut held = self.limit.held();
        held.taken -= 1;
        if let Some(client) = self.client
            && let Some(own) = held.by_client.get_mut(&client)
        {
            *own -= 1;
            if *own == 0 {
                held.by_client.remove(&client);
            }
        }
    }
}

/// What stands for all addresses that one client has.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: usize) -> Arc<FairLimit> {
        let limit = Arc::new(FairLimit::default());
        limit.set(max);
        limit
    }

    /// As many as there are for this address.
    fn all(limit: &Arc<FairLimit>, address: &str) -> Vec<FairPermit> {
        let address = address.parse().ok();
        std::iter::from_fn(|| limit.try_acquire(address)).collect()
    }

    #[test]
    fn one_address_leaves_nearly_half_to_others() {
        for (max, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (8, 5), (1024, 513)] {
            let limit = limit(max);
            assert_eq!(all(&limit, "192.0.2.1").len(), expected, "{max}");
        }
        let limit = limit(16);
        let greedy = all(&limit, "192.0.2.1");
        assert_eq!(greedy.len(), 9);
        let others = [
            "192.0.2.2",
            "::ffff:192.0.2.2",
            "2001:db8::1",
            "2001:db8::2:0:0:1",
        ];
        let counts = others.map(|other| {
            let held = all(&limit, other);
            let count = held.len();
            std::mem::forget(held);
            count
        });
        assert_eq!(counts, [1, 0, 1, 0], "a quarter of what is left, or one");
        drop(greedy);
        let more = all(&limit, "2001:db8::3");
        assert_eq!(more.len(), 7, "the half is free again");
        assert_eq!(all(&limit, "2001:db8:0:1::").len(), 1);
    }

    #[test]
    fn twenty_addresses_that_want_all_leave_some_to_another() {
        let limit = limit(1024);
        let held: Vec<_> = (1..=20)
            .map(|n| all(&limit, &format!("192.0.2.{n}")))
            .collect();
        assert!(held.iter().all(|held| !held.is_empty()));
        assert!(limit.try_acquire("198.51.100.1".parse().ok()).is_some());
    }

    #[test]
    fn what_is_given_back_is_free_again_and_leaves_nothing_behind() {
        let limit = limit(4);
        for _ in 0..3 {
            let held = all(&limit, "192.0.2.1");
            assert_eq!(held.len(), 3);
            assert_eq!(all(&limit, "no address").len(), 1);
        }
        let (taken, clients) = {
            let held = limit.held();
            (held.taken, held.by_client.len())
        };
        assert_eq!((taken, clients), (0, 0));
        let held = all(&limit, "192.0.2.1");
        limit.set(1);
        assert!(limit.try_acquire(None).is_none());
        drop(held);
        assert!(limit.try_acquire(None).is_some());
    }
}
