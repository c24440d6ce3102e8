//! CAs that were made here, CAs as companies have them, and what they sign.

mod chains;
mod key_directory;
mod leaves;
mod successors;

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::*;

fn domains(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A CA that was made here.
fn made(names: &[&str]) -> Issuer {
    let made = create(&domains(names), SystemTime::now()).unwrap();
    Issuer::read(
        made.chain.as_bytes(),
        made.key.as_bytes(),
        SystemTime::now(),
    )
    .unwrap()
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    let (rest, parsed) = X509Certificate::from_der(certificate).unwrap();
    assert!(rest.is_empty());
    parsed
}
