//! How keys sign certificates, and how they are told from one another.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, alg_id};

/// With which schemes an issuer signs, and how that is written in a certificate.
pub(super) const SCHEMES: [(SignatureScheme, AlgorithmIdentifier); 5] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, alg_id::ECDSA_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, alg_id::ECDSA_SHA384),
    (SignatureScheme::ECDSA_NISTP521_SHA512, alg_id::ECDSA_SHA512),
    (SignatureScheme::ED25519, alg_id::ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, alg_id::RSA_PKCS1_SHA256),
];

/// Tells a key from others: the first 160 bits of a hash of it (RFC 7093).
pub(super) fn key_identifier(public_key: &[u8]) -> [u8; 20] {
    let mut identifier = [0; 20];
    identifier.copy_from_slice(&digest(&SHA256, public_key).as_ref()[..20]);
    identifier
}
