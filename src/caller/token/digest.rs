//! What stands for a token where something is remembered of it.

use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use siphasher::sip128::SipHasher24;

/// Stands for a token: the SipHash-2-4 of 128 bits of its GMAC, by keys that each process draws for itself.
///
/// A token with the digest of a known one is taken for that one: it is the same caller's, or is refused for the same
/// reason, and its signature is not looked at. So nobody may be able to make one, and this is why nobody is:
///
/// - GMAC is a universal hash: without its key, two different tokens of at most 2^16 bytes have the same one with a
///   probability of at most 2^-115, however they were chosen. That alone would not do, since whoever sees where entries
///   fall could find out its key. SipHash hides it: it is a pseudorandom function, made to authenticate short messages.
///   To whoever does not have the keys, each digest is like a number drawn at random, whatever tokens he has presented
///   before, and whatever he has learned from what was accepted and how long that took. What is left to him is to present
///   one token after another. A table remembers up to 2^16 of them, so that one in 2^99 is taken for one of these.
/// - Any two tokens with one digest would be found by far fewer. They help nobody: one of them has to be known already, so
///   that the other is taken for a token that he had.
/// - The keys are nowhere but in the memory of the process, beside the tokens that are being sent. With them, another
///   token with the same digest can be computed.
/// - The place of an entry follows from its digest. So nobody chooses whose entries his own take the place of.
///
/// SHA-256 would need no key, and takes about four times as long for a token of 700 bytes; SipHash alone takes twice as
/// long.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest(u128);

/// The keys of this process.
struct DigestKeys {
    gmac: LessSafeKey,
    siphash: SipHasher24,
}

static KEYS: LazyLock<DigestKeys> = LazyLock::new(|| {
    let (mut gmac, mut siphash) = ([0; 16], [0; 16]);
    rand::fill(&mut gmac).expect("the system has random numbers");
    rand::fill(&mut siphash).expect("the system has random numbers");
    let gmac = UnboundKey::new(&AES_128_GCM, &gmac).expect("a key of 128 bits");
    DigestKeys {
        gmac: LessSafeKey::new(gmac),
        siphash: SipHasher24::new_with_key(&siphash),
    }
});

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        // Always the same nonce, so that a token always has the same digest: no tag leaves this function.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = KEYS
            .gmac
            .seal_in_place_separate_tag(nonce, Aad::from(token), &mut [])
            .expect("a token is shorter than 2^61 bytes");
        Self(KEYS.siphash.hash(tag.as_ref()).as_u128())
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
