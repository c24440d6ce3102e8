//! What a server wants in proofs (RFC 9449 section 8): now this, now that, now nothing.

use std::time::Duration;

use fastrand::Rng;
use http::{HeaderMap, HeaderValue};

use super::super::log_uniform;

/// The nonce of one server.
pub(super) struct Nonces {
    rng: Rng,
    count: u64,
    wanted: bool,
    until: Duration,
    /// The last one that the client was told.
    pub(super) told: Option<String>,
}

impl Nonces {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            count: 0,
            wanted: true,
            until: Duration::ZERO,
            told: None,
        }
    }

    pub(super) fn current(&self) -> String {
        format!("nonce~{}", self.count)
    }

    /// Time passes: the nonce may be another, or none be wanted any more.
    pub(super) fn pass(&mut self, now: Duration) {
        if now >= self.until {
            self.change();
            self.wanted = self.rng.u8(..4) > 0;
            self.until = now + log_uniform(&mut self.rng, 0.1, 40_000.0);
        }
    }

    pub(super) fn change(&mut self) {
        self.count += 1;
    }

    /// Whether a proof with this nonce is refused for it.
    pub(super) fn refuse(&self, nonce: Option<&str>) -> bool {
        self.wanted && nonce != Some(&self.current())
    }

    /// Any answer may bring the next one.
    pub(super) fn bring(&mut self) -> Option<String> {
        if self.rng.u8(..4) > 0 {
            return None;
        }
        if self.rng.bool() {
            self.change();
        }
        Some(self.current())
    }

    pub(super) fn tell(headers: &mut HeaderMap, nonce: Option<&str>) {
        if let Some(nonce) = nonce {
            let value = HeaderValue::from_str(nonce).expect("it is visible ASCII");
            headers.insert("dpop-nonce", value);
        }
    }
}
