//! Warns of certificates and CRLs that are about to end. Whoever renews them needs the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::super::report::Expected;
use super::super::value::Value;
use super::super::words::QuotedWord;

/// How long before its end a certificate is warned about, at most. One that lives for hours is renewed within hours: it
/// is warned about in the last quarter of its life.
pub(super) const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Warns of certificates of a file that have ended or are about to, and of those that are not valid yet: of the first of
/// each kind.
pub(super) fn check_certificates(value: &Value<'_>, certificates: &[CertificateDer<'_>]) {
    let now = SystemTime::now();
    let (mut ended, mut ends_soon, mut begins) = (None, None, None);
    for certificate in certificates {
        // What cannot be read is reported where it is used.
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            continue;
        };
        let validity = certificate.validity();
        let (first, last) = (time(validity.not_before), time(validity.not_after));
        let life = last.duration_since(first).unwrap_or_default();
        if last < now {
            ended = earlier(ended, last);
        } else if last < now + SOON.min(life / 4) {
            ends_soon = earlier(ends_soon, last);
        } else if first > now {
            begins = earlier(begins, first);
        }
    }
    for (when, what, help) in [
        (
            ended,
            "has a certificate that has ended",
            "renew it: it ended on",
        ),
        (
            ends_soon,
            "has a certificate that ends soon",
            "renew it: it ends on",
        ),
        (
            begins,
            "has a certificate that is not valid yet",
            "it is valid from",
        ),
    ] {
        if let Some(when) = when {
            warn(value, what, when, help);
        }
    }
}

/// Refuses a certificate that is no CA's (RFC 5280 section 4.2.1.9): it has signed none of a client.
///
/// # Errors
/// Whose it is.
pub(super) fn check_are_cas(certificates: &[CertificateDer<'_>]) -> Result<(), Expected> {
    for certificate in certificates {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            continue;
        };
        // Version 1 has no extensions that could tell.
        if certificate.version() == X509Version::V3 && !certificate.is_ca() {
            let subject = certificate.subject().to_string();
            return Err(format!(
                "{} in the file is no CA: expected the one that signs the certificates of clients",
                QuotedWord(&subject)
            )
            .into());
        }
    }
    Ok(())
}

fn earlier(first: Option<SystemTime>, other: SystemTime) -> Option<SystemTime> {
    Some(first.map_or(other, |first| first.min(other)))
}

/// Warns of CRLs that should have been renewed.
///
/// # Errors
/// One of them cannot be used at all.
pub(super) fn check_lists(
    value: &Value<'_>,
    lists: &[CertificateRevocationListDer<'_>],
    grace: Duration,
) -> Result<(), Expected> {
    let now = SystemTime::now();
    let mut first = None;
    for list in lists {
        let Ok(([], list)) = CertificateRevocationList::from_der(list) else {
            return Err("a CRL in the file is damaged".into());
        };
        let next = list
            .next_update()
            .ok_or("a CRL in the file does not say when the next one comes (nextUpdate)")?;
        first = earlier(first, time(next));
    }
    if let Some(next) = first.filter(|next| *next < now) {
        let what = if next + grace < now {
            "has a CRL that is out of date: certificates that it is for are refused"
        } else {
            "has a CRL that is out of date, and serves until `crl_grace` is over"
        };
        warn(
            value,
            what,
            next,
            "renew it: the next one should have come on",
        );
    }
    Ok(())
}

fn warn(value: &Value<'_>, what: &str, when: SystemTime, help: &str) {
    let message = format!("{} {what}", value.name());
    let help = format!("{help} {}", httpdate::fmt_http_date(when));
    value.report.warning(&value.place, message, help);
}

/// What is before 1970 has ended as well; what no date can be written of is far away.
fn time(time: ASN1Time) -> SystemTime {
    const LATEST: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}
