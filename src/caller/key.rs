//! Callers that are known by a key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::Claim;
use crate::policy::CallerIndex;

/// What is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest {
    sha256: [u8; SHA256_OUTPUT_LEN],
    /// Of the key, in bytes.
    length: u32,
}

/// Whose each key is. Only digests are kept: a key is found by the beginning of its digest, and the rest is compared
/// in a time that tells nothing.
#[derive(Debug, Default)]
pub struct KeyOwners {
    /// Sorted.
    owners: Box<[(KeyDigest, CallerIndex)]>,
    /// The length of the longest key, in bytes.
    longest: u32,
}

impl KeyOwners {
    /// These keys, by their digests.
    pub fn new(mut owners: Vec<(KeyDigest, CallerIndex)>) -> Self {
        owners.sort_unstable();
        owners.dedup();
        let longest = owners.iter().map(|(known, _)| known.length).max();
        Self {
            owners: owners.into(),
            longest: longest.unwrap_or(0),
        }
    }

    /// Whose a key is. No digest is made of what is longer than any key, as most tokens are.
    pub fn owner(&self, key: &[u8]) -> Claim<CallerIndex> {
        if self.owners.is_empty() || length_of(key) > self.longest {
            return Claim::Nobody;
        }
        let digest = KeyDigest::of(key);
        let start = digest.beginning();
        let first = self
            .owners
            .partition_point(|(known, _)| known.beginning() < start);
        let alike = self.owners[first..].iter();
        let alike = alike.take_while(|(known, _)| known.beginning() == start);
        let owners = alike.filter(|(known, _)| known.is(&digest));
        owners.fold(Claim::Nobody, |claim, (_, owner)| {
            claim.and(Claim::Of(*owner))
        })
    }

    /// The digests of the keys of one caller.
    pub fn of_caller(&self, caller: CallerIndex) -> impl Iterator<Item = KeyDigest> {
        let owners = self.owners.iter();
        owners.filter_map(move |(digest, owner)| (*owner == caller).then_some(*digest))
    }
}

impl KeyDigest {
    /// Makes of a key what is kept of it.
    pub fn of(key: &[u8]) -> Self {
        let mut sha256 = [0; SHA256_OUTPUT_LEN];
        sha256.copy_from_slice(digest(&SHA256, key).as_ref());
        let length = length_of(key);
        Self { sha256, length }
    }

    fn beginning(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.sha256[..8]);
        u64::from_be_bytes(first)
    }

    fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.sha256, &other.sha256).is_ok()
    }
}

fn length_of(key: &[u8]) -> u32 {
    u32::try_from(key.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_owners_alone() {
        let owners = [
            ("one", 0),
            ("two", 1),
            ("three", 1),
            ("shared", 0),
            ("shared", 2),
        ];
        let owners = owners.map(|(key, caller)| (KeyDigest::of(key.as_bytes()), caller));
        let owners = KeyOwners::new(owners.into());
        assert_eq!(owners.owner(b"one"), Claim::Of(0));
        assert_eq!(owners.owner(b"two"), Claim::Of(1));
        assert_eq!(owners.owner(b"three"), Claim::Of(1));
        assert_eq!(owners.owner(b"shared"), Claim::Several);
        for key in ["", "on", "one ", "ONE", "four"] {
            assert_eq!(owners.owner(key.as_bytes()), Claim::Nobody, "{key}");
        }
        assert_eq!(owners.of_caller(1).count(), 2);
    }

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let own = KeyDigest::of(b"one");
        let mut other = own;
        other.sha256[31] ^= 1;
        let owners = KeyOwners::new(vec![(other, 7)]);
        assert_eq!(owners.owner(b"one"), Claim::Nobody);
        let owners = KeyOwners::new(vec![(other, 7), (own, 8)]);
        assert_eq!(owners.owner(b"one"), Claim::Of(8));
    }
}
