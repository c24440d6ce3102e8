//! Why a handshake with a client failed, in a word for metrics and in words for the log.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::time::Instant;

use crate::config::AccessLog;
use crate::proxy::ClientConnection;
use crate::sampling::Failure;
use crate::snapshot::Snapshot;
use crate::telemetry::ACCESS;
use crate::tls::reason;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedHandshake {
    /// The value of the metric label `outcome`.
    pub(super) outcome: &'static str,
    /// What is wrong, and which key may help. Nothing in it was taken from a certificate as it stands there.
    pub(super) cause: Cow<'static, str>,
}

impl FailedHandshake {
    pub(super) fn new(outcome: &'static str, cause: impl Into<Cow<'static, str>>) -> Self {
        let cause = cause.into();
        Self { outcome, cause }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Self::of_tls(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::new(
                "client_gone",
                "the client closed the connection during the handshake",
            ),
            None => Self::new("client_gone", reason(error)),
        }
    }

    pub(super) fn of_tls(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::new(
                "no_certificate",
                "the client has no certificate, and client_certificates = \"required\" demands one",
            ),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::new("refused_by_client", alert_meaning(*alert)),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::new(
                "incompatible",
                format!("the client has nothing in common with this listener: {error}"),
            ),
            error => Self::new(
                "malformed",
                format!("what the client sent is not valid: {error}"),
            ),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::ExpiredContext { not_after, .. } => Self::new(
                "certificate_expired",
                format!("the client's certificate expired on {}", date(*not_after)),
            ),
            CertificateError::Expired => Self::new(
                "certificate_expired",
                "the client's certificate has expired",
            ),
            CertificateError::Revoked => {
                Self::new("certificate_revoked", "the client's certificate is revoked")
            }
            // A CA that was renewed under its old name looks like a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::new(
                "unknown_ca",
                "the client's certificate is signed by no CA of client_ca_file",
            ),
            CertificateError::UnknownRevocationStatus => Self::new(
                "crl_missing",
                "client_crl_file has no CRL of a CA that signed the client's certificate, or one above it",
            ),
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Self::new(
                "crl_expired",
                "the CRL of the CA that signed the client's certificate is past its nextUpdate and crl_grace; \
                 client_crl_file needs a new one",
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::new(
                    "certificate_invalid",
                    "the client's certificate is not one for clients (extended key usage clientAuth)",
                )
            }
            CertificateError::NotValidYetContext { not_before, .. } => Self::new(
                "certificate_invalid",
                format!(
                    "the client's certificate is not valid before {}; is this machine's clock right?",
                    date(*not_before)
                ),
            ),
            // The error type of the verifier is not exported by rustls. Its text is the name of the variant.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::new(
                    "certificate_invalid",
                    "the client presents a CA certificate as its own; it needs one signed by a CA",
                )
            }
            other => Self::new(
                "certificate_invalid",
                format!("the client's certificate is refused: {other}"),
            ),
        }
    }
}

/// Whether a client says by it that it does not trust the certificate that it was shown.
pub(super) fn distrusts(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
    )
}

/// The handshake of a client inside of a CONNECT.
pub(super) struct HandshakeInside<'a> {
    /// The host and port that it is for.
    pub(super) destination: &'a str,
    /// The name of the upstream that it leads to; empty if it leads to none.
    pub(super) upstream: &'a str,
    /// Where clients find what they have to trust.
    pub(super) trust_directory: Option<&'a Path>,
}

impl FailedHandshake {
    /// Writes a line about it, unless many fail in the same way.
    pub(super) fn report(
        &self,
        snapshot: &Snapshot,
        client: &ClientConnection,
        inside: Option<HandshakeInside<'_>>,
    ) {
        let is_logged = match snapshot.config.log.access {
            AccessLog::Off => false,
            AccessLog::All => true,
            AccessLog::Failures | AccessLog::Errors => {
                let upstream = inside.as_ref().map_or("", |inside| inside.upstream);
                let kind = Failure {
                    listener: client.listener.clone(),
                    upstream: upstream.to_owned(),
                    error: Some(self.outcome),
                    status: None,
                };
                let cause = Some(&*self.cause);
                snapshot.sampling.admit(kind, cause, Instant::now())
            }
        };
        if is_logged {
            let inside = inside.as_ref();
            let trust_directory = inside.and_then(|inside| inside.trust_directory);
            tracing::info!(
                target: ACCESS,
                client = %client.peer,
                listener = client.listener,
                destination = inside.map(|inside| inside.destination),
                error = self.outcome,
                cause = &*self.cause,
                trust_directory = trust_directory.map(|path| path.display().to_string()),
                "a TLS handshake failed",
            );
        }
    }
}

fn alert_meaning(alert: AlertDescription) -> Cow<'static, str> {
    match alert {
        alert if distrusts(alert) => format!(
            "the client does not trust the listener's certificate (alert {alert:?}); check its names, its dates, that \
             certificate_file has the intermediate certificates, and which CAs the client trusts"
        )
        .into(),
        other => format!("the client ended the handshake with the alert {other:?}").into(),
    }
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}
