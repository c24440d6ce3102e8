//! Certificates of clients, made for the test.

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType, date_time_ymd};

use super::*;
use crate::tls::test_certificates::{Ca, DAY, in_2030, settings};

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

fn certificate(names: impl IntoIterator<Item = SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names.extend(names);
    params
}

fn read(params: &CertificateParams) -> Result<CertificateIdentity, CertificateIdentityError> {
    let key = KeyPair::generate().unwrap();
    CertificateIdentity::read(params.self_signed(&key).unwrap().der())
}

#[test]
fn one_uri_is_the_spiffe_id_and_dns_names_stand_beside_it() {
    let id = "spiffe://corp.example/ns/billing/sa/app-1";
    let names = [dns("Billing.Internal"), uri(id), dns("b")];
    let identity = read(&certificate(names)).unwrap();
    assert_eq!(identity.spiffe_id.as_deref(), Some(id));
    assert_eq!(identity.dns_names, ["billing.internal".into(), "b".into()]);
}

#[test]
fn a_second_uri_of_whatever_kind_leaves_no_spiffe_id() {
    let id = "spiffe://corp.example/billing";
    for other in [
        id,
        "spiffe://corp.example/search",
        "https://corp.example",
        "x",
    ] {
        for names in [[uri(id), uri(other)], [uri(other), uri(id)]] {
            assert_eq!(
                read(&certificate(names)).unwrap().spiffe_id,
                None,
                "{other}"
            );
        }
    }
}

#[test]
fn what_is_no_spiffe_id_names_nobody() {
    for text in [
        "spiffe://",
        "spiffe:///billing",
        "SPIFFE://corp.example/billing",
        "spiffe://Corp.example/billing",
        "spiffe://corp.example:443/billing",
        "spiffe://user@corp.example/billing",
        "spiffe://corp.example/",
        "spiffe://corp.example/billing/",
        "spiffe://corp.example//billing",
        "spiffe://corp.example/./billing",
        "spiffe://corp.example/../billing",
        "spiffe://corp.example/b%69lling",
        "spiffe://corp.example/billing?a",
        "spiffe://corp.example/billing#a",
        "spiffe://corp.example/bil ling",
        "spiffe://corp.example/billing\r\nx-caller: root",
        "spiffe://corp.example/billing\0",
        "https://corp.example/billing",
        &format!("spiffe://corp.example/{}", "a".repeat(MAX_SPIFFE_ID)),
    ] {
        assert_eq!(
            read(&certificate([uri(text)])).unwrap().spiffe_id,
            None,
            "{text:?}"
        );
    }
    let whole = read(&certificate([uri("spiffe://corp.example")])).unwrap();
    assert_eq!(whole.spiffe_id.as_deref(), Some("spiffe://corp.example"));
}

#[test]
fn dns_names_with_nonsense_and_wildcards_are_left_out() {
    let names = [
        "",
        "a b",
        "a\r\nb",
        "a\0b",
        "*.corp.example",
        "a/b",
        "good.example",
    ];
    let identity = read(&certificate(names.map(dns))).unwrap();
    assert_eq!(identity.dns_names, ["good.example".into()]);
}

#[test]
fn a_second_list_of_names_is_refused() {
    let mut params = certificate([dns("billing.internal")]);
    let mut second = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
    second.set_criticality(false);
    params.custom_extensions.push(second);
    let refused = Err(CertificateIdentityError::AlternativeNames);
    assert_eq!(read(&params), refused);
}

#[test]
fn what_is_no_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let der = certificate([]).self_signed(&key).unwrap().der().to_vec();
    let behind = [&der[..], &[0]].concat();
    for bytes in [&b""[..], b"x", &der[..der.len() - 1], &behind] {
        let refused = Err(CertificateIdentityError::Malformed);
        assert_eq!(CertificateIdentity::read(bytes), refused);
    }
}

#[test]
fn a_certificate_is_valid_from_its_first_second_to_its_last() {
    let mut params = certificate([]);
    params.not_before = date_time_ymd(1970, 1, 2);
    params.not_after = date_time_ymd(1970, 1, 3);
    let identity = read(&params).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let second = Duration::from_secs(1);
    for (now, is_valid) in [
        (day - second, false),
        (day, true),
        (2 * day, true),
        (2 * day + second, false),
    ] {
        assert_eq!(identity.is_valid_at(now), is_valid, "{now:?}");
    }
}

