//! Chains as companies have them, and as nobody should.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer as Signer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

use super::*;

/// What a CA has.
fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// The chain and the key of a CA that signed itself, in PEM.
pub(super) fn self_signed(key: &KeyPair) -> (String, String) {
    let certificate = authority("own").self_signed(key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The same of one that may sign for some names.
pub(super) fn constrained(names: NameConstraints) -> (String, String) {
    let (mut params, key) = (authority("own"), KeyPair::generate().unwrap());
    params.name_constraints = Some(names);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The chain of an issuer below a root, and its key, in PEM.
fn below_root(issuer: &CertificateParams) -> (String, String) {
    let (root, root_key, key) = (
        authority("root"),
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
    );
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let certificate = issuer
        .signed_by(&key, &Signer::from_params(&root, &root_key))
        .unwrap();
    (certificate.pem() + &root_pem, key.serialize_pem())
}

fn read((chain, key): &(String, String)) -> Result<Issuer, IssuerError> {
    Issuer::read(chain.as_bytes(), key.as_bytes(), SystemTime::now())
}

fn refused(files: &(String, String)) -> String {
    read(files).unwrap_err().to_string()
}

#[test]
fn a_machine_whose_clock_stands_at_its_beginning_makes_a_ca_that_can_be_used() {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
    let made = create(&domains(&["example.com"]), now).unwrap();
    let issuer = Issuer::read(made.chain.as_bytes(), made.key.as_bytes(), now).unwrap();
    let name = CertifiedName::parse("example.com").unwrap();
    issuer
        .sign(&name, now, std::time::Duration::from_secs(60))
        .unwrap();
}

#[test]
fn the_issuer_is_constrained_by_critical_extensions_and_the_root_is_not_an_issuer_of_leaves() {
    let made = create(&domains(&["example.com"]), SystemTime::now()).unwrap();
    let certificates = certificates(made.chain.as_bytes()).unwrap();
    let [issuer, root] = &certificates[..] else {
        panic!("{} certificates", certificates.len());
    };
    let (issuer, root) = (parsed(issuer), parsed(root));
    let constraints = |certificate: &X509Certificate<'_>| {
        let found = certificate.basic_constraints().unwrap().unwrap();
        (
            found.critical,
            found.value.ca,
            found.value.path_len_constraint,
        )
    };
    assert_eq!(constraints(&issuer), (true, true, Some(0)));
    assert_eq!(constraints(&root), (true, true, Some(1)));
    let names = issuer.name_constraints().unwrap().unwrap();
    assert!(names.critical);
    let shown = format!("{:?}", names.value);
    let expected = "NameConstraints { permitted_subtrees: Some([GeneralSubtree { base: DNSName(\"example.com\") }]), \
                    excluded_subtrees: Some([GeneralSubtree { base: IPAddress([0, 0, 0, 0, 0, 0, 0, 0]) }, \
                    GeneralSubtree { base: IPAddress([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) }]) }";
    assert_eq!(shown, expected);
    let usage = issuer.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.any && !usage.client_auth && !usage.code_signing);
    for certificate in [&issuer, &root] {
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.to_string(), "Key Cert Sign");
        let validity = certificate.validity();
        let life = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(life, 5 * 365 * 86400 + 3600);
    }
    // The key that is kept is that of the issuer: no other can be made with it.
    assert_eq!(made.key.matches("PRIVATE KEY").count(), 2);
    // Two of them are never taken for one another.
    let other = create(&domains(&["example.com"]), SystemTime::now()).unwrap();
    let other = self::certificates(other.chain.as_bytes()).unwrap();
    assert_ne!(
        parsed(&other[1]).subject().as_raw(),
        root.subject().as_raw()
    );
}

#[test]
fn a_chain_says_what_is_wrong_with_it() {
    let key = KeyPair::generate().unwrap();
    let (chain, key_pem) = self_signed(&key);
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let (nothing, junk) = (
        String::new(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    );
    let split = |chain: &str, at: usize| {
        chain
            .split_inclusive("-----END CERTIFICATE-----\n")
            .nth(at)
            .unwrap()
            .to_owned()
    };
    let below = below_root(&authority("issuer"));
    let no_ca = below_root(&CertificateParams::new(["a.example".to_owned()]).unwrap());
    let mut signs_nothing = authority("issuer");
    signs_nothing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut of_clients = authority("issuer");
    of_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (mut ended, mut to_come) = (authority("issuer"), authority("issuer"));
    ended.not_after = date_time_ymd(2020, 1, 1);
    to_come.not_before = date_time_ymd(2200, 1, 1);
    for (files, expected) in [
        ((nothing, key_pem.clone()), "it holds no PEM certificate"),
        (
            (junk, key_pem.clone()),
            "the first certificate is malformed",
        ),
        (
            (chain.clone(), other_key),
            "it is not the key of the first certificate of issuer.pem",
        ),
        (
            (chain.clone(), chain.clone()),
            "it holds no unencrypted PEM private key",
        ),
        (
            (split(&below.0, 0), below.1.clone()),
            "it does not end with a root: its last certificate is signed by another; expected the issuer first, then those above it, the root last",
        ),
        (
            (split(&below.0, 1) + &split(&below.0, 0), below.1.clone()),
            "its certificates are no chain: expected the issuer first, then those above it, the root last",
        ),
        (
            no_ca,
            "the first certificate is not that of a CA: its basic constraints do not say so",
        ),
        (
            below_root(&signs_nothing),
            "the first certificate may not sign certificates: its key usage does not name it",
        ),
        (
            below_root(&of_clients),
            "the first certificate may not sign certificates of servers: its extended key usage does not name them",
        ),
        (
            below_root(&ended),
            "the first certificate has ended on Jan  1 00:00:00 2020 +00:00",
        ),
        (
            below_root(&to_come),
            "the first certificate is not valid before Jan  1 00:00:00 2200 +00:00",
        ),
    ] {
        assert_eq!(refused(&files), expected);
    }
    assert!(read(&below).is_ok());
    // As some tools write it, with a root that signs for itself alone.
    assert!(read(&(chain, key_pem)).is_ok());
}

#[test]
fn an_issuer_that_may_not_sign_for_a_domain_is_refused() {
    let issuer = made(&["example.com"]);
    let now = SystemTime::now();
    issuer
        .check_domains(&domains(&["example.com", "a.example.com"]), now)
        .unwrap();
    for domain in ["example.org", "com", "10.0.0.1"] {
        let refused = issuer
            .check_domains(&domains(&["example.com", domain]), now)
            .unwrap_err();
        let expected = format!("the issuer may not sign for \"{domain}\": ");
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }
    // A chain whose names fit together and whose signatures do not.
    let (a, b) = (
        below_root(&authority("issuer")),
        below_root(&authority("issuer")),
    );
    let certificate = |chain: &str, at: usize| {
        chain
            .split_inclusive("-----END CERTIFICATE-----\n")
            .nth(at)
            .unwrap()
            .to_owned()
    };
    let mixed = (certificate(&a.0, 0) + &certificate(&b.0, 1), a.1);
    let mixed = read(&mixed).unwrap();
    assert!(
        mixed
            .check_domains(&domains(&["example.com"]), now)
            .is_err()
    );
    assert!(!mixed.chain().is_constrained() && issuer.chain().is_constrained());
}
