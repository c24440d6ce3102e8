//! Certificates for tests of this crate.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use crate::config::{CertificateFiles, ClientCertificates, ListenerTls};

/// The grace of the CRLs.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// The first day of 2030, since the Unix epoch: when CRLs are due to be renewed.
pub fn in_2030() -> Duration {
    Duration::from_secs(date_time_ymd(2030, 1, 1).unix_timestamp() as u64)
}

/// A CA.
pub struct Ca {
    /// Signs.
    pub issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    /// The same.
    pub der: CertificateDer<'static>,
}

/// A certificate with this name and serial number.
pub fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

impl Ca {
    /// One that signed itself, or that another has signed.
    pub fn new(name: &str, serial: u64, issuer: Option<&Ca>) -> Self {
        Self::of(params(name, serial), issuer)
    }

    /// One that another has signed, and that ends when this year begins.
    pub fn until(year: i32, name: &str, issuer: &Ca) -> Self {
        let mut params = params(name, 2);
        params.not_after = date_time_ymd(year, 1, 1);
        Self::of(params, Some(issuer))
    }

    fn of(mut params: CertificateParams, issuer: Option<&Ca>) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            Some(ca) => params.signed_by(&key, &ca.issuer),
            None => params.self_signed(&key),
        };
        let certificate = certificate.unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A client's certificate.
    pub fn leaf(&self, serial: u64) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let leaf = params("billing.internal", serial).signed_by(&key, &self.issuer);
        leaf.unwrap().der().clone()
    }

    /// Revokes these serial numbers; published in 2020, due to be renewed in 2030.
    pub fn crl(&self, revoked: &[u64]) -> String {
        self.crl_of(2020, revoked)
    }

    /// The same, published in this year and due to be renewed ten years later.
    pub fn crl_of(&self, year: i32, revoked: &[u64]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(year + 10, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// The settings of a listener whose files lie in `dir`; `crls` are written there.
pub fn settings(dir: &Path, root: &Ca, crls: Option<&str>) -> ListenerTls {
    let own = Ca::new("own", 1, None);
    let key = KeyPair::generate().unwrap();
    let leaf = params("gateway.example", 2).signed_by(&key, &own.issuer);
    for (name, text) in [
        ("own.pem", leaf.unwrap().pem()),
        ("own.key", key.serialize_pem()),
        ("ca.pem", root.pem.clone()),
        ("ca.crl", crls.unwrap_or_default().to_owned()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    ListenerTls {
        certificates: vec![CertificateFiles {
            certificate_file: dir.join("own.pem").into(),
            key_file: dir.join("own.key").into(),
        }],
        client_ca_file: Some(dir.join("ca.pem").into()),
        client_crl_file: crls.map(|_| dir.join("ca.crl").into()),
        client_certificates: ClientCertificates::Optional,
        crl_grace: DAY,
        tls13_only: false,
    }
}
