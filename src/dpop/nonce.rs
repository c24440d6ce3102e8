//! Nonces that servers want in proofs (RFC 9449 sections 8 and 9).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue};

use super::DPOP_NONCE;

/// What a server wants in a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(HeaderValue);

impl Nonce {
    /// Takes it out of an answer's headers; any answer may bring the next one (RFC 9449 section
    /// 8.2). One longer than `max` bytes is not repeated: every proof would have to carry it.
    pub fn take(headers: &mut HeaderMap, max: usize) -> Option<Self> {
        let several = headers.get_all(DPOP_NONCE).iter().nth(1).is_some();
        let value = headers.remove(DPOP_NONCE)?;
        let good = !several && value.len() <= max && is_nonce(value.as_bytes());
        good.then_some(Self(value))
    }

    /// Visible ASCII.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The last nonce that one server gave, if it gave any. Read without a lock.
#[derive(Debug, Default)]
pub struct LastNonce(ArcSwapOption<Nonce>);

impl LastNonce {
    /// What the next proof has to say.
    pub fn get(&self) -> Option<Nonce> {
        self.0.load().as_deref().cloned()
    }

    /// From now on proofs say this.
    pub fn set(&self, nonce: Nonce) {
        if self.0.load().as_deref() != Some(&nonce) {
            self.0.store(Some(Arc::new(nonce)));
        }
    }
}

/// RFC 9449 section 8.1
fn is_nonce(value: &[u8]) -> bool {
    let in_nonce = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    !value.is_empty() && value.iter().all(in_nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(DPOP_NONCE, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_last_nonce_counts_and_goes_no_further() {
        let last = LastNonce::default();
        assert_eq!(Nonce::take(&mut headers(&[]), MAX), None);
        assert_eq!(last.get(), None);
        for value in ["one", "two", "two"] {
            let mut answer = headers(&[value]);
            last.set(Nonce::take(&mut answer, MAX).unwrap());
            assert!(answer.is_empty());
            assert_eq!(last.get().unwrap().as_str(), value);
        }
    }

    #[test]
    fn what_is_no_nonce_is_not_repeated() {
        let long = "a".repeat(MAX + 1);
        let long: &'static str = Box::leak(long.into_boxed_str());
        for bad in [
            &[""][..],
            &["a b"],
            &["a\"b"],
            &["a\\b"],
            &[long],
            &["a", "b"],
        ] {
            let mut answer = headers(bad);
            assert_eq!(Nonce::take(&mut answer, MAX), None, "{bad:?}");
            assert!(answer.is_empty(), "{bad:?}");
        }
        let longest = Nonce::take(&mut headers(&[&long[1..]]), MAX);
        assert_eq!(longest.unwrap().as_str(), &long[1..]);
    }
}
