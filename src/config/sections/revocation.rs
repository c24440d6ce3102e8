//! Whether there are the CRLs that certificates of clients are looked up in.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::super::report::Expected;
use super::super::value::Value;
use super::super::words::QuotedWord;

/// Warns of the first CA of which there is no CRL: what it signs itself is refused.
///
/// # Errors
/// There is a CRL of none of the CAs, so that everyone is refused.
pub(super) fn check_lists_of_cas(
    value: &Value<'_>,
    lists: &[CertificateRevocationListDer<'_>],
    cas: &[CertificateDer<'_>],
) -> Result<(), Expected> {
    let lists = lists
        .iter()
        .filter_map(|list| CertificateRevocationList::from_der(list).ok());
    let lists: Vec<_> = lists.map(|(_, list)| list).collect();
    let cas = cas
        .iter()
        .filter_map(|ca| X509Certificate::from_der(ca).ok());
    let cas: Vec<_> = cas.map(|(_, ca)| ca).collect();
    let has_list = |ca: &X509Certificate<'_>| lists.iter().any(|list| is_of(list, ca));
    let without: Vec<_> = cas.iter().filter(|ca| !has_list(ca)).collect();
    let Some(first) = without.first() else {
        return Ok(());
    };
    if without.len() == cas.len() {
        return Err("none of the CRLs in the file is of a CA of `client_ca_file`".into());
    }
    let message = format!("{} has no CRL of a CA of `client_ca_file`", value.name());
    let subject = first.subject().to_string();
    let help = format!("what {} has signed is refused", QuotedWord(&subject));
    value.report.warning(&value.place, message, help);
    Ok(())
}

/// Whether a CRL is of this CA: by its name, and by its key where both say which (RFC 5280 section 5.2.1).
fn is_of(list: &CertificateRevocationList<'_>, ca: &X509Certificate<'_>) -> bool {
    let key_of_list = list
        .extensions()
        .iter()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        });
    let key_of_ca = ca
        .extensions()
        .iter()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key),
            _ => None,
        });
    let is_same_key = match (key_of_list, key_of_ca) {
        (Some(of_list), Some(of_ca)) => of_list == of_ca,
        _ => true,
    };
    is_same_key && list.issuer().as_raw() == ca.subject().as_raw()
}
