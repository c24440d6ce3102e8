//! TLS of listeners, and certificates that are about to end.

use std::time::{Duration, SystemTime};

use insta::assert_snapshot;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber,
};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A listener with this table as its `tls`.
fn listener(tls: &str) -> String {
    format!("\n[[listeners]]\naddress = \"127.0.0.1:7443\"\nupstream = \"crm\"\n{tls}\n")
}

const CERTIFICATE: &str = "certificate_file = \"server.pem\", key_file = \"server.key\"";

#[test]
fn what_belongs_to_tls_is_refused_without_it() {
    let text = [
        listener("certificates = [{ certificate_file = \"server.pem\", key_file = \"server.key\" }]"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_certificates = \"required\", client_crl_file = \"server.pem\", crl_grace = \"1h\" }}")).replace("7443", "7444"),
        listener("tls = { certificate_file = \"server.pem\" }\ncertificates = [{}]").replace("7443", "7445"),
        listener(&format!("tls = {{ {CERTIFICATE} }}")).replace("127.0.0.1:7443", "unix:app.sock"),
        listener("tls = { certificate_file = \"server.pem\", key_file = \"other.key\" }").replace("7443", "7446"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_ca_file = \"other.key\", client_certificates = \"required\" }}")).replace("7443", "7447"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_ca_file = \"ca.pem\", client_crl_file = \"server.pem\", client_certificates = \"required\" }}")).replace("7443", "7448"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_ca_file = \"ca.pem\", crl_grace = \"1h\", client_certificates = \"required\" }}")).replace("7443", "7449"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_ca_file = \"server.pem\", client_certificates = \"required\" }}")).replace("7443", "7450"),
        listener(&format!("tls = {{ {CERTIFICATE}, client_ca_file = \"ca.pem\", client_crl_file = \"foreign.crl\", client_certificates = \"required\" }}")).replace("7443", "7451"),
    ].concat();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let directory = directory(&[
        ("sidebearer.toml", &[&text, UPSTREAM, CREDENTIAL].concat()),
        ("other.key", &other),
        ("ca.pem", &issuer_with_list().0),
        ("foreign.crl", &issuer_with_list().1),
    ]);
    add_certificate(&directory);
    let refused = load(&directory.path().join("sidebearer.toml")).unwrap_err();
    assert_snapshot!(shown(&directory, &refused), @r##"
    error: `certificates` in [[listeners]] has no effect
      --> sidebearer.toml:5:16
       |
     5 | certificates = [{ certificate_file = "***", key_file = "***" }]
       |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ it belongs to `tls`, which is missing

    error: `client_certificates` in [listeners.tls] has no effect
       --> sidebearer.toml:10:89
        |
     10 | tls = { certificate_file = "server.pem", key_file = "server.key", client_certificates = "required", client_crl_file = "server.pem", crl_grace = "1h" }
        |                                                                                         ^^^^^^^^^^ it belongs to `client_ca_file`, which is missing

    error: `client_crl_file` in [listeners.tls] has no effect
       --> sidebearer.toml:10:119
        |
     10 | tls = { certificate_file = "server.pem", key_file = "server.key", client_certificates = "required", client_crl_file = "server.pem", crl_grace = "1h" }
        |                                                                                                                       ^^^^^^^^^^^^ it belongs to `client_ca_file`, which is missing

    error: invalid `client_crl_file` in [listeners.tls]
       --> sidebearer.toml:10:119
        |
     10 | tls = { certificate_file = "server.pem", key_file = "server.key", client_certificates = "required", client_crl_file = "server.pem", crl_grace = "1h" }
        |                                                                                                                       ^^^^^^^^^^^^ server.pem: the file holds no PEM CRL

    error: `crl_grace` in [listeners.tls] has no effect
       --> sidebearer.toml:10:145
        |
     10 | tls = { certificate_file = "server.pem", key_file = "server.key", client_certificates = "required", client_crl_file = "server.pem", crl_grace = "1h" }
        |                                                                                                                                                 ^^^^ it belongs to `client_ca_file`, which is missing

    error: `key_file` is missing in [listeners.tls]
       --> sidebearer.toml:15:7
        |
     15 | tls = { certificate_file = "server.pem" }
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected the path of a PEM file

    error: `certificate_file` is missing in [[listeners.certificates]]
       --> sidebearer.toml:16:17
        |
     16 | certificates = [{}]
        |                 ^^ expected the path of a PEM file

    error: `key_file` is missing in [[listeners.certificates]]
       --> sidebearer.toml:16:17
        |
     16 | certificates = [{}]
        |                 ^^ expected the path of a PEM file

    error: `tls` in [[listeners]] has no effect
       --> sidebearer.toml:21:7
        |
     21 | tls = { certificate_file = "server.pem", key_file = "server.key" }
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a unix socket speaks plain HTTP: nobody else can listen in

    error: invalid `key_file` in [listeners.tls]
       --> sidebearer.toml:26:53
        |
     26 | tls = { certificate_file = "server.pem", key_file = "other.key" }
        |                                                     ^^^^^^^^^^^ other.key: expected the key of `certificate_file`, this is another

    error: invalid `client_ca_file` in [listeners.tls]
       --> sidebearer.toml:31:84
        |
     31 | tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "other.key", client_certificates = "required" }
        |                                                                                    ^^^^^^^^^^^ other.key: the file holds no PEM certificate

    error: invalid `client_crl_file` in [listeners.tls]
       --> sidebearer.toml:36:112
        |
     36 | tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "ca.pem", client_crl_file = "server.pem", client_certificates = "required" }
        |                                                                                                                ^^^^^^^^^^^^ server.pem: the file holds no PEM CRL

    error: `crl_grace` in [listeners.tls] has no effect
       --> sidebearer.toml:41:106
        |
     41 | tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "ca.pem", crl_grace = "1h", client_certificates = "required" }
        |                                                                                                          ^^^^ it belongs to `client_crl_file`, which is missing

    error: invalid `client_ca_file` in [listeners.tls]
       --> sidebearer.toml:46:84
        |
     46 | tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "server.pem", client_certificates = "required" }
        |                                                                                    ^^^^^^^^^^^^ server.pem: `CN=rcgen self signed cert` in the file is no CA: expected the one that signs the certificates of clients

    error: invalid `client_crl_file` in [listeners.tls]
       --> sidebearer.toml:51:112
        |
     51 | tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "ca.pem", client_crl_file = "foreign.crl", client_certificates = "required" }
        |                                                                                                                ^^^^^^^^^^^^^ foreign.crl: none of the CRLs in the file is of a CA of `client_ca_file`
    "##);
}

