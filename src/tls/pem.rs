//! What PEM files hold.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::reason::reason;
use crate::config::NamedFile;
use crate::jose::{ESCAPED_LINES, has_escaped_lines};

/// A file cannot be read, or does not hold what it should. The text names the file, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl FileError {
    pub(super) fn new(file: &NamedFile, reason: impl Into<String>) -> Self {
        Self {
            path: file.path().to_owned(),
            reason: reason.into(),
        }
    }
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates_of(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all_of(file, &pem, certificates, "it holds no PEM certificate")
}

/// The first private key of a file.
///
/// # Errors
/// It cannot be read, or holds none that is not encrypted.
pub fn key_of(file: &NamedFile) -> Result<PrivateKeyDer<'static>, FileError> {
    let pem = read(file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let otherwise = "it holds no unencrypted PEM private key";
        FileError::new(file, pem_error(&pem, otherwise))
    })
}

/// The certificates of a file, as CAs to trust.
///
/// # Errors
/// It cannot be read, or holds none, or one that cannot be a CA.
pub fn roots_of(file: &NamedFile) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(file)? {
        roots
            .add(certificate)
            .map_err(|e| FileError::new(file, format!("not usable as a CA: {e}")))?;
    }
    Ok(roots)
}

/// The CRLs of a file; at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub(super) fn crls_of(
    file: &NamedFile,
) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let pem = read(file)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    all_of(file, &pem, lists, "it holds no PEM CRL")
}

fn all_of<T, E>(
    file: &NamedFile,
    pem: &[u8],
    found: Result<Vec<T>, E>,
    none: &'static str,
) -> Result<Vec<T>, FileError> {
    let found = found.map_err(|_| FileError::new(file, pem_error(pem, "its PEM is malformed")))?;
    if found.is_empty() {
        return Err(FileError::new(file, pem_error(pem, none)));
    }
    Ok(found)
}

fn pem_error(pem: &[u8], otherwise: &'static str) -> &'static str {
    if has_escaped_lines(pem) {
        return ESCAPED_LINES;
    }
    otherwise
}

fn read(file: &NamedFile) -> Result<Zeroizing<Vec<u8>>, FileError> {
    file.read().map_err(|e| FileError::new(file, reason(&e)))
}
