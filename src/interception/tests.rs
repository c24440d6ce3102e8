//! What is presented for a host, and what becomes of a CA that is opened again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::leaves::MOST_LEAVES;
use super::*;
use crate::ca::{FewerNames, Switched};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings whose directories are in a new one. The roots of others are one CA that is made here.
pub(super) fn settings() -> (TempDir, config::Interception) {
    let dir = tempfile::tempdir().unwrap();
    let other = ca::create(&["example.org".to_owned()], SystemTime::now()).unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, other.chain).unwrap();
    let settings = config::Interception {
        key_directory: dir.path().join("made/ca"),
        trust_directory: dir.path().join("trust"),
        domains: vec!["example.com".to_owned(), "10.1.2.3".to_owned()],
        roots_file: Some(roots.into()),
        leaf_lifetime: DAY,
    };
    (dir, settings)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_ca_is_made_at_the_first_start_and_kept() {
    let (_dir, settings) = settings();
    let first = Interceptor::open(&settings, None).unwrap();
    assert_eq!(mode(&settings.key_directory), 0o700);
    assert_eq!(mode(&settings.key_directory.join("issuer.key")), 0o600);
    let again = Interceptor::open(&settings, None).unwrap();
    assert_eq!(first.published(), again.published());
    let names = std::fs::read_dir(&settings.key_directory).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["issuer.key", "issuer.pem"]);
}

#[test]
fn processes_that_start_at_once_end_with_one_ca() {
    for _ in 0..20 {
        let (_dir, settings) = settings();
        let starting: Vec<_> = (0..8)
            .map(|_| {
                let settings = settings.clone();
                thread::spawn(move || {
                    Interceptor::open(&settings, None)
                        .unwrap()
                        .published()
                        .to_vec()
                })
            })
            .collect();
        let mut roots: Vec<_> = starting.into_iter().map(|it| it.join().unwrap()).collect();
        roots.dedup();
        assert_eq!(roots.len(), 1);
    }
}