/// A CRL that revokes nothing.
fn list_of(ca: &CertifiedIssuer<'_, KeyPair>, next_update: SystemTime) -> String {
    let list = CertificateRevocationListParams {
        this_update: (SystemTime::now() - 400 * DAY).into(),
        next_update: next_update.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().pem().unwrap()
}

/// A CA and its CRL, in PEM.
pub(super) fn issuer_with_list() -> (String, String) {
    let ca = CertifiedIssuer::self_signed(issuer(), KeyPair::generate().unwrap()).unwrap();
    let list = list_of(&ca, SystemTime::now() + 365 * DAY);
    (ca.pem(), list)
}

fn issuer() -> CertificateParams {
    let mut params = CertificateParams::new(["gateway.internal".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::KeyCertSign];
    params
}

/// What is warned of a CA that began and ends as long before or after now as these say, and of a CRL of it that has a
/// next one then.
fn warnings(begins: [Duration; 2], ends: [Duration; 2], next: [Duration; 2]) -> Vec<String> {
    let at = |[before, after]: [Duration; 2]| SystemTime::now() - before + after;
    let mut params = issuer();
    (params.not_before, params.not_after) = (at(begins).into(), at(ends).into());
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let list = list_of(&ca, at(next));
    let tls = format!(
        "tls = {{ {CERTIFICATE}, client_ca_file = \"ca.pem\", client_crl_file = \"crl.pem\", client_certificates = \"required\" }}"
    );
    let directory = directory(&[
        (
            "sidebearer.toml",
            &[&listener(&tls), UPSTREAM, CREDENTIAL].concat(),
        ),
        ("ca.pem", &ca.pem()),
        ("crl.pem", &list),
    ]);
    add_certificate(&directory);
    let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
    let texts = loaded.warnings.iter();
    texts
        .map(|found| format!("{} ({})", found.message, found.help))
        .collect()
}

#[test]
fn certificates_and_lists_that_end_soon_are_warned_of() {
    let (none, year) = (Duration::ZERO, 365 * DAY);
    let (past, future) = ([year, none], [none, year]);
    assert_eq!(warnings(past, future, future), [""; 0]);
    let one = |begins, ends, next| {
        let warnings = warnings(begins, ends, next);
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        warning.clone()
    };
    let soon = one(past, [none, 29 * DAY], future);
    assert!(soon.starts_with("`client_ca_file` in [listeners.tls] has a certificate that ends soon (renew it: it ends on "), "{soon}");
    assert!(one(past, [DAY, none], future).contains("has ended"));
    // One that lives for a day is renewed every day.
    let hour = DAY / 24;
    assert_eq!(
        warnings([12 * hour, none], [none, 12 * hour], future),
        [""; 0]
    );
    assert!(one([23 * hour, none], [none, hour], future).contains("ends soon"));
    assert!(one([none, DAY], future, future).contains("is not valid yet"));
    assert!(
        one(past, future, [Duration::from_secs(60), none]).contains("until `crl_grace` is over")
    );
    assert!(one(past, future, [2 * DAY, none]).contains("are refused"));
}

#[test]
fn a_ca_without_a_list_is_warned_of_where_others_have_one() {
    let (ours, list) = issuer_with_list();
    let mut params = issuer();
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "another");
    let another = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let tls = format!(
        "tls = {{ {CERTIFICATE}, client_ca_file = \"ca.pem\", client_crl_file = \"crl.pem\", client_certificates = \"required\" }}"
    );
    for (cas, expected) in [
        (ours.clone(), String::new()),
        (
            ours + &another.pem(),
            "`client_crl_file` in [listeners.tls] has no CRL of a CA of `client_ca_file` \
             (what `CN=another` has signed is refused)"
                .to_owned(),
        ),
    ] {
        let text = [&listener(&tls), UPSTREAM, CREDENTIAL].concat();
        let directory = directory(&[
            ("sidebearer.toml", &text),
            ("ca.pem", &cas),
            ("crl.pem", &list),
        ]);
        add_certificate(&directory);
        let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
        let found = loaded.warnings.iter();
        let found: Vec<_> = found
            .map(|it| format!("{} ({})", it.message, it.help))
            .collect();
        assert_eq!(found.concat(), expected);
    }
}

#[test]
fn a_certificate_that_is_never_presented_is_warned_of() {
    let tls = "tls = { certificate_file = \"a.pem\", key_file = \"a.key\" }\n\
               certificates = [{ certificate_file = \"b.pem\", key_file = \"b.key\" }]";
    let (ec, other_ec) = (
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    );
    let found = |first: &[&str], second: &[&str], kind| {
        let text = [&listener(tls), UPSTREAM, CREDENTIAL].concat();
        let directory = directory(&[("sidebearer.toml", &text)]);
        for (file, names, kind) in [("a", first, ec), ("b", second, kind)] {
            let key = KeyPair::generate_for(kind).unwrap();
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let certificate = CertificateParams::new(names).unwrap();
            let pem = certificate.self_signed(&key).unwrap().pem();
            std::fs::write(directory.path().join(format!("{file}.pem")), pem).unwrap();
            let path = directory.path().join(format!("{file}.key"));
            std::fs::write(path, key.serialize_pem()).unwrap();
        }
        let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
        let texts = loaded.warnings.iter().map(|found| found.message.clone());
        texts.collect::<Vec<_>>().concat()
    };
    let never = "`certificate_file` in [[listeners.certificates]] is never presented";
    let (ab, b) = (&["a.example", "B.example"], &["b.example"]);
    assert_eq!(found(ab, b, ec), never);
    assert_eq!(found(ab, &[], ec), never);
    // Some clients verify the one key alone, and some the other.
    assert_eq!(found(ab, b, other_ec), "");
    assert_eq!(found(b, ab, ec), "");
    // An exact name goes before a wildcard.
    assert_eq!(found(&["*.example"], b, ec), "");
}

#[test]
fn certificates_for_servers_are_watched_over_too() {
    let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
    params.not_after = (SystemTime::now() + DAY).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let tls = "tls = { certificate_file = \"client.pem\", key_file = \"client.key\", ca_file = \"client.pem\" }\n";
    let upstream = UPSTREAM.to_owned() + tls;
    let directory = directory(&[
        (
            "sidebearer.toml",
            &[LISTENER, &upstream, CREDENTIAL].concat(),
        ),
        ("client.pem", &certificate),
        ("client.key", &key.serialize_pem()),
    ]);
    let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
    let soon = loaded
        .warnings
        .iter()
        .filter(|found| found.message.contains("ends soon"));
    assert_eq!(soon.count(), 2, "{}", loaded.warnings);
}
