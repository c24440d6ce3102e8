//! What a client's certificate says of who it is.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::tls::{ServerTls, since_epoch};

/// The longest SPIFFE ID, in bytes (SPIFFE-ID section 2.3).
const MAX_SPIFFE_ID: usize = 2048;
/// The tag of a URI among the alternative names (RFC 5280 section 4.2.1.6).
const URI_TAG: u32 = 6;

/// Who a client's certificate says that it is. Only names without control characters and other nonsense are kept, so
/// that they can be matched, logged and sent as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The SPIFFE ID, if the certificate has exactly one URI among its alternative names and that is a valid one
    /// (X509-SVID section 2).
    pub spiffe_id: Option<Box<str>>,
    /// The DNS names among its alternative names, in lower case. Wildcards are not kept: they name nobody.
    pub dns_names: Vec<Box<str>>,
    /// Since the Unix epoch; the certificate is not valid before.
    pub not_before: Duration,
    /// Since the Unix epoch; the certificate is not valid after.
    pub not_after: Duration,
}

/// A certificate that a client presented. It was good when the connection began.
#[derive(Debug)]
pub struct PresentedCertificate {
    /// Who it says that the client is.
    pub identity: CertificateIdentity,
    chain: Vec<CertificateDer<'static>>,
    /// [`ServerTls::admission`] of the last that found it good.
    good_for: AtomicU64,
    /// Until when it is good as far as that one knows, in seconds since the Unix epoch.
    good_until: AtomicU64,
}

/// Why a certificate that was good when the connection began counts no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// It has ended, or by our clock not begun yet.
    #[error("the certificate of the client is not valid now")]
    NotValidNow,
    /// The listener verifies no certificates of clients any more.
    #[error("the listener verifies no certificates of clients any more")]
    NoVerifier,
    /// It has been revoked since.
    #[error("the certificate of the client has been revoked")]
    Revoked,
    /// Nobody has renewed the CRL of a CA that signed it.
    #[error("the CRL of a CA that signed the certificate of the client has ended")]
    CrlEnded,
    /// By the CAs and CRLs of now it is not good.
    #[error("by the CAs and CRLs of now the certificate of the client is not good")]
    NotAdmitted,
}

/// A certificate that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateIdentityError {
    /// It is not X.509 (RFC 5280), or something stands behind it.
    #[error("the certificate is malformed")]
    Malformed,
    /// Its alternative names cannot be read, or there is more than one list of them.
    #[error("the alternative names of the certificate are malformed")]
    AlternativeNames,
}

impl CertificateIdentity {
    /// Reads a certificate (DER), which must have been verified.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(leaf: &[u8]) -> Result<Self, CertificateIdentityError> {
        let Ok(([], certificate)) = X509Certificate::from_der(leaf) else {
            return Err(CertificateIdentityError::Malformed);
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateIdentityError::AlternativeNames)?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let validity = certificate.validity();
        Ok(Self {
            spiffe_id: spiffe_id_of(names),
            dns_names: names.iter().filter_map(dns_name).collect(),
            not_before: since_epoch(validity.not_before),
            not_after: since_epoch(validity.not_after),
        })
    }

    /// Whether the certificate is valid at this time since the Unix epoch.
    pub fn is_valid_at(&self, now: Duration) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl PresentedCertificate {
    /// One that `verifier` has found good at `now`, a time since the Unix epoch, with the `chain` that it came with.
    pub fn new(
        identity: CertificateIdentity,
        chain: &[CertificateDer<'_>],
        verifier: &ServerTls,
        now: Duration,
    ) -> Self {
        let presented = Self {
            identity,
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            good_for: AtomicU64::default(),
            good_until: AtomicU64::default(),
        };
        presented.set_good(verifier, now);
        presented
    }

    /// Whether it has ended at `now`, a time since the Unix epoch, or a CA above it, or the CRL of one, as far as is
    /// known since it was [checked](Self::check) last.
    pub fn has_ended(&self, now: Duration) -> bool {
        now.as_secs() > self.good_until.load(Relaxed)
    }

    fn set_good(&self, listener: &ServerTls, now: Duration) {
        let verifier = listener.clients.as_ref();
        let until = verifier.map_or(Duration::ZERO, |verifier| {
            verifier.good_until(&self.chain, now)
        });
        self.good_until.store(until.as_secs(), Relaxed);
        self.good_for.store(listener.admission, Relaxed);
    }

    /// Who it says that the client is, if it is still good: at `now`, a time since the Unix epoch, and by what its
    /// listener is now. It is verified again only if CAs or CRLs have changed, or if one of them has ended.
    ///
    /// # Errors
    /// It is not good any more.
    pub fn check(
        &self,
        listener: Option<&ServerTls>,
        now: Duration,
    ) -> Result<&CertificateIdentity, CertificateRefusal> {
        if !self.identity.is_valid_at(now) {
            return Err(CertificateRefusal::NotValidNow);
        }
        let listener = listener.ok_or(CertificateRefusal::NoVerifier)?;
        if self.good_for.load(Relaxed) != listener.admission || self.has_ended(now) {
            let verifier = listener.clients.as_ref();
            let verifier = verifier.ok_or(CertificateRefusal::NoVerifier)?;
            let verified = verifier.verify_again(&self.chain, now);
            verified.map_err(|error| match error {
                CertificateError::Revoked => CertificateRefusal::Revoked,
                CertificateError::ExpiredRevocationList => CertificateRefusal::CrlEnded,
                _ => CertificateRefusal::NotAdmitted,
            })?;
            self.set_good(listener, now);
        }
        Ok(&self.identity)
    }
}

/// Every URI counts, also one that is not a SPIFFE ID or cannot be read.
fn spiffe_id_of(names: &[GeneralName]) -> Option<Box<str>> {
    let is_uri = |name: &&GeneralName| match name {
        GeneralName::URI(_) => true,
        GeneralName::Invalid(tag, _) => tag.0 == URI_TAG,
        _ => false,
    };
    let mut uris = names.iter().filter(is_uri);
    match (uris.next(), uris.next()) {
        (Some(GeneralName::URI(uri)), None) if is_spiffe_id(uri) => Some((*uri).into()),
        _ => None,
    }
}

/// SPIFFE-ID section 2.
fn is_spiffe_id(uri: &str) -> bool {
    let Some(id) = uri.strip_prefix("spiffe://") else {
        return false;
    };
    let mut segments = id.split('/');
    let is_trust_domain = |name: &str| {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        !name.is_empty() && name.bytes().all(is_allowed)
    };
    let is_segment = |segment: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_allowed)
    };
    uri.len() <= MAX_SPIFFE_ID
        && segments.next().is_some_and(is_trust_domain)
        && segments.all(is_segment)
}

fn dns_name(name: &GeneralName) -> Option<Box<str>> {
    let GeneralName::DNSName(name) = name else {
        return None;
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_allowed);
    is_name.then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests;
