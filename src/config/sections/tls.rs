//! Reads `tls` tables. Files are opened once here, so that a wrong one is known before it is needed.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::super::file_rules::FileRules;
use super::super::keys::{CREDENTIAL, TLS, UPSTREAM, UPSTREAM_TLS};
use super::super::permissions;
use super::super::read::Section;
use super::super::settings::{NamedFile, Tls};
use super::super::tls_files::{
    check_pair, damaged, naming, naming_secret, read, read_certificates, read_key, read_roots,
};
use super::super::value::Value;
use super::{revocation, validity};

impl Tls {
    /// Reads the `tls` table of a credential.
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Self {
        match section.read(&CREDENTIAL.tls) {
            Some(section) => Self::read_keys(&section, files),
            None => Self::default(),
        }
    }

    /// Reads the `tls` table of an upstream; also the credential whose certificate it presents.
    pub(super) fn read_bindable<'a>(
        section: &Section<'a>,
        files: &FileRules<'_>,
    ) -> (Self, Option<(Value<'a>, &'a str)>) {
        let Some(section) = section.read(&UPSTREAM.tls) else {
            return (Self::default(), None);
        };
        let tls = Self::read_keys(&section, files);
        let certificate_from = section.read(&UPSTREAM_TLS.certificate_from);
        if let Some((value, _)) = &certificate_from
            && let Some(other) = [&TLS.certificate_file, &TLS.key_file]
                .into_iter()
                .find(|key| section.has(key))
        {
            value.error(
                &format!("stands beside `{}`", other.name),
                "keep one: the certificate of a credential, or one of the upstream's own",
            );
        }
        (tls, certificate_from)
    }

    /// What every `tls` table may hold.
    pub(super) fn read_keys(section: &Section<'_>, files: &FileRules<'_>) -> Self {
        let file = |key| {
            let (value, path): (Value<'_>, &str) = section.read(key)?;
            let file = files.named(path, &value.place);
            Some((value, file))
        };
        let ca_file = file(&TLS.ca_file);
        let certificate_file = file(&TLS.certificate_file);
        let key_file = file(&TLS.key_file);
        let server_name = section.read(&TLS.server_name);
        let tls13_only = section.read(&TLS.min_version);

        for (value, file) in [&ca_file, &certificate_file].into_iter().flatten() {
            permissions::check(value, file);
        }
        if let Some((value, file)) = &key_file {
            permissions::check_secret(value, file);
        }
        if let Some((value, file)) = &ca_file {
            check_roots(value, file);
        }
        match (&certificate_file, &key_file) {
            (Some(certificate), Some(key)) => {
                check_certificate_and_key(certificate, key);
            }
            (Some((value, _)), None) => value.error("is set without `key_file`", TOGETHER),
            (None, Some((value, _))) => value.error("is set without `certificate_file`", TOGETHER),
            (None, None) => {}
        }
        let alone = |file: Option<(Value<'_>, NamedFile)>| file.map(|(_, file)| file);
        Self {
            ca_file: alone(ca_file),
            certificate_file: alone(certificate_file),
            key_file: alone(key_file),
            server_name,
            tls13_only,
        }
    }
}

const TOGETHER: &str = "`certificate_file` and `key_file` belong together";

/// Reads the chain and the key, and reports what is wrong with either or both; the chain if nothing is.
pub(super) fn check_certificate_and_key(
    certificate: &(Value<'_>, NamedFile),
    key: &(Value<'_>, NamedFile),
) -> Option<Vec<CertificateDer<'static>>> {
    let chain = naming(&certificate.1, read_certificates(&certificate.1));
    let chain = certificate.0.check(chain);
    let private = key.0.check(naming_secret(&key.1, read_key(&key.1)));
    if let Some(chain) = &chain {
        validity::check_certificates(&certificate.0, chain);
    }
    let (chain, private) = (chain?, private?);
    let pair = check_pair(chain.clone(), private);
    key.0.check(naming_secret(&key.1, pair))?;
    Some(chain)
}

/// Reads CAs, and reports what is wrong with them.
pub(super) fn check_roots(value: &Value<'_>, file: &NamedFile) {
    let certificates = naming(file, read_roots(file));
    if let Some(certificates) = value.check(certificates) {
        validity::check_certificates(value, &certificates);
    }
}

/// Reads the CAs of certificates of clients, and reports what is wrong with them; those that can be used.
pub(super) fn check_client_cas(
    value: &Value<'_>,
    file: &NamedFile,
) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = read_roots(file).and_then(|certificates| {
        validity::check_are_cas(&certificates)?;
        Ok(certificates)
    });
    let certificates = value.check(naming(file, certificates))?;
    validity::check_certificates(value, &certificates);
    Some(certificates)
}

/// Reads CRLs, and reports what is wrong with them, alone or for certificates of these CAs.
pub(super) fn check_lists(
    value: &Value<'_>,
    file: &NamedFile,
    grace: Duration,
    cas: &[CertificateDer<'_>],
) {
    let lists = read(file).and_then(|pem| {
        let lists = CertificateRevocationListDer::pem_slice_iter(&pem);
        let lists: Result<Vec<_>, _> = lists.collect();
        match lists {
            Ok(lists) if !lists.is_empty() => {
                validity::check_lists(value, &lists, grace)?;
                revocation::check_lists_of_cas(value, &lists, cas)
            }
            Ok(_) => Err("the file holds no PEM CRL".into()),
            Err(error) => Err(damaged(&error)),
        }
    });
    value.check(naming(file, lists));
}
