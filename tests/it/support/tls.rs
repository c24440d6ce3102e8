//! A test CA and servers with its certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ::aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A CA; its certificate lies in a file of its own directory.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    dir: TempDir,
}

/// A certificate with its key.
pub(crate) struct CertificateAndKey {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Each CA has a name of its own, so that one does not pass for a renewed other.
        let name = format!("test CA {:?}", std::time::SystemTime::now());
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            dir,
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client that trusts this CA alone, and agrees on no protocol by ALPN.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS)
    }

    /// The same, which speaks these versions of TLS.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// The same, which presents `certificate`.
    pub(crate) fn client_with(&self, certificate: &CertificateAndKey) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(
                vec![certificate.certificate.clone()],
                certificate.key.clone_key(),
            )
            .unwrap()
    }

    /// A CRL in PEM that revokes these, and is due to be renewed on the first day of `year`.
    pub(crate) fn crl(&self, revoked: &[&CertificateAndKey], year: i32) -> String {
        let revoked = revoked.iter().map(|certificate| RevokedCertParams {
            serial_number: certificate.serial(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        roots
    }

    /// A certificate for `names` that is valid now.
    pub(crate) fn certificate(&self, names: &[&str]) -> CertificateAndKey {
        self.certificate_until(names, 4000)
    }

    /// Its own certificate, with its key.
    pub(crate) fn itself(&self) -> CertificateAndKey {
        let key_pem = self.issuer.key().serialize_pem();
        CertificateAndKey {
            certificate: CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap(),
            key: PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap(),
            certificate_pem: self.pem.clone(),
            key_pem,
        }
    }

    /// A certificate for the servers of this process, by their IP.
    pub(crate) fn own_certificate(&self) -> CertificateAndKey {
        self.certificate(&[&super::ip().to_string()])
    }

    /// A certificate for `names`, which may be URIs, that ends with the first day of `year`.
    pub(crate) fn certificate_until(&self, names: &[&str], year: i32) -> CertificateAndKey {
        self.sign(names, date_time_ymd(year, 1, 1))
    }

    /// A certificate for `names`, which may be URIs, that ends then. It has whole seconds.
    pub(crate) fn certificate_ending(&self, names: &[&str], end: SystemTime) -> CertificateAndKey {
        self.sign(names, end.into())
    }

    fn sign(&self, names: &[&str], end: OffsetDateTime) -> CertificateAndKey {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let names = names.iter().map(ToString::to_string);
        let (uris, names): (Vec<String>, Vec<String>) =
            names.partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(names).unwrap();
        let uris = uris
            .into_iter()
            .map(|uri| Ia5String::try_from(uri).unwrap());
        params.subject_alt_names.extend(uris.map(SanType::URI));
        params.not_after = end;
        params.serial_number = Some(SERIAL.fetch_add(1, Ordering::Relaxed).into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        CertificateAndKey {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: key.into(),
        }
    }
}

impl CertificateAndKey {
    /// A server that presents this certificate and offers the protocols of `alpn`.
    pub(crate) fn server(self, alpn: &[&str]) -> ServerConfig {
        self.server_to(None, rustls::ALL_VERSIONS, alpn)
    }

    /// The same, to holders of certificates of `clients` alone.
    pub(crate) fn demanding(self, clients: &Ca, alpn: &[&str]) -> ServerConfig {
        self.server_to(Some(clients), rustls::ALL_VERSIONS, alpn)
    }

    /// The same, over TLS 1.2 alone: who has no certificate hears of it in the handshake.
    pub(crate) fn demanding_in_tls12(self, clients: &Ca, alpn: &[&str]) -> ServerConfig {
        self.server_to(Some(clients), &[&rustls::version::TLS12], alpn)
    }

    fn server_to(
        self,
        clients: Option<&Ca>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder
            .with_single_cert(vec![self.certificate], self.key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }

    fn serial(&self) -> SerialNumber {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).unwrap();
        SerialNumber::from_slice(certificate.raw_serial())
    }

    /// `x5t#S256` of the certificate (RFC 7515 section 4.1.8).
    pub(crate) fn thumbprint(&self) -> String {
        thumbprint(&self.certificate)
    }
}

/// A listener `secured` before the upstream `api`, with TLS and with CAs and CRLs of clients. Its files are written to
/// `dir`.
pub(crate) fn secured(dir: &Path) -> String {
    let ca = Ca::new();
    let own = ca.certificate(&["gateway.example"]);
    for (name, text) in [
        ("own.pem", &own.certificate_pem),
        ("own.key", &own.key_pem),
        ("clients.pem", &ca.pem),
        ("clients.crl", &ca.crl(&[], 4000)),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    format!(
        "[[listeners]]\nname = \"secured\"\naddress = \"{}\"\nupstream = \"api\"\n\
         tls = {{ certificate_file = \"own.pem\", key_file = \"own.key\", client_ca_file = \"clients.pem\", \
         client_crl_file = \"clients.crl\" }}\n",
        super::any_port()
    )
}

/// `x5t#S256` of a certificate in DER.
pub(crate) fn thumbprint(certificate: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate))
}
