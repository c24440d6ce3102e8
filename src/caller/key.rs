//! Callers that are known by a key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::Claim;
use crate::policy::CallerIndex;

/// What is kept of a key.
pub type KeyDigest = [u8; SHA256_OUTPUT_LEN];

/// Whose each key is. Only digests are kept: a key is found by the beginning of its digest, and the rest is compared
/// in a time that tells nothing.
#[derive(Debug, Default)]
pub struct KeyOwners {
    /// Sorted.
    owners: Box<[(KeyDigest, CallerIndex)]>,
}

impl KeyOwners {
    /// These keys, by their digests.
    pub fn new(mut owners: Vec<(KeyDigest, CallerIndex)>) -> Self {
        owners.sort_unstable();
        owners.dedup();
        let owners = owners.into();
        Self { owners }
    }

    /// Whose a key is.
    pub fn owner(&self, key: &[u8]) -> Claim<CallerIndex> {
        if self.owners.is_empty() {
            return Claim::Nobody;
        }
        let digest = digest_of(key);
        let start = beginning(&digest);
        let first = self
            .owners
            .partition_point(|(known, _)| beginning(known) < start);
        let alike = self.owners[first..].iter();
        let alike = alike.take_while(|(known, _)| beginning(known) == start);
        let owners = alike.filter(|(known, _)| verify_slices_are_equal(known, &digest).is_ok());
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

/// Makes of a key what is kept of it.
pub fn digest_of(key: &[u8]) -> KeyDigest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

fn beginning(digest: &KeyDigest) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
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
        let owners = owners.map(|(key, caller)| (digest_of(key.as_bytes()), caller));
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
        let own = digest_of(b"one");
        let mut other = own;
        other[31] ^= 1;
        let owners = KeyOwners::new(vec![(other, 7)]);
        assert_eq!(owners.owner(b"one"), Claim::Nobody);
        let owners = KeyOwners::new(vec![(other, 7), (own, 8)]);
        assert_eq!(owners.owner(b"one"), Claim::Of(8));
    }
}