#[test]
fn what_did_not_change_is_taken_over_with_its_certificates() {
    let (_dir, mut settings) = settings();
    let first = Interceptor::open(&settings, None).unwrap();
    let config = first
        .server_config("api.example.com", MirroredAlpn::Http1)
        .unwrap();
    let second = Interceptor::open(&settings, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let kept = second
        .server_config("api.example.com", MirroredAlpn::Http1)
        .unwrap();
    assert!(Arc::ptr_eq(&config, &kept));
    settings.leaf_lifetime = 2 * DAY;
    let third = Interceptor::open(&settings, Some(&second)).unwrap();
    assert!(!Arc::ptr_eq(&second, &third));
    assert_eq!(second.published(), third.published());
}

#[test]
fn a_successor_is_published_before_it_signs_and_its_predecessor_after_that() {
    let (_dir, settings) = settings();
    let first = Interceptor::open(&settings, None).unwrap();
    let old = first.published().to_vec();
    let directory = KeyDirectory::new(&settings.key_directory);
    directory.create_successor(&settings.domains).unwrap();
    let second = Interceptor::open(&settings, Some(&first)).unwrap();
    assert_eq!(second.published()[..1], old);
    assert_eq!(second.published().len(), 2);
    assert_eq!(second.issuer.chain().root(), &old[0]);
    assert_eq!(second.expiry().count(), 2);

    assert_eq!(
        directory
            .switch(SystemTime::now(), FewerNames::Refused)
            .unwrap(),
        Switched::Whole
    );
    let third = Interceptor::open(&settings, Some(&second)).unwrap();
    assert_eq!(third.issuer.chain().root(), &second.published()[1]);
    assert_eq!(third.published()[1..], old);
    assert_eq!(third.expiry().count(), 1);
    let pem = std::fs::read(settings.trust_directory.join("ca.pem")).unwrap();
    assert_eq!(ca::certificates(&pem).unwrap(), third.published());
}

#[test]
fn only_hosts_within_the_domains_get_a_certificate() {
    let (_dir, settings) = settings();
    let interception = Interceptor::open(&settings, None).unwrap();
    for host in ["example.com", "a.b.example.com", "10.1.2.3"] {
        assert!(interception.covers(host));
        interception
            .server_config(host, MirroredAlpn::Http2AndHttp1)
            .unwrap();
    }
    for (host, error) in [
        ("example.org", LeafError::NotCovered),
        ("10.1.2.4", LeafError::NotCovered),
        ("a\0.example.com", LeafError::Name),
        ("*.example.com", LeafError::Name),
        ("", LeafError::Name),
    ] {
        let refused = interception.server_config(host, MirroredAlpn::Http1);
        assert_eq!(refused.unwrap_err(), error, "{host:?}");
    }
    assert_eq!(interception.leaves.len(), 3);
}

#[test]
fn a_flood_of_names_keeps_few_certificates_and_those_that_are_used() {
    let (_dir, settings) = settings();
    let interception = Interceptor::open(&settings, None).unwrap();
    let used = || {
        interception
            .server_config("used.example.com", MirroredAlpn::Http1)
            .unwrap()
    };
    let first = used();
    for number in 0..MOST_LEAVES + 10 {
        let host = format!("{number}.example.com");
        interception
            .server_config(&host, MirroredAlpn::Http1)
            .unwrap();
        assert!(Arc::ptr_eq(&first, &used()));
    }
    assert_eq!(interception.leaves.len(), MOST_LEAVES);
}

#[test]
fn a_certificate_is_renewed_in_the_last_third_of_its_life_and_when_a_clock_was_set_back() {
    let (_dir, settings) = settings();
    let interception = Interceptor::open(&settings, None).unwrap();
    let now = SystemTime::now();
    let leaf = |at| interception.leaf("example.com", at).unwrap().http1;
    let first = leaf(now);
    let second = Duration::from_secs(1);
    assert!(Arc::ptr_eq(&first, &leaf(now + DAY * 2 / 3 - 2 * second)));
    let renewed = leaf(now + DAY * 2 / 3 + 2 * second);
    assert!(!Arc::ptr_eq(&first, &renewed));
    // The one of before would not be valid yet.
    assert!(!Arc::ptr_eq(&renewed, &leaf(now - 4000 * second)));
}

/// What a client that trusts the published roots agrees on, and the certificate that it is shown.
fn handshake(
    interception: &Interceptor,
    host: &str,
    alpn: MirroredAlpn,
    offered: &[&str],
) -> Result<Option<String>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(interception.published().iter().cloned());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = host.trim_matches(['[', ']']).to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(client.into(), name).unwrap();
    let config = interception.server_config(host, alpn).unwrap();
    let mut server = rustls::ServerConnection::new(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    let agreed = client.alpn_protocol();
    Ok(agreed.map(|protocol| String::from_utf8(protocol.to_vec()).unwrap()))
}

#[test]
fn a_client_is_offered_what_the_api_speaks_and_nothing_else() {
    let (_dir, settings) = settings();
    let interception = Interceptor::open(&settings, None).unwrap();
    let agreed = |alpn, offered: &[&str]| {
        handshake(&interception, "api.example.com", alpn, offered).unwrap()
    };
    let both = MirroredAlpn::Http2AndHttp1;
    assert_eq!(agreed(both, &["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(agreed(both, &["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(
        agreed(MirroredAlpn::Http1, &["h2", "http/1.1"]).as_deref(),
        Some("http/1.1")
    );
    assert_eq!(agreed(MirroredAlpn::Http1, &[]), None);
    assert!(
        handshake(
            &interception,
            "api.example.com",
            MirroredAlpn::Http1,
            &["h2"]
        )
        .is_err()
    );
    assert!(handshake(&interception, "10.1.2.3", both, &["h2"]).is_ok());
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_its_content_is_not() {
    let (_dir, settings) = settings();
    Interceptor::open(&settings, None).unwrap();
    let file = |name: &str| settings.key_directory.join(name);
    let refused = || Interceptor::open(&settings, None).unwrap_err().to_string();
    let starts = |text: &str| {
        let shown = refused();
        assert!(shown.starts_with(text), "{shown}");
    };
    std::fs::write(file("next.pem"), "s3cret").unwrap();
    assert_eq!(
        refused(),
        format!(
            "{}: it holds no PEM certificate",
            file("next.pem").display()
        )
    );
    std::fs::remove_file(file("next.pem")).unwrap();
    let key = std::fs::read(file("issuer.key")).unwrap();
    std::fs::write(file("issuer.key"), "s3cret").unwrap();
    assert_eq!(
        refused(),
        format!(
            "{}: it holds no unencrypted PEM private key",
            file("issuer.key").display()
        )
    );
    std::fs::write(file("issuer.key"), key).unwrap();
    let chain = std::fs::read(file("issuer.pem")).unwrap();
    std::fs::remove_file(file("issuer.pem")).unwrap();
    starts(&format!(
        "{} is there without issuer.pem",
        file("issuer.key").display()
    ));
    std::fs::write(file("issuer.pem"), chain).unwrap();
    std::fs::remove_dir_all(&settings.trust_directory).unwrap();
    std::fs::write(&settings.trust_directory, "").unwrap();
    starts(&format!(
        "{} cannot be written: ",
        settings.trust_directory.display()
    ));
    let mut other = settings.clone();
    other.domains.push("example.net".to_owned());
    let shown = Interceptor::open(&other, None).unwrap_err().to_string();
    assert!(
        shown.contains("issuer.pem: the issuer may not sign for \"example.net\": "),
        "{shown}"
    );
}
