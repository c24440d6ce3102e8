//! Warns of certificates and CRLs that are about to end. Whoever renews them needs the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::super::report::Expected;
use super::super::value::Value;

/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Warns of the certificate of a file that ends first, and of one that is not valid yet.
pub(super) fn check_certificates(value: &Value<'_>, certificates: &[CertificateDer<'_>]) {
    let parsed = certificates.iter();
    let parsed = parsed.filter_map(|certificate| X509Certificate::from_der(certificate).ok());
    let spans: Vec<_> = parsed
        .map(|(_, certificate)| {
            let validity = certificate.validity();
            (time(validity.not_before), time(validity.not_after))
        })
        .collect();
    let now = SystemTime::now();
    let begins = spans.iter().map(|(begins, _)| *begins).max();
    if let Some(begins) = begins.filter(|begins| *begins > now) {
        warn(
            value,
            "has a certificate that is not valid yet",
            begins,
            "valid from",
        );
    }
    let Some(ends) = spans.iter().map(|(_, ends)| *ends).min() else {
        return;
    };
    if ends < now {
        warn(
            value,
            "has a certificate that has ended",
            ends,
            "renew it: it ended on",
        );
    } else if ends < now + SOON {
        warn(
            value,
            "has a certificate that ends soon",
            ends,
            "renew it: it ends on",
        );
    }
}

/// Warns of CRLs that should have been renewed.
pub(super) fn check_lists(
    value: &Value<'_>,
    lists: &[CertificateRevocationListDer<'_>],
    grace: Duration,
) -> Result<(), Expected> {
    let now = SystemTime::now();
    let mut first: Option<SystemTime> = None;
    for list in lists {
        let Ok(([], list)) = CertificateRevocationList::from_der(list) else {
            return Err("a CRL in the file is damaged".into());
        };
        let next = list
            .next_update()
            .ok_or("a CRL in the file does not say when the next one comes (nextUpdate)")?;
        let next = time(next);
        first = Some(first.map_or(next, |first| first.min(next)));
    }
    if let Some(next) = first.filter(|next| *next < now) {
        let (what, help) = if next + grace < now {
            (
                "has a CRL that is out of date: certificates that it is for are refused",
                "renew it: the next one should have come on",
            )
        } else {
            (
                "has a CRL that is out of date, and serves until `crl_grace` is over",
                "renew it: the next one should have come on",
            )
        };
        warn(value, what, next, help);
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
