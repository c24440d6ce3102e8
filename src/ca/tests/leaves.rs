//! What an issuer signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::UnixTime;
use x509_parser::extensions::ParsedExtension;

use super::super::signing::{SCHEMES, key_identifier};
use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn since_epoch(time: SystemTime) -> Duration {
    Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// What a verifier that trusts the root of the issuer says of a certificate of it, for the same name.
fn verified(issuer: &Issuer, host: &str, lifetime: Duration) -> Result<(), rustls::Error> {
    let name = CertifiedName::parse(host).unwrap();
    let now = SystemTime::now();
    let leaf = issuer.sign(&name, now, lifetime).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(issuer.chain().root().clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let (end, intermediates) = leaf.certified.cert.split_first().unwrap();
    let at = UnixTime::since_unix_epoch(since_epoch(now));
    let verifier = verifier.build().unwrap();
    verifier
        .verify_server_cert(end, intermediates, &name.to_server_name(), &[], at)
        .map(drop)
}

#[test]
fn names_inside_of_the_domains_are_taken_and_others_refused() {
    let issuer = made(&["example.com", "10.1.2.3", "[2001:db8::7]"]);
    for host in [
        "example.com",
        "api.example.com",
        "a.b.example.com",
        "10.1.2.3",
        "[2001:db8::7]",
    ] {
        verified(&issuer, host, DAY).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for host in [
        "example.org",
        "notexample.com",
        "com",
        "10.1.2.4",
        "127.0.0.1",
        "[2001:db8::8]",
        "[::1]",
    ] {
        let refused = verified(&issuer, host, DAY).unwrap_err().to_string();
        assert!(
            refused.contains("NameConstraintViolation"),
            "{host}: {refused}"
        );
    }
}

#[test]
fn no_address_is_taken_where_none_is_listed_and_no_name_where_only_addresses_are() {
    let names = made(&["example.com"]);
    for host in ["10.1.2.3", "0.0.0.0", "[::1]", "[::ffff:10.1.2.3]"] {
        assert!(verified(&names, host, DAY).is_err(), "{host}");
    }
    let addresses = made(&["10.1.2.3"]);
    verified(&addresses, "10.1.2.3", DAY).unwrap();
    for host in ["10.1.2.4", "example.com", "[::1]", "localhost"] {
        assert!(verified(&addresses, host, DAY).is_err(), "{host}");
    }
}

#[test]
fn a_leaf_has_one_name_and_what_strict_verifiers_want() {
    let issuer = made(&["example.com"]);
    let name = CertifiedName::parse("api.example.com").unwrap();
    let now = SystemTime::now();
    let leaf = issuer.sign(&name, now, DAY).unwrap();
    let second = Duration::from_secs(1);
    assert_eq!(leaf.not_before, since_epoch(now) - 3600 * second);
    assert_eq!(leaf.not_after, since_epoch(now) + DAY);

    // The leaf and the issuer; the root is the client's own.
    let [end, above] = &leaf.certified.cert[..] else {
        panic!("{} certificates", leaf.certified.cert.len());
    };
    let (end, above) = (parsed(end), parsed(above));
    assert_eq!(end.issuer().as_raw(), above.subject().as_raw());
    assert_eq!(end.subject().iter().count(), 0);
    let mut extensions = Vec::new();
    for extension in end.extensions() {
        let shown = match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => format!("{:?}", names.general_names),
            ParsedExtension::KeyUsage(usage) => usage.to_string(),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                format!(
                    "serverAuth {}, clientAuth {}",
                    usage.server_auth, usage.client_auth
                )
            }
            ParsedExtension::SubjectKeyIdentifier(identifier) => {
                assert_eq!(identifier.0, key_identifier(end.public_key().raw));
                "SKI".to_owned()
            }
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                let of_issuer = above.extensions().iter().find_map(|extension| {
                    match extension.parsed_extension() {
                        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
                        _ => None,
                    }
                });
                assert_eq!(identifier.key_identifier.as_ref().map(|it| it.0), of_issuer);
                "AKI".to_owned()
            }
            other => panic!("{other:?}"),
        };
        let critical = if extension.critical { "critical " } else { "" };
        extensions.push(format!("{critical}{shown}"));
    }
    let expected = [
        "critical [DNSName(\"api.example.com\")]",
        "critical Digital Signature",
        "serverAuth true, clientAuth false",
        "SKI",
        "AKI",
    ];
    assert_eq!(extensions, expected);
    // Serial numbers are not used twice.
    let other = issuer.sign(&name, now, DAY).unwrap();
    let other = parsed(&other.certified.cert[0]);
    assert_ne!(end.serial, other.serial);
    assert_ne!(end.public_key().raw, other.public_key().raw);
}

