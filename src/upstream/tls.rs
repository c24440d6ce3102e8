//! TLS client settings: from files to rustls, and from its errors to words.

use std::error::Error;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use url::Host;
use zeroize::Zeroizing;

use crate::config::Tls;
use crate::jose::thumbprint;

/// Why TLS cannot be set up. Names files, never their content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together, or one of them is not given.
    #[error("certificate_file and key_file: {0}")]
    ClientCertificate(String),
    /// The system has no CA certificates.
    #[error("this system has no CA certificates ({0}); name a ca_file")]
    NoRoots(String),
    /// No certificate can carry this name.
    #[error("{0:?} is not a valid server name")]
    ServerName(String),
    /// The URL cannot be dialed at all.
    #[error("the URL names no host and port")]
    Url,
}

/// What the files of `tls` hold now, and what else it says: equal as long as a connector built from
/// it would come out the same.
pub fn fingerprint(tls: &Tls) -> u64 {
    let mut hasher = DefaultHasher::new();
    tls.hash(&mut hasher);
    for file in tls.files() {
        match std::fs::read(file).map(Zeroizing::new) {
            Ok(content) => content.hash(&mut hasher),
            Err(e) => e.kind().hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// A certificate chain and its key as their files held them at one moment: whoever is handed one
/// presents it for good, whatever the files come to hold.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<SingleCertAndKey>,
    thumbprint: String,
}

impl Identity {
    /// Reads the certificate and the key that `tls` names.
    ///
    /// # Errors
    /// One of the files cannot be used, is not named, or is not of the other.
    pub fn read(tls: &Tls) -> Result<Self, TlsError> {
        let (Some(certificates), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
            let reason = "one is not given".to_owned();
            return Err(TlsError::ClientCertificate(reason));
        };
        let chain = certificates_of(certificates)?;
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain.clone(), key_of(key)?, &provider)
            .map_err(|e| TlsError::ClientCertificate(unsuited(&e)))?;
        Ok(Self {
            thumbprint: thumbprint(key.cert.first().map_or(&[], |leaf| leaf.as_ref())),
            key: Arc::new(SingleCertAndKey::from(key)),
            chain,
        })
    }

    /// `x5t#S256` of its certificate, which a token bound to it repeats in `cnf` (RFC 8705 section
    /// 3.1).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether both present the same. A certificate has one key, so that keys need no look.
    pub fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.thumbprint)
    }
}

/// Builds the rustls configuration, without ALPN. The files of `tls` are read, but for those of the
/// certificate where an identity is given.
pub(super) fn client_config(
    tls: &Tls,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let roots = match &tls.ca_file {
        Some(file) => Arc::new(roots_of(file)?),
        None => system_roots()?,
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
    let key = match identity {
        Some(identity) => Some(identity.key.clone()),
        None if tls.certificate_file.is_none() && tls.key_file.is_none() => None,
        None => Some(Identity::read(tls)?.key),
    };
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key),
        None => builder.with_no_client_auth(),
    };
    // One connector speaks to one server name: the default's room for hundreds is not needed.
    config.resumption = Resumption::in_memory_sessions(32);
    Ok(config)
}

fn unsuited(error: &rustls::Error) -> String {
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

/// Why a handshake failed, for people.
pub(super) struct Failure {
    /// What is wrong with which side, and which key may help.
    pub(super) reason: String,
    /// It is our client certificate, or that there is none.
    pub(super) certificate_refused: bool,
}

/// Why a handshake failed. `certified`: we have a client certificate.
pub(super) fn handshake_failure(
    error: &io::Error,
    ca_file: Option<&Path>,
    certified: bool,
) -> Failure {
    if let Some(reason) = certificate_refusal(error, certified) {
        return Failure {
            reason,
            certificate_refused: true,
        };
    }
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    let reason = match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => certificate_failure(reason, ca_file),
        Some(rustls::Error::AlertReceived(alert)) => alert_meaning(*alert),
        Some(rustls::Error::InvalidMessage(_)) => {
            "the server does not answer in TLS; is the scheme or the port wrong?".to_owned()
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the handshake".to_owned()
        }
        None => reason(error),
    };
    Failure {
        reason,
        certificate_refused: false,
    }
}

