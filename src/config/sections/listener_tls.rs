//! Reads `tls` and `certificates` of listeners.

use rustls::pki_types::CertificateDer;

use super::super::file_rules::FileRules;
use super::super::keys::{CERTIFICATE, LISTENER, LISTENER_TLS};
use super::super::permissions;
use super::super::read::Section;
use super::super::settings::{CertificateFiles, ListenerTls, NamedFile};
use super::super::value::Value;
use super::certificate_choice;
use super::tls::{check_certificate_and_key, check_client_cas, check_lists};

impl ListenerTls {
    /// Reads TLS of a listener: `None` without `tls`, and after a mistake that leaves no certificate.
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let tls = section.read(&LISTENER.tls);
        let more = section.read(&LISTENER.certificates);
        let Some(tls) = tls else {
            if let Some(value) = section.written(&LISTENER.certificates)
                && !section.has(&LISTENER.tls)
            {
                value.error("has no effect", "it belongs to `tls`, which is missing");
            }
            return None;
        };
        let mut presented = Vec::new();
        let first = CertificateFiles::read(&tls, files, &mut presented);
        let more = more.into_iter().flatten();
        let more =
            more.filter_map(|section| CertificateFiles::read(&section, files, &mut presented));
        let more: Vec<_> = more.collect();
        certificate_choice::check(&presented);
        let client_ca = file(tls.read(&LISTENER_TLS.client_ca_file), files);
        let client_crl = file(tls.read(&LISTENER_TLS.client_crl_file), files);
        let cas = client_ca
            .as_ref()
            .and_then(|(value, file)| check_client_cas(value, file));
        if client_ca.is_some() {
            if let Some(value) = tls.value(LISTENER_TLS.crl_grace.name)
                && !tls.has(&LISTENER_TLS.client_crl_file)
            {
                value.error(
                    "has no effect",
                    "it belongs to `client_crl_file`, which is missing",
                );
            }
        } else if !tls.has(&LISTENER_TLS.client_ca_file) {
            for key in [
                LISTENER_TLS.client_crl_file.name,
                LISTENER_TLS.client_certificates.name,
                LISTENER_TLS.crl_grace.name,
            ] {
                if let Some(value) = tls.value(key) {
                    value.error(
                        "has no effect",
                        "it belongs to `client_ca_file`, which is missing",
                    );
                }
            }
        }
        let without_place = |file: Option<(Value<'_>, NamedFile)>| file.map(|(_, file)| file);
        let client_certificates = tls.read(&LISTENER_TLS.client_certificates);
        let crl_grace = tls.read(&LISTENER_TLS.crl_grace);
        if let Some((value, file)) = &client_crl {
            check_lists(value, file, crl_grace, &cas.unwrap_or_default());
        }
        let tls13_only = tls.read(&LISTENER_TLS.min_version);
        Some(Self {
            certificates: [first?].into_iter().chain(more).collect(),
            client_ca_file: without_place(client_ca),
            client_crl_file: without_place(client_crl),
            client_certificates,
            crl_grace,
            tls13_only,
        })
    }
}

impl CertificateFiles {
    /// Reads a certificate and its key, and reports what is wrong with either or both. If nothing is, the certificate is added
    /// to those that are `presented`.
    fn read<'a>(
        section: &Section<'a>,
        files: &FileRules<'_>,
        presented: &mut Vec<(Value<'a>, CertificateDer<'static>)>,
    ) -> Option<Self> {
        let certificate = file(section.read(&CERTIFICATE.certificate_file), files);
        let key = section.read(&CERTIFICATE.key_file).map(|(value, path)| {
            let file = files.named(path, &value.place);
            permissions::check_secret(&value, &file);
            (value, file)
        });
        let (certificate, key) = (certificate?, key?);
        let chain = check_certificate_and_key(&certificate, &key);
        if let Some(leaf) = chain.and_then(|chain| chain.into_iter().next()) {
            presented.push((certificate.0, leaf));
        }
        Some(Self {
            certificate_file: certificate.1,
            key_file: key.1,
        })
    }
}

/// A file that is named, which holds no secret, and where.
fn file<'a>(
    path: Option<(Value<'a>, &str)>,
    files: &FileRules<'_>,
) -> Option<(Value<'a>, NamedFile)> {
    let (value, path) = path?;
    let file = files.named(path, &value.place);
    permissions::check(&value, &file);
    Some((value, file))
}