#[test]
fn a_leaf_never_outlives_its_issuer_and_is_never_older() {
    let issuer = made(&["example.com"]);
    let name = CertifiedName::parse("example.com").unwrap();
    let now = SystemTime::now();
    let leaf = issuer.sign(&name, now, 6 * 365 * DAY).unwrap();
    assert_eq!(leaf.not_after, issuer.chain().not_after());
    assert!(issuer.chain().not_after() > since_epoch(now) + 1824 * DAY);
    // Made an hour ago by the clock that it was made by: a clock that was set back does not go behind that.
    let early = issuer.sign(&name, now - DAY, DAY).unwrap();
    assert_eq!(early.not_before, issuer.chain().not_before());

    let end = UNIX_EPOCH + issuer.chain().not_after();
    assert!(
        issuer
            .sign(&name, end - Duration::from_secs(1), DAY)
            .is_ok()
    );
    let refused = issuer.sign(&name, end, DAY).unwrap_err();
    assert_eq!(refused, LeafError::IssuerEnded);
}

#[test]
fn hosts_with_odd_bytes_have_no_certificate() {
    let long = format!("{}.example.com", "a".repeat(64));
    let longest = format!("{}com", "abcdefg.".repeat(32));
    for host in [
        "",
        ".",
        "a b.example.com",
        "a\0.example.com",
        "*.example.com",
        "ex\u{e4}mple.com",
        "a..example.com",
        ".example.com",
        "example.com.",
        "Example.com",
        "a\n.example.com",
        "a/b.example.com",
        "[example.com]",
        "[::1",
        "[10.0.0.1]",
        "::1",
        "a:443",
        "a@example.com",
        "a%00.example.com",
        &long,
        &longest,
    ] {
        assert_eq!(CertifiedName::parse(host), None, "{host:?}");
    }
    for host in [
        "example.com",
        "a_b.example.com",
        "xn--exmple-cua.com",
        "10.0.0.1",
        "[::1]",
        "localhost",
        "1.example.com",
    ] {
        assert!(CertifiedName::parse(host).is_some(), "{host:?}");
    }
}

#[test]
fn a_domain_covers_itself_and_what_is_below_it() {
    let domains = domains(&["example.com", "10.0.0.1", "[::1]", "localhost"]);
    for host in [
        "example.com",
        "a.example.com",
        "a.b.example.com",
        "10.0.0.1",
        "[::1]",
        "localhost",
        "a.localhost",
    ] {
        assert!(covers(&domains, host), "{host}");
    }
    for host in [
        "",
        ".example.com",
        "com",
        "notexample.com",
        "example.com.evil",
        "1.10.0.0.1",
        "10.0.0.2",
        "[::2]",
        "a.[::1]",
    ] {
        assert!(!covers(&domains, host), "{host}");
    }
}

#[test]
fn every_kind_of_key_of_an_issuer_can_sign() {
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
        PKCS_ED25519, PKCS_RSA_SHA256,
    };
    let kinds = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ECDSA_P521_SHA512,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ];
    assert_eq!(kinds.len(), SCHEMES.len());
    for kind in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let (chain, key) = super::chains::self_signed(&key);
        let issuer = Issuer::read(chain.as_bytes(), key.as_bytes(), SystemTime::now()).unwrap();
        issuer
            .check_domains(&domains(&["example.com"]), SystemTime::now())
            .unwrap();
    }
}

#[test]
fn the_name_of_a_companys_issuer_is_repeated_byte_by_byte() {
    let chain = include_bytes!("../../../tests/keys/company-issuer.pem");
    let key = include_bytes!("../../../tests/keys/company-issuer.key.pem");
    let issuer = Issuer::read(chain, key, SystemTime::now()).unwrap();
    issuer
        .check_domains(&domains(&["example.com"]), SystemTime::now())
        .unwrap();
    let name = CertifiedName::parse("api.example.com").unwrap();
    let leaf = issuer.sign(&name, SystemTime::now(), DAY).unwrap();
    let [end, above] = &leaf.certified.cert[..] else {
        panic!("{} certificates", leaf.certified.cert.len());
    };
    let (end, above) = (parsed(end), parsed(above));
    assert_eq!(end.issuer().as_raw(), above.subject().as_raw());
    let shown = end.issuer().to_string();
    assert_eq!(
        shown,
        "DC=com, DC=example, OU=Networks, OU=Proxies, serialNumber=7 + CN=Issuing CA"
    );
}
