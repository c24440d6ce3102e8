//! Proof of possession (RFC 9449): tokens that are of no use without a key that never leaves this
//! process, and the proofs that show it.

mod key;
mod nonce;

use http::HeaderName;

pub use key::{ProofClaims, ProofKey};
pub use nonce::{LastNonce, Nonce};

/// Carries a proof.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// Carries a server's nonce.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The `token_type`, and the scheme that such tokens are sent with.
pub const SCHEME: &str = "DPoP";
/// The `error` of a server that wants a nonce of its own in the proof.
pub const USE_NONCE: &str = "use_dpop_nonce";
