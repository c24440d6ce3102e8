//! The certificate of a key: its thumbprint, and which key it certifies.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;

use super::SigningKey;

/// The end-entity certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    thumbprint: String,
    public_key: Vec<u8>,
}

impl Certificate {
    /// The first certificate of a PEM file; `None` if it holds no certificate that can be used.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let parsed = ParsedCertificate::try_from(&der).ok()?;
        Some(Self {
            thumbprint: thumbprint(&der),
            public_key: parsed.subject_public_key_info().to_vec(),
        })
    }

    /// `x5t#S256` (RFC 7515 section 4.1.8).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether it certifies this key.
    pub fn belongs_to(&self, key: &SigningKey) -> bool {
        key.public_key() == self.public_key
    }
}

/// `x5t#S256` of a certificate in DER (RFC 7515 section 4.1.8).
pub fn thumbprint(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, der))
}
