//! When CRLs are renewed.

use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::validity::since_epoch;

/// What must be known of a CRL beside what it revokes.
#[derive(Debug)]
pub(super) struct RevocationList {
    /// The name of its CA, in DER.
    pub(super) issuer: Box<[u8]>,
    /// The identifier of the key that signed it (RFC 5280 section 5.2.1), if it says so.
    key: Option<Box<[u8]>>,
    /// The part of its CA's certificates that it is for (section 5.2.5), if it is not for all.
    distribution_point: Option<Box<[u8]>>,
    /// When it was published, since the Unix epoch.
    pub(super) this_update: Duration,
    /// By when its CA publishes the next one (RFC 5280 section 5.1.2.5), since the Unix epoch.
    pub(super) next_update: Duration,
}

impl RevocationList {
    /// `None` if it cannot be read, or does not say when the next one comes.
    pub(super) fn read(list: &CertificateRevocationListDer<'_>) -> Option<Self> {
        let (rest, list) = CertificateRevocationList::from_der(list).ok()?;
        let next_update = list.next_update()?;
        let key =
            list.extensions()
                .iter()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::AuthorityKeyIdentifier(authority) => {
                        authority.key_identifier.as_ref().map(|key| key.0.into())
                    }
                    _ => None,
                });
        let distribution_point = list
            .extensions()
            .iter()
            .find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
            .map(|extension| extension.value.into());
        rest.is_empty().then_some(Self {
            issuer: list.issuer().as_raw().into(),
            key,
            distribution_point,
            this_update: since_epoch(list.last_update()),
            next_update: since_epoch(next_update),
        })
    }

    /// Whether both are for the same certificates, as far as their names say.
    pub(super) fn covers_same(&self, other: &Self) -> bool {
        (&self.issuer, &self.distribution_point) == (&other.issuer, &other.distribution_point)
    }

    /// Whether both say which key signed them, and it is not the same.
    pub(super) fn is_of_other_key(&self, other: &Self) -> bool {
        matches!((&self.key, &other.key), (Some(one), Some(other)) if one != other)
    }
}