#[test]
fn a_presented_certificate_is_verified_again_when_cas_or_crls_have_changed() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let mut settings = settings(dir.path(), &root, Some(&root.crl(&[])));
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let first = ServerTls::read(&settings).unwrap();
    let now = in_2030() - Duration::from_secs(1);
    let present = |serial| {
        let chain = [root.leaf(serial)];
        let identity = CertificateIdentity::read(&chain[0]).unwrap();
        PresentedCertificate::new(identity, &chain, &first, now)
    };
    let (good, revoked) = (present(7), present(8));
    let check = |certificate: &PresentedCertificate, tls: Option<&ServerTls>| {
        certificate.check(tls, now).map(drop)
    };
    for certificate in [&good, &revoked] {
        assert_eq!(check(certificate, Some(&first)), Ok(()));
        let later = Duration::from_secs(10_000 * 365 * 24 * 3600);
        let ended = certificate.check(Some(&first), later).map(drop);
        assert_eq!(ended, Err(CertificateRefusal::NotValidNow));
        let none = check(certificate, None);
        assert_eq!(none, Err(CertificateRefusal::NoVerifier));
    }

    write("ca.crl", &root.crl(&[8]));
    let second = ServerTls::read(&settings).unwrap();
    assert_eq!(check(&good, Some(&second)), Ok(()));
    let refused = Err(CertificateRefusal::Revoked);
    assert_eq!(check(&revoked, Some(&second)), refused);
    // It is not forgotten, nor is what was found good by others.
    assert_eq!(check(&revoked, Some(&second)), refused);
    assert_eq!(check(&revoked, Some(&first)), Ok(()));

    write("ca.pem", &Ca::new("root", 1, None).pem);
    let refused = Err(CertificateRefusal::NotAdmitted);
    assert_eq!(
        check(&good, Some(&ServerTls::read(&settings).unwrap())),
        refused
    );
    settings.client_ca_file = None;
    let refused = Err(CertificateRefusal::NoVerifier);
    assert_eq!(
        check(&good, Some(&ServerTls::read(&settings).unwrap())),
        refused
    );
}

#[test]
fn a_presented_certificate_ends_with_the_crl_of_its_ca_unless_that_is_renewed() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let settings = settings(dir.path(), &root, Some(&root.crl(&[])));
    let first = ServerTls::read(&settings).unwrap();
    let chain = [root.leaf(7)];
    let identity = CertificateIdentity::read(&chain[0]).unwrap();
    let certificate = PresentedCertificate::new(identity, &chain, &first, in_2030());
    let last = in_2030() + DAY;
    assert_eq!(certificate.check(Some(&first), last).map(drop), Ok(()));
    assert!(!certificate.has_ended(last));

    let later = last + Duration::from_secs(1);
    assert!(certificate.has_ended(later));
    let refused = certificate.check(Some(&first), later).map(drop);
    assert_eq!(refused, Err(CertificateRefusal::CrlEnded));

    std::fs::write(dir.path().join("ca.crl"), root.crl_of(2030, &[])).unwrap();
    let second = ServerTls::read(&settings).unwrap();
    assert_eq!(certificate.check(Some(&second), later).map(drop), Ok(()));
    assert!(!certificate.has_ended(later));
}

#[test]
fn a_presented_certificate_ends_with_the_ca_that_signed_it() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let tls = ServerTls::read(&settings(dir.path(), &root, None)).unwrap();
    let below = Ca::until(2031, "below", &root);
    let chain = [below.leaf(7), below.der.clone()];
    let identity = CertificateIdentity::read(&chain[0]).unwrap();
    let certificate = PresentedCertificate::new(identity, &chain, &tls, in_2030());
    assert!(!certificate.has_ended(in_2030() + 364 * DAY));
    let later = in_2030() + 366 * DAY;
    assert!(certificate.has_ended(later));
    let refused = certificate.check(Some(&tls), later).map(drop);
    assert_eq!(refused, Err(CertificateRefusal::NotAdmitted));
}
