//! TLS client settings: from files to rustls.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use url::{Host, Url};

use super::error::TlsError;
use super::system_roots;
use crate::config::{EgressProxy, ProxyScheme, Tls};
use crate::jose::thumbprint;
use crate::tls::{certificates_of, key_of, roots_of};

/// A number for `tls` and `proxy` and what their files hold now. It stays the same as long as a connector to `url`
/// that is built from them would be the same: where there is no TLS, no file of TLS is read.
pub fn fingerprint(url: &Url, tls: &Tls, proxy: Option<&EgressProxy>) -> u64 {
    let of_server = (url.scheme() == "https").then_some(tls);
    let of_proxy = proxy.filter(|proxy| proxy.scheme == ProxyScheme::Https);
    let mut hasher = DefaultHasher::new();
    let secret = proxy.and_then(|proxy| proxy.authorization.as_ref()?.file());
    let mut files: Vec<_> = secret.into_iter().collect();
    for tls in [of_server, of_proxy.map(|proxy| &proxy.tls)]
        .into_iter()
        .flatten()
    {
        tls.hash(&mut hasher);
        if tls.ca_file.is_none() {
            system_roots::fingerprint().hash(&mut hasher);
        }
        files.extend(tls.files());
    }
    for file in files {
        match file.read() {
            Ok(content) => content.hash(&mut hasher),
            Err(e) => e.kind().hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// A client certificate with its chain and its key, as their files held them at one moment. Connections that
/// present it go on to do so, whatever the files hold later.
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<SingleCertAndKey>,
    thumbprint: String,
}

impl ClientCertificate {
    /// Reads the certificate and the key that `tls` names.
    ///
    /// # Errors
    /// One of the files cannot be used, is not named, or is not of the other.
    pub fn read(tls: &Tls) -> Result<Self, TlsError> {
        let (Some(certificates), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
            let reason = "one of them is not given".to_owned();
            return Err(TlsError::ClientCertificate(reason));
        };
        let chain = certificates_of(certificates)?;
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain.clone(), key_of(key)?, &provider)
            .map_err(|e| TlsError::ClientCertificate(certificate_error(&e)))?;
        Ok(Self {
            thumbprint: thumbprint(key.cert.first().map_or(&[], |leaf| leaf.as_ref())),
            key: Arc::new(SingleCertAndKey::from(key)),
            chain,
        })
    }

    /// `x5t#S256` of the certificate, which a token that is bound to it repeats in `cnf` (RFC 8705 section
    /// 3.1).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether both are the same. A certificate has one key, so that the keys need not be compared.
    pub fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.thumbprint)
    }
}

/// Builds the rustls configuration, without ALPN. The files of `tls` are read, except those of the client
/// certificate where one is given.
pub(super) fn client_config(
    tls: &Tls,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let roots = match &tls.ca_file {
        Some(file) => Arc::new(roots_of(file)?),
        None => system_roots::read()?,
    };
    let all: &[_] = if tls.tls13_only {
        &[&rustls::version::TLS13]
    } else {
        rustls::DEFAULT_VERSIONS
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(all)
        .expect("the provider supports every version that rustls does")
        .with_root_certificates(roots);
    let key = match certificate {
        Some(certificate) => Some(certificate.key.clone()),
        None if tls.certificate_file.is_none() && tls.key_file.is_none() => None,
        None => Some(ClientCertificate::read(tls)?.key),
    };
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key),
        None => builder.with_no_client_auth(),
    };
    // A connector speaks to one server name. The default would have room for hundreds.
    config.resumption = Resumption::in_memory_sessions(32);
    Ok(config)
}

fn certificate_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        other => other.to_string(),
    }
}

/// The name the server's certificate must carry.
pub(super) fn server_name(tls: &Tls, host: &Host) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.server_name, host) {
        (Some(name), _) => name,
        (None, Host::Domain(name)) => name,
        (None, Host::Ipv4(ip)) => return Ok(ServerName::from(std::net::IpAddr::from(*ip))),
        (None, Host::Ipv6(ip)) => return Ok(ServerName::from(std::net::IpAddr::from(*ip))),
    };
    ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()))
}
