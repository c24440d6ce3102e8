//! Reads the files that TLS needs, and says what is wrong with one.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use super::report::Expected;
use super::settings::NamedFile;
use super::settings::file::{shown, shown_of_secret};

/// What is wrong with a file, with its name.
pub(super) fn naming<T>(file: &NamedFile, read: Result<T, Expected>) -> Result<T, Expected> {
    read.map_err(|what| format!("{}: {what}", shown(file.path())).into())
}

/// The same of a file that holds a key.
pub(super) fn naming_secret<T>(file: &NamedFile, read: Result<T, Expected>) -> Result<T, Expected> {
    read.map_err(|what| format!("{}: {what}", shown_of_secret(file.path())).into())
}

/// CAs, each of which can be used.
pub(super) fn read_roots(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, Expected> {
    let certificates = read_certificates(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate in the file is damaged: {error}"))?;
    }
    Ok(certificates)
}

/// That a key is the one of a chain.
pub(super) fn check_pair(
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
) -> Result<(), Expected> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, private, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("expected the key of `certificate_file`, this is another".into())
        }
        Err(error) => Err(format!("the key or its certificate cannot be used: {error}").into()),
    }
}

/// A chain.
pub(super) fn read_certificates(
    file: &NamedFile,
) -> Result<Vec<CertificateDer<'static>>, Expected> {
    let pem = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("the file holds no PEM certificate".into()),
        Err(error) => Err(damaged(&error)),
    }
}

/// A key that is not encrypted.
pub(super) fn read_key(file: &NamedFile) -> Result<PrivateKeyDer<'static>, Expected> {
    let pem = read(file)?;
    let text = String::from_utf8_lossy(&pem);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "the key is encrypted; store it decrypted (openssl pkey -in KEY -out PLAIN)".into(),
        );
    }
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => Err("the file holds no PEM private key".into()),
        Err(error) => Err(damaged(&error)),
    }
}

/// The parser's own words can repeat lines of the file, and the file may be a key.
pub(super) fn damaged(error: &PemError) -> Expected {
    match error {
        PemError::MissingSectionEnd { .. } => "the file is not whole PEM: an end is missing",
        _ => "the file is not valid PEM",
    }
    .into()
}

/// What a file holds.
pub(super) fn read(file: &NamedFile) -> Result<Zeroizing<Vec<u8>>, Expected> {
    file.read()
        .map_err(|error| format!("cannot read the file: {error}").into())
}

/// The names of the servers that a certificate is for, in lower case; wildcards as they are written.
pub fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}
