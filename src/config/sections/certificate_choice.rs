//! Which certificates of a listener no client is ever presented.

use std::collections::HashSet;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::super::tls_files::dns_names;
use super::super::value::Value;

/// The algorithm of a key, and its curve if it has one: what a client can verify or not.
type KindOfKey = (String, Option<String>);

/// Warns of those whose names all stand in one before them that has a key of the same kind. The first of a name is
/// presented, unless the client cannot verify it.
pub(super) fn check(certificates: &[(Value<'_>, CertificateDer<'_>)]) {
    let mut taken: HashSet<(KindOfKey, Option<String>)> = HashSet::new();
    for (value, certificate) in certificates {
        // What cannot be read is reported where it is used.
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            continue;
        };
        let kind = kind_of_key(&certificate);
        // For clients that name nothing, or what is in no certificate.
        let mut is_chosen = taken.insert((kind.clone(), None));
        for name in dns_names(&certificate) {
            is_chosen |= taken.insert((kind.clone(), Some(name)));
        }
        if !is_chosen {
            let message = format!("{} is never presented", value.name());
            let help = "those before it have all of its names and a key of the same kind: expected another name, or a \
                        key of another kind";
            value.report.warning(&value.place, message, help);
        }
    }
}

fn kind_of_key(certificate: &X509Certificate<'_>) -> KindOfKey {
    let algorithm = &certificate.public_key().algorithm;
    let parameters = algorithm.parameters.as_ref();
    let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
    let curve = curve.map(|curve| curve.to_id_string());
    (algorithm.algorithm.to_id_string(), curve)
}
