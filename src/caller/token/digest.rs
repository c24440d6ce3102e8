//! What stands for a token where something is remembered of it.

use std::sync::LazyLock;

use aws_lc_rs::rand;
use siphasher::sip128::SipHasher24;

/// Stands for a token: its SipHash-2-4 of 128 bits, by a key that each process draws for itself.
///
/// A token with the digest of a known one is taken for that one: it is the same caller's, or is refused for the same
/// reason, and its signature is not looked at. So nobody may be able to make one, and this is why nobody is:
///
/// - SipHash is a pseudorandom function, made to authenticate short messages. To whoever does not have the key, each
///   digest is like a number drawn at random, whatever tokens he has presented before, and whatever he has learned from
///   what was accepted and how long that took. What is left to him is to present one token after another. A table
///   remembers up to 2^16 of them, so that one in 2^112 is taken for one of these.
/// - Any two tokens with one digest would be found by far fewer, about 2^64. They help nobody: one of them has to be
///   known already, so that the other is taken for a token that he had.
/// - The key is nowhere but in the memory of the process, beside the tokens that are being sent. With the key, another
///   token with the same digest can be computed.
/// - The place of an entry follows from its digest. So nobody chooses whose entries his own take the place of.
///
/// SHA-256 would need no key, and takes about twice as long for a token of 700 bytes. A universal hash, such as GMAC, is
/// faster, but tells its key to whoever sees where entries fall.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest(u128);

static HASHER: LazyLock<SipHasher24> = LazyLock::new(|| {
    let mut key = [0; 16];
    rand::fill(&mut key).expect("the system has random numbers");
    SipHasher24::new_with_key(&key)
});

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(HASHER.hash(token.as_bytes()).as_u128())
    }

    /// Tells apart the sets of places in a table.
    pub(super) fn set(self) -> u64 {
        self.0 as u64
    }

    /// Tells apart the places of one set.
    pub(super) fn way(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_differ_anywhere_have_other_digests() {
        let token = "x".repeat(700);
        let digest = TokenDigest::of(&token);
        assert!(digest == TokenDigest::of(&token));
        let others = (0..token.len()).map(|at| {
            let mut other = token.clone();
            other.replace_range(at..=at, "y");
            other
        });
        for other in others.chain([token[1..].to_owned(), token.clone() + "x"]) {
            assert!(digest != TokenDigest::of(&other), "{other}");
        }
    }
}
