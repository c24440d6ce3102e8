//! Why a TLS handshake failed, in words: whose fault it is, and which key may help.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::redact::Redactor;
use crate::tls::reason;

/// Names of a certificate that a message lists.
const MOST_NAMES: usize = 4;

/// Why a handshake failed.
pub(super) struct HandshakeFailure {
    /// What is wrong with which side, and which key may help.
    pub(super) reason: String,
    /// The server refused our client certificate, or wants one and we have none.
    pub(super) certificate_refused: bool,
}

/// Why a handshake failed. `has_certificate`: we presented a client certificate.
pub(super) fn handshake_failure(
    error: &io::Error,
    ca_file: Option<&Path>,
    has_certificate: bool,
    redactor: &Redactor,
) -> HandshakeFailure {
    if let Some(reason) = certificate_refusal(error, has_certificate) {
        return HandshakeFailure {
            reason,
            certificate_refused: true,
        };
    }
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    let reason = match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            certificate_failure(reason, ca_file, redactor)
        }
        Some(rustls::Error::AlertReceived(alert)) => alert_meaning(*alert),
        Some(rustls::Error::InvalidMessage(_)) => {
            "the server does not answer in TLS; is the scheme or the port wrong?".to_owned()
        }
        Some(other) => redactor.clean(&other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the handshake".to_owned()
        }
        None => reason(error),
    };
    HandshakeFailure {
        reason,
        certificate_refused: false,
    }
}

/// If `error` means that the server refused our client certificate, or wants one and we have none: what the
/// server says, and what to check.
pub(super) fn certificate_refusal(
    error: &(dyn Error + 'static),
    has_certificate: bool,
) -> Option<String> {
    let alert = alert_of(error)?;
    if alert == AlertDescription::CertificateRequired {
        let reason = if has_certificate {
            "the server wants a client certificate, and takes none with a key such as ours; \
                 check the kind of key in tls.key_file"
        } else {
            "the server wants a client certificate; name tls.certificate_file and tls.key_file"
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
    has_certificate
        .then(|| format!("the server refused our client certificate: {meaning}; {check}"))
}

/// The alert that ended a connection, wherever in the chain of causes it is.
fn alert_of(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        // The source of an I/O error is not the error that it holds, but the source of that one. So what it holds is
        // looked at here.
        let held = error.downcast_ref().and_then(io::Error::get_ref);
        let held = held.and_then(|e| e.downcast_ref());
        if let Some(rustls::Error::AlertReceived(alert)) = held.or(error.downcast_ref()) {
            return Some(*alert);
        }
        next = error.source();
    }
    None
}

fn certificate_failure(
    reason: &CertificateError,
    ca_file: Option<&Path>,
    redactor: &Redactor,
) -> String {
    match reason {
        // A CA that was renewed under its old name looks like a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let mut why = match ca_file {
                Some(file) => format!(
                    "the server's certificate is signed by no CA of {}",
                    file.display()
                ),
                None => "the server's certificate is signed by no CA of this system; \
                             tls.ca_file can name one to trust"
                    .to_owned(),
            };
            // The verifier says the same of a key that is too short.
            if *reason == CertificateError::BadSignature {
                why += "; or a certificate of its chain has an RSA key of fewer than 2048 \
                            bits, which proves nothing";
            }
            why
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            // Names come in the verifier's own notation: `DnsName("example.com")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let names = presented.iter().take(MOST_NAMES).map(bare);
            let mut names = redactor.clean(&names.collect::<Vec<_>>().join(", "));
            match presented.len() {
                0 => names = "no name at all".to_owned(),
                all if all > MOST_NAMES => names += " and others",
                _ => {}
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
        // The error type of the verifier is not exported by rustls. Its text is the name of the variant.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server presents a CA certificate as its own; it needs one signed by that CA"
                .to_owned()
        }
        other => {
            let why = redactor.clean(&other.to_string());
            format!("the server's certificate is refused: {why}")
        }
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
        AlertDescription::HandshakeFailure => {
            "the server refused the handshake and says only HandshakeFailure: it has no cipher \
             suite, curve or kind of certificate in common with us (ECDHE with AES-GCM or \
             ChaCha20-Poly1305 is needed), or it wants a client certificate (tls.certificate_file)"
                .to_owned()
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
            // We presented no certificate: the server cannot mean that one.
            assert_eq!(certificate_refusal(&received(alert), false), None);
        }
        for has_certificate in [true, false] {
            let told =
                certificate_refusal(&received(CertificateRequired), has_certificate).unwrap();
            assert!(told.starts_with("the server wants a client certificate"));
            let other = received(InternalError);
            assert_eq!(certificate_refusal(&other, has_certificate), None);
            let closed = io::ErrorKind::UnexpectedEof.into();
            let closed: io::Error = closed;
            assert_eq!(certificate_refusal(&closed, has_certificate), None);
        }
    }

    #[test]
    fn a_bare_handshake_failure_says_what_it_may_mean() {
        let error = received(AlertDescription::HandshakeFailure);
        let told = handshake_failure(&error, None, false, &Redactor::default());
        for cause in [
            "HandshakeFailure",
            "no cipher suite",
            "tls.certificate_file",
        ] {
            assert!(told.reason.contains(cause), "{}", told.reason);
        }
        assert!(!told.certificate_refused, "nobody knows that");
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