/// If `error` comes of the server's refusing our client certificate, or of our having none: what it
/// says about it, and what to look at.
pub(super) fn certificate_refusal(
    error: &(dyn Error + 'static),
    certified: bool,
) -> Option<String> {
    let alert = alert_of(error)?;
    if alert == AlertDescription::CertificateRequired {
        let reason = match certified {
            true => {
                "the server wants a client certificate, and takes none with a key such as ours; \
                 check the kind of key in tls.key_file"
            }
            false => {
                "the server wants a client certificate; name tls.certificate_file and tls.key_file"
            }
        };
        return Some(reason.to_owned());
    }
    let (meaning, check) = match alert {
        AlertDescription::BadCertificate => (
            "it is damaged or wrongly signed",
            "check that tls.certificate_file is whole, and signed by a CA that the server trusts",
        ),
        AlertDescription::UnsupportedCertificate => (
            "it is of a kind that the server does not take",
            "check the type of its key and that it may be used for clients",
        ),
        AlertDescription::CertificateRevoked => (
            "it was revoked",
            "tls.certificate_file and tls.key_file need new ones",
        ),
        AlertDescription::CertificateExpired => (
            "it has expired, or is not valid yet",
            "check the dates of tls.certificate_file and what renews it",
        ),
        AlertDescription::CertificateUnknown => (
            "it is not acceptable, and the server does not say why",
            "check that tls.certificate_file is the one registered, and who signed it",
        ),
        AlertDescription::UnknownCA => (
            "the server does not trust the CA that signed it",
            "check that tls.certificate_file is the one meant, with any intermediate certificates",
        ),
        AlertDescription::AccessDenied => (
            "it is valid, but its holder has no access",
            "check that tls.certificate_file is the one registered",
        ),
        _ => return None,
    };
    certified.then(|| format!("the server refused our client certificate: {meaning}; {check}"))
}

/// The alert that ended a connection, wherever in the chain of causes it is.
fn alert_of(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error holds is not its source: its source is that one's source.
        let held = error.downcast_ref().and_then(io::Error::get_ref);
        if let Some(rustls::Error::AlertReceived(alert)) = held.and_then(|e| e.downcast_ref()) {
            return Some(*alert);
        }
        next = error.source();
    }
    None
}

/// An I/O error in words alone: no error numbers, no prefixes that repeat what the caller says.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(&*text, |(words, _)| words);
    text.trim_start_matches("failed to lookup address information: ")
        .to_owned()
}

fn certificate_failure(reason: &CertificateError, ca_file: Option<&Path>) -> String {
    match reason {
        // A bad signature is what a renewed CA with its old name looks like.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match ca_file {
            Some(file) => format!(
                "the server's certificate is signed by no CA of {}",
                file.display()
            ),
            None => "the server's certificate is signed by no CA of this system; \
                     tls.ca_file can name one to trust"
                .to_owned(),
        },
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            // Names come in the verifier's own notation: `DnsName("example.com")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let mut names = presented.iter().map(bare).collect::<Vec<_>>().join(", ");
            if names.is_empty() {
                names = "no name at all".to_owned();
            }
            let expected = expected.to_str();
            format!("the server's certificate is for {names}, not for {expected}")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is not valid before {}; is this machine's clock right?",
            date(*not_before)
        ),
        // The verifier's own error type is not ours to name; its text is its variant's name.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server presents a CA certificate as its own; it needs one signed by that CA"
                .to_owned()
        }
        other => format!("the server's certificate is refused: {other}"),
    }
}

fn alert_meaning(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::NoApplicationProtocol => {
            "the server speaks none of the HTTP versions asked for".to_owned()
        }
        AlertDescription::ProtocolVersion => {
            "the server speaks none of the TLS versions allowed here".to_owned()
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know the name asked for; tls.server_name can name another"
                .to_owned()
        }
        other => format!("the server refused the handshake with the alert {other:?}"),
    }
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// The system's CAs, read once per process; a failure is not kept.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(TlsError::NoRoots(
            reason.unwrap_or_else(|| "none found".to_owned()),
        ));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}

fn roots_of(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(file)? {
        roots
            .add(certificate)
            .map_err(|e| broken(file, format!("not usable as a CA: {e}")))?;
    }
    Ok(roots)
}

fn certificates_of(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| broken(file, "its PEM is malformed"))?;
    if certificates.is_empty() {
        return Err(broken(file, "it holds no PEM certificate"));
    }
    Ok(certificates)
}

fn key_of(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(file)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| broken(file, "it holds no unencrypted PEM private key"))
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let bytes = std::fs::read(file).map_err(|e| broken(file, reason(&e)))?;
    Ok(Zeroizing::new(bytes))
}

fn broken(file: &Path, reason: impl Into<String>) -> TlsError {
    TlsError::File {
        path: file.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(alert: AlertDescription) -> io::Error {
        let error = rustls::Error::AlertReceived(alert);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn a_refused_certificate_is_told_from_other_alerts() {
        use AlertDescription::*;
        for alert in [
            BadCertificate,
            UnsupportedCertificate,
            CertificateRevoked,
            CertificateExpired,
            CertificateUnknown,
            UnknownCA,
            AccessDenied,
        ] {
            let told = certificate_refusal(&received(alert), true).unwrap();
            let start = "the server refused our client certificate: ";
            assert!(told.starts_with(start), "{alert:?}: {told}");
            // Whatever the server means, it is not about what we do not have.
            assert_eq!(certificate_refusal(&received(alert), false), None);
        }
        for certified in [true, false] {
            let told = certificate_refusal(&received(CertificateRequired), certified).unwrap();
            assert!(told.starts_with("the server wants a client certificate"));
            let other = received(InternalError);
            assert_eq!(certificate_refusal(&other, certified), None);
            let closed = io::ErrorKind::UnexpectedEof.into();
            let closed: io::Error = closed;
            assert_eq!(certificate_refusal(&closed, certified), None);
        }
    }

    #[test]
    fn an_alert_is_found_beneath_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("it broke")]
        struct Broke(#[source] io::Error);

        let error = Broke(io::Error::other(Broke(received(
            AlertDescription::UnknownCA,
        ))));
        assert!(certificate_refusal(&error, true).is_some());
    }
}
