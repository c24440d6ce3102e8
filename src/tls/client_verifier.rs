//! Whether a client's certificate is good.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::pem::{FileError, crls_of, roots_of};
use super::revocation::RevocationList;
use super::validity::since_epoch;
use crate::config::{ClientCertificates, ListenerTls, NamedFile};

/// Verifies the certificates of clients by the CAs of a listener and their CRLs. Each certificate below the root needs a
/// CRL of the CA that signed it, if there are CRLs at all; one without is refused.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Takes CRLs of any age.
    ageless: Arc<dyn ClientCertVerifier>,
    lists: Vec<RevocationList>,
    grace: Duration,
}

impl ClientVerifier {
    /// Reads the CAs of `ca_file` and the CRLs that `settings` name.
    pub(super) fn read(settings: &ListenerTls, ca_file: &NamedFile) -> Result<Self, FileError> {
        let roots = Arc::new(roots_of(ca_file)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let mut lists = Vec::new();
        if let Some(file) = &settings.client_crl_file {
            let (effective, crls) = effective_lists(file, crls_of(file)?)?;
            lists = effective;
            builder = builder.with_crls(crls);
        }
        if settings.client_certificates == ClientCertificates::Optional {
            builder = builder.allow_unauthenticated();
        }
        let ageless = builder.build().map_err(|error| {
            let file = match (&error, &settings.client_crl_file) {
                (VerifierBuilderError::InvalidCrl(_), Some(file)) => file,
                _ => ca_file,
            };
            FileError::new(file, error.to_string())
        })?;
        Ok(Self {
            ageless,
            lists,
            grace: settings.crl_grace,
        })
    }

    /// Verifies a chain, the client's certificate first, that another verifier has found good.
    ///
    /// # Errors
    /// This one does not; `now` is the time since the Unix epoch.
    pub fn verify_again(
        &self,
        chain: &[CertificateDer<'_>],
        now: Duration,
    ) -> Result<(), CertificateError> {
        let (leaf, others) = chain.split_first().ok_or(CertificateError::BadEncoding)?;
        let verified = self.verify_client_cert(leaf, others, UnixTime::since_unix_epoch(now));
        match verified {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(_) => Err(CertificateError::ApplicationVerificationFailure),
        }
    }

    /// Until when a chain that is good at `now` stays so by time alone: until the first of its certificates ends, or the
    /// CRL of a CA that signed one, with its grace. What has ended already was not needed. Times are since the Unix epoch.
    pub fn good_until(&self, chain: &[CertificateDer<'_>], now: Duration) -> Duration {
        let mut ends = Vec::new();
        for certificate in chain {
            let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
                continue;
            };
            ends.push(since_epoch(certificate.validity().not_after));
            let issuer = certificate.issuer().as_raw();
            let lists = self.lists.iter().filter(|list| *list.issuer == *issuer);
            ends.extend(lists.map(|list| self.end_of(list)));
        }
        let ends = ends.into_iter().filter(|end| *end >= now);
        ends.min().unwrap_or(Duration::MAX)
    }

    /// When a CRL serves no longer.
    fn end_of(&self, list: &RevocationList) -> Duration {
        list.next_update.saturating_add(self.grace)
    }

    /// When the first of the CRLs is due to be renewed, since the Unix epoch.
    pub fn next_crl_update(&self) -> Option<Duration> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    /// A CRL that nobody renews serves for a while, and then refuses what its CA has signed.
    fn check_age_of_lists(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Duration,
    ) -> Result<(), Error> {
        let is_outdated = |list: &&RevocationList| now > self.end_of(list);
        let outdated: Vec<_> = self.lists.iter().filter(is_outdated).collect();
        if outdated.is_empty() {
            return Ok(());
        }
        for certificate in std::iter::once(leaf).chain(others) {
            let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
                return Err(CertificateError::BadEncoding.into());
            };
            let issuer = certificate.issuer().as_raw();
            if outdated.iter().any(|list| *list.issuer == *issuer) {
                return Err(CertificateError::ExpiredRevocationList.into());
            }
        }
        Ok(())
    }
}

const UNREADABLE_CRL: &str = "one of its CRLs cannot be read, or has no nextUpdate";
const TWO_KEYS: &str = "two of its CRLs are of CAs that have one name and different keys: the CRL of a CA is found by the name, \
                        so give the renewed CA another name, or leave the CRL of one of the two out";

/// The CRLs that count: of several of one CA the newest. Only the first of them would be looked at.
///
/// # Errors
/// One cannot be read, or two are of CAs that cannot be told apart by their names.
fn effective_lists(
    file: &NamedFile,
    crls: Vec<CertificateRevocationListDer<'static>>,
) -> Result<
    (
        Vec<RevocationList>,
        Vec<CertificateRevocationListDer<'static>>,
    ),
    FileError,
> {
    let mut effective: Vec<(RevocationList, CertificateRevocationListDer<'static>)> = Vec::new();
    for crl in crls {
        let list = RevocationList::read(&crl);
        let list = list.ok_or_else(|| FileError::new(file, UNREADABLE_CRL))?;
        let same = effective
            .iter_mut()
            .find(|(known, _)| known.covers_same(&list));
        match same {
            Some((known, _)) if known.is_of_other_key(&list) => {
                return Err(FileError::new(file, TWO_KEYS));
            }
            Some(known) if known.0.this_update < list.this_update => *known = (list, crl),
            Some(_) => {}
            None => effective.push((list, crl)),
        }
    }
    Ok(effective.into_iter().unzip())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.ageless.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.ageless.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .ageless
            .verify_client_cert(end_entity, intermediates, now)?;
        let now = Duration::from_secs(now.as_secs());
        self.check_age_of_lists(end_entity, intermediates, now)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ageless
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ageless
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ageless.supported_verify_schemes()
    }
}
