//! Certificates of clients against CAs and CRLs, and what a change of files makes of a listener.

use std::time::Duration;

use rcgen::KeyPair;
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;

use super::test_certificates::{Ca, DAY, in_2030, params, settings};
use super::*;

/// What becomes of a chain before a listener that trusts `root` and has these CRLs.
fn judge(
    root: &Ca,
    crls: Option<&str>,
    chain: &[CertificateDer<'_>],
    now: Duration,
) -> Result<(), CertificateError> {
    let dir = tempfile::tempdir().unwrap();
    let tls = ServerTls::read(&settings(dir.path(), root, crls)).unwrap();
    tls.clients.unwrap().verify_again(chain, now)
}

#[test]
fn a_crl_serves_for_its_grace_and_then_what_its_ca_signed_is_refused() {
    let root = Ca::new("root", 1, None);
    let (good, revoked) = ([root.leaf(7)], [root.leaf(8)]);
    let crl = root.crl(&[8]);
    let second = Duration::from_secs(1);
    for now in [in_2030() - DAY, in_2030() + second, in_2030() + DAY] {
        assert_eq!(judge(&root, Some(&crl), &good, now), Ok(()));
        let refused = judge(&root, Some(&crl), &revoked, now);
        assert_eq!(refused, Err(CertificateError::Revoked));
    }
    let refused = judge(&root, Some(&crl), &good, in_2030() + DAY + second);
    assert_eq!(refused, Err(CertificateError::ExpiredRevocationList));
}

#[test]
fn every_certificate_below_the_root_needs_the_crl_of_its_ca() {
    let root = Ca::new("root", 1, None);
    let below = Ca::new("below", 2, Some(&root));
    let chain = [below.leaf(7), below.der.clone()];
    let now = in_2030() - DAY;
    assert_eq!(judge(&root, None, &chain, now), Ok(()));
    let both = root.crl(&[]) + &below.crl(&[]);
    assert_eq!(judge(&root, Some(&both), &chain, now), Ok(()));
    for one in [root.crl(&[]), below.crl(&[])] {
        let refused = judge(&root, Some(&one), &chain, now);
        assert_eq!(refused, Err(CertificateError::UnknownRevocationStatus));
    }
    // The CA below is revoked by the root.
    let revoked = root.crl(&[2]) + &below.crl(&[]);
    let refused = judge(&root, Some(&revoked), &chain, now);
    assert_eq!(refused, Err(CertificateError::Revoked));
}

#[test]
fn a_crl_that_another_key_signed_is_worth_nothing() {
    let root = Ca::new("root", 1, None);
    let impostor = Ca::new("root", 1, None);
    let refused = judge(&root, Some(&impostor.crl(&[])), &[root.leaf(7)], in_2030());
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn of_several_crls_of_one_ca_the_newest_counts_in_any_order() {
    let root = Ca::new("root", 1, None);
    let (older, newer) = (root.crl(&[]), root.crl_of(2021, &[8]));
    let now = in_2030() + 30 * DAY;
    for both in [older.clone() + &newer, newer + &older] {
        assert_eq!(judge(&root, Some(&both), &[root.leaf(7)], now), Ok(()));
        let refused = judge(&root, Some(&both), &[root.leaf(8)], now);
        assert_eq!(refused, Err(CertificateError::Revoked));
    }
}

#[test]
fn crls_of_two_cas_of_one_name_are_refused() {
    let (root, renewed) = (Ca::new("root", 1, None), Ca::new("root", 1, None));
    let dir = tempfile::tempdir().unwrap();
    let both = root.crl(&[]) + &renewed.crl_of(2021, &[]);
    let refused = ServerTls::read(&settings(dir.path(), &root, Some(&both)));
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("one name and different keys"), "{told}");
}

#[test]
fn admission_changes_with_cas_and_crls_and_not_with_certificates() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let settings = settings(dir.path(), &root, Some(&root.crl(&[])));
    let read = || ServerTls::read(&settings).unwrap();
    let first = read();
    assert!(first.is_of(&settings));
    assert_eq!(first.admission, read().admission);

    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let (own, key) = (Ca::new("own", 1, None), KeyPair::generate().unwrap());
    let renewed = params("gateway.example", 3).signed_by(&key, &own.issuer);
    write("own.pem", &renewed.unwrap().pem());
    write("own.key", &key.serialize_pem());
    assert!(!first.is_of(&settings));
    assert_eq!(first.admission, read().admission);

    write("ca.crl", &root.crl(&[8]));
    let second = read();
    assert_ne!(second.admission, first.admission);
    write("ca.pem", &Ca::new("root", 1, None).pem);
    assert_ne!(read().admission, second.admission);
}

#[test]
fn nothing_is_kept_to_resume_a_session_where_certificates_of_clients_count() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let mut settings = settings(dir.path(), &root, None);
    let config = ServerTls::read(&settings).unwrap().config;
    assert!(!config.ticketer.enabled() && !config.session_storage.can_cache());
    assert_eq!(config.send_tls13_tickets, 0);
    settings.client_ca_file = None;
    let config = ServerTls::read(&settings).unwrap().config;
    assert!(config.ticketer.enabled() && config.send_tls13_tickets > 0);
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_its_content_is_not() {
    let (root, dir) = (Ca::new("root", 1, None), tempfile::tempdir().unwrap());
    let settings = settings(dir.path(), &root, Some(&root.crl(&[])));
    for (name, reason) in [
        ("ca.crl", "it holds no PEM CRL"),
        ("ca.pem", "it holds no PEM certificate"),
        ("own.key", "it holds no unencrypted PEM private key"),
        ("own.pem", "it holds no PEM certificate"),
    ] {
        std::fs::write(dir.path().join(name), "s3cret").unwrap();
        let refused = ServerTls::read(&settings).unwrap_err().to_string();
        let expected = format!("{}: {reason}", dir.path().join(name).display());
        assert_eq!(refused, expected);
    }
}
