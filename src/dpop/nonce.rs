//! Nonces that servers want in proofs (RFC 9449 sections 8 and 9).

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use http::HeaderMap;

use super::DPOP_NONCE;

/// Longer ones are not repeated: every proof would have to carry them.
const LONGEST: usize = 1024;

/// The last nonce that one server gave, if it gave any. Read without a lock.
#[derive(Debug, Default)]
pub struct Nonce(ArcSwapOption<String>);

impl Nonce {
    /// What the next proof has to say.
    pub fn current(&self) -> Guard<Option<Arc<String>>> {
        self.0.load()
    }

    /// Takes the nonce out of an answer's headers; any answer may bring the next one (RFC 9449
    /// section 8.2). Says whether there was one.
    pub fn learn(&self, headers: &mut HeaderMap) -> bool {
        let mut values = headers.get_all(DPOP_NONCE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            headers.remove(DPOP_NONCE);
            return false;
        };
        let text = value.to_str().ok().filter(|text| is_nonce(text));
        let news = text.filter(|text| self.0.load().as_ref().is_none_or(|known| **known != **text));
        if let Some(text) = news {
            self.0.store(Some(Arc::new(text.to_owned())));
        }
        let found = text.is_some();
        headers.remove(DPOP_NONCE);
        found
    }
}

/// RFC 9449 section 8.1
fn is_nonce(text: &str) -> bool {
    let in_nonce = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(in_nonce)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(DPOP_NONCE, HeaderValue::from_static(value));
        }
        headers
    }

    fn held(nonce: &Nonce) -> Option<String> {
        nonce.current().as_deref().cloned()
    }

    #[test]
    fn the_last_nonce_counts_and_goes_no_further() {
        let nonce = Nonce::default();
        assert!(!nonce.learn(&mut headers(&[])));
        assert_eq!(held(&nonce), None);
        for value in ["one", "two", "two"] {
            let mut answer = headers(&[value]);
            assert!(nonce.learn(&mut answer));
            assert!(answer.is_empty());
            assert_eq!(held(&nonce).as_deref(), Some(value));
        }
        assert!(!nonce.learn(&mut headers(&[])));
        assert_eq!(held(&nonce).as_deref(), Some("two"));
    }

    #[test]
    fn what_is_no_nonce_is_not_repeated() {
        let long = "a".repeat(LONGEST + 1);
        let long: &'static str = Box::leak(long.into_boxed_str());
        for bad in [
            &[""][..],
            &["a b"],
            &["a\"b"],
            &["a\\b"],
            &[long],
            &["a", "b"],
        ] {
            let nonce = Nonce::default();
            let mut answer = headers(bad);
            assert!(!nonce.learn(&mut answer), "{bad:?}");
            assert!(answer.is_empty(), "{bad:?}");
            assert_eq!(held(&nonce), None, "{bad:?}");
        }
        let nonce = Nonce::default();
        assert!(nonce.learn(&mut headers(&[&long[1..]])));
    }
}
