//! When CRLs are renewed.

use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// What must be known of a CRL beside what it revokes.
#[derive(Debug)]
pub(super) struct RevocationList {
    /// The name of its CA, in DER.
    pub(super) issuer: Box<[u8]>,
    /// By when its CA publishes the next one (RFC 5280 section 5.1.2.5), since the Unix epoch.
    pub(super) next_update: Duration,
}

impl RevocationList {
    /// `None` if it cannot be read, or does not say when the next one comes.
    pub(super) fn read(list: &CertificateRevocationListDer<'_>) -> Option<Self> {
        let (rest, list) = CertificateRevocationList::from_der(list).ok()?;
        let next_update = list.next_update()?.timestamp();
        rest.is_empty().then_some(Self {
            issuer: list.issuer().as_raw().into(),
            next_update: Duration::from_secs(u64::try_from(next_update).unwrap_or(0)),
        })
    }
}
