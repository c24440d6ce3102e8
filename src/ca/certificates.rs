//! Certificates in PEM (RFC 7468).

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(super) const NO_CERTIFICATE: &str = "it holds no PEM certificate";

/// The certificates of a file in PEM; at least one.
///
/// # Errors
/// It holds none, or is damaged: what is wrong with it, and nothing of its content.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| "its PEM is malformed".to_owned())?;
    if found.is_empty() {
        return Err(NO_CERTIFICATE.to_owned());
    }
    Ok(found)
}

/// Certificates in PEM, one after the other.
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let certificates = certificates.into_iter();
    let blocks = certificates.map(|certificate| {
        pem::encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), lines)
    });
    blocks.collect()
}
