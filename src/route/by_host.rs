//! Routes by their hosts alone: which of them could lead to a host, whatever the path.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use foldhash::fast::FixedState;

use super::{ANY, hasher_of};
use crate::config::HostPattern;

/// The indices of routes by their hosts, eight bytes for each.
#[derive(Debug)]
pub struct HostIndex {
    /// Of routes that are alike the first alone.
    first: HostHashes,
    /// The others.
    others: HostHashes,
}

/// What is found by a name, sorted by the hashes of names. What has the same hash has nearly always the same name.
#[derive(Debug)]
struct HostHashes(Box<[(u32, u32)]>);

impl HostIndex {
    /// Indexes routes, in their order. Those for the same host with an equal `kind` are alike: one of them stands for
    /// all where no path is known.
    pub fn build<'c, K: Hash + Eq>(routes: impl IntoIterator<Item = (&'c HostPattern, K)>) -> Self {
        let (mut first, mut others) = (Vec::new(), Vec::new());
        // A configuration chooses no keys so that they collide.
        let mut known: HashSet<_, FixedState> = HashSet::default();
        for ((host, kind), at) in routes.into_iter().zip(0..) {
            let hash = match host {
                HostPattern::Exact(name) => short_hash(name),
                HostPattern::Wildcard(parent) => short_hash(&format!(".{parent}")),
                HostPattern::Any => short_hash(ANY),
            };
            if known.insert((host, kind)) {
                first.push((hash, at));
            } else {
                others.push((hash, at));
            }
        }
        Self {
            first: HostHashes::new(first),
            others: HostHashes::new(others),
        }
    }

    /// The routes that may be for a host in its canonical form, in their order. A few may be for another one.
    pub fn all(&self, host: &str) -> Vec<u32> {
        Self::of_host(&[&self.first, &self.others], host)
    }

    /// The same, but of those that are alike the first alone.
    pub fn first_of_each(&self, host: &str) -> Vec<u32> {
        Self::of_host(&[&self.first], host)
    }

    fn of_host(tables: &[&HostHashes], host: &str) -> Vec<u32> {
        let parent = host.find('.').map(|dot| &host[dot..]);
        let names = [Some(host), parent, Some(ANY)].into_iter().flatten();
        let found = names.flat_map(|name| tables.iter().flat_map(move |table| table.find(name)));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        found
    }
}

impl HostHashes {
    fn new(mut entries: Vec<(u32, u32)>) -> Self {
        entries.sort_unstable();
        Self(entries.into())
    }

    fn find(&self, name: &str) -> impl Iterator<Item = u32> {
        let hash = short_hash(name);
        let first = self.0.partition_point(|(known, _)| *known < hash);
        let alike = self.0[first..].iter();
        let alike = alike.take_while(move |(known, _)| *known == hash);
        alike.map(|(_, at)| *at)
    }
}

/// Half a hash is as good as a whole one for as many names as a configuration has, and takes half the room.
pub(super) fn short_hash(name: &str) -> u32 {
    hasher_of(name).finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_exact_names_parents_and_for_any_host_in_their_order() {
        let exact = |name: &str| HostPattern::Exact(name.into());
        let below = |name: &str| HostPattern::Wildcard(name.into());
        let hosts = [
            HostPattern::Any,
            below("example.com"),
            exact("crm.example.com"),
            exact("crm.example.com"),
            exact("other.example.com"),
            exact("crm.example.com"),
        ];
        let kinds = [0, 0, 0, 1, 0, 0];
        let index = HostIndex::build(hosts.iter().zip(kinds));
        assert_eq!(index.all("crm.example.com"), [0, 1, 2, 3, 5]);
        assert_eq!(index.first_of_each("crm.example.com"), [0, 1, 2, 3]);
        assert_eq!(index.all("x.example.com"), [0, 1]);
        assert_eq!(index.all("example.com"), [0]);
        assert_eq!(index.all("a.crm.example.com"), [0]);
    }
}
