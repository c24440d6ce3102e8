//! Successors that may sign for less.

use std::fs;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use tempfile::TempDir;

use super::key_directory::{directory, held, refused};
use super::*;

#[test]
fn a_successor_for_fewer_names_takes_no_place_unless_that_is_meant() {
    let now = SystemTime::now();
    for (before, after, missing) in [
        (
            &["example.com"][..],
            &["example.org"][..],
            Some("\"example.com\""),
        ),
        (
            &["example.com"],
            &["a.example.com"],
            Some("\"example.com\""),
        ),
        (
            &["example.com", "10.1.2.3"],
            &["example.com"],
            Some("\"10.1.2.3\""),
        ),
        (
            &["10.1.2.3", "[2001:db8::1]"],
            &["10.1.2.3"],
            Some("\"2001:db8::1\""),
        ),
        (&["a.example.com"], &["example.com"], None),
        (&["10.1.2.3"], &["example.com", "10.1.2.3"], None),
    ] {
        let (_dir, directory) = directory();
        directory.create(&domains(before)).unwrap();
        directory.create_successor(&domains(after)).unwrap();
        let (held, key) = (
            held(&directory),
            fs::read(directory.file(KEY_FILE)).unwrap(),
        );
        if let Some(name) = missing {
            let refused = refused(&directory, directory.switch(now, FewerNames::Refused));
            let expected = format!("CA/next.pem: the successor may not sign for {name}, ");
            assert!(refused.starts_with(&expected), "{refused}");
            assert_eq!(super::key_directory::held(&directory), held);
            assert_eq!(fs::read(directory.file(KEY_FILE)).unwrap(), key);
        }
        let fewer_names = match missing {
            Some(_) => FewerNames::Allowed,
            None => FewerNames::Refused,
        };
        assert_eq!(directory.switch(now, fewer_names).unwrap(), Switched::Whole);
    }
}

/// A directory of an issuer and its successor with these constraints: what each may sign for, and what it may not.
fn constrained_directory(
    [(permitted, excluded), next]: [(&[&str], &[GeneralSubtree]); 2],
) -> (TempDir, KeyDirectory) {
    let (dir, directory) = directory();
    let names = |(permitted, excluded): (&[&str], &[GeneralSubtree])| {
        let dns = permitted
            .iter()
            .map(|name| GeneralSubtree::DnsName((*name).to_owned()));
        super::chains::constrained(NameConstraints {
            permitted_subtrees: dns.collect(),
            excluded_subtrees: excluded.to_vec(),
        })
    };
    directory.create(&domains(&["example.com"])).unwrap();
    directory
        .create_successor(&domains(&["example.com"]))
        .unwrap();
    for (made, chain, key) in [
        (names((permitted, excluded)), CHAIN_FILE, KEY_FILE),
        (names(next), NEXT_CHAIN_FILE, NEXT_KEY_FILE),
    ] {
        fs::write(directory.file(chain), made.0).unwrap();
        fs::write(directory.file(key), made.1).unwrap();
    }
    (dir, directory)
}

#[test]
fn a_successor_that_may_not_sign_for_a_part_of_a_name_takes_no_place() {
    let now = SystemTime::now();
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let network =
        |length| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], length));
    let (host, other) = (dns("secret.example.com"), dns("example.org"));
    let [inner, outer] = [dns("a.secret.example.com"), dns("example.com")];
    let all = &["example.com"][..];
    for (before, next, lost) in [
        (
            (all, &[][..]),
            (all, std::slice::from_ref(&host)),
            Some("\"secret.example.com\""),
        ),
        (
            (all, &[inner]),
            (all, std::slice::from_ref(&host)),
            Some("\"secret.example.com\""),
        ),
        ((&[], &[]), (&[], &[network(8)]), Some("\"10.0.0.0/8\"")),
        (
            (&[], &[network(16)]),
            (&[], &[network(8)]),
            Some("\"10.0.0.0/8\""),
        ),
        // The issuer may not either, or it is no part of what it may.
        (
            (all, std::slice::from_ref(&host)),
            (all, std::slice::from_ref(&host)),
            None,
        ),
        (
            (&[], &[outer]),
            (&[], &[host.clone(), dns("example.com")]),
            None,
        ),
        ((all, &[]), (all, &[other]), None),
        (
            (&[], &[network(8)]),
            (&[], &[network(16), network(8)]),
            None,
        ),
    ] {
        let (_dir, directory) = constrained_directory([before, next]);
        let (held, key) = (
            held(&directory),
            fs::read(directory.file(KEY_FILE)).unwrap(),
        );
        let switched = directory.switch(now, FewerNames::Refused);
        let Some(name) = lost else {
            assert_eq!(switched.unwrap(), Switched::Whole, "{before:?} {next:?}");
            continue;
        };
        let refused = refused(&directory, switched);
        let expected = format!("CA/next.pem: the successor may not sign for {name}, ");
        assert!(refused.starts_with(&expected), "{refused}");
        assert_eq!(super::key_directory::held(&directory), held);
        assert_eq!(fs::read(directory.file(KEY_FILE)).unwrap(), key);
        let switched = directory.switch(now, FewerNames::Allowed).unwrap();
        assert_eq!(switched, Switched::Whole);
    }
}

#[test]
fn a_refused_switch_advises_no_more_than_can_be_done() {
    let now = SystemTime::now();
    let excluded = |name: &str| [GeneralSubtree::DnsName(name.to_owned())];
    let (a, b) = (excluded("a.example.com"), excluded("b.example.com"));
    let fewer = "if nothing needs that any more, switch with `--fewer-names`";
    let again = "take the successor away and make another one with `--domain` for each name, or switch with `--fewer-names` if \
                 nothing needs it any more";
    for (before, next, name, help) in [
        (
            (&["example.com"][..], &[][..]),
            (&[][..], &excluded("")[..]),
            "\"example.com\"",
            again,
        ),
        (
            (&["example.com"], &a),
            (&["example.com"], &b),
            "\"b.example.com\"",
            again,
        ),
        ((&[], &a), (&["example.com"], &a), "every host name", fewer),
    ] {
        let (_dir, directory) = constrained_directory([before, next]);
        let refused = refused(&directory, directory.switch(now, FewerNames::Refused));
        let expected = format!(
            "CA/next.pem: the successor may not sign for {name}, for which the issuer may; nothing was changed: {help}"
        );
        assert_eq!(refused, expected);
    }
    // An issuer that says nothing of addresses may sign for all of them; one that is made here, for those alone that it names.
    let (_dir, directory) =
        constrained_directory([(&["example.com"], &[]), (&["example.com"], &[])]);
    for file in [NEXT_CHAIN_FILE, NEXT_KEY_FILE] {
        fs::remove_file(directory.file(file)).unwrap();
    }
    directory
        .create_successor(&domains(&["example.com"]))
        .unwrap();
    let refused = refused(&directory, directory.switch(now, FewerNames::Refused));
    assert!(
        refused.contains("\"0.0.0.0/0\"") && refused.ends_with(fewer),
        "{refused}"
    );
}

#[test]
fn a_successor_may_allow_more_than_a_company_that_writes_a_leading_dot() {
    let now = SystemTime::now();
    for (before, after, missing) in [
        (".example.com", "example.com", None),
        (".a.example.com", "example.com", None),
        ("a.example.com", "example.com", None),
        (".example.com", "a.example.com", Some("\".example.com\"")),
        (".example.com", "ample.com", Some("\".example.com\"")),
    ] {
        let (_dir, directory) = directory();
        directory.create(&domains(&["example.com"])).unwrap();
        let networks = [
            CidrSubnet::V4([0; 4], [0; 4]),
            CidrSubnet::V6([0; 16], [0; 16]),
        ];
        let constraints = NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(before.to_owned())],
            excluded_subtrees: networks.map(GeneralSubtree::IpAddress).into(),
        };
        let (chain, key) = super::chains::constrained(constraints);
        fs::write(directory.file(CHAIN_FILE), chain).unwrap();
        fs::write(directory.file(KEY_FILE), key).unwrap();
        directory.create_successor(&domains(&[after])).unwrap();
        let switched = directory.switch(now, FewerNames::Refused);
        match missing {
            None => assert_eq!(switched.unwrap(), Switched::Whole, "{before} {after}"),
            Some(name) => {
                let refused = refused(&directory, switched);
                let expected = format!("CA/next.pem: the successor may not sign for {name}, ");
                assert!(refused.starts_with(&expected), "{refused}");
            }
        }
    }
}

#[test]
fn a_successor_is_for_all_of_a_domain_that_the_issuer_before_it_is_for() {
    let chain = |excluded: &[&str]| {
        let excluded = excluded
            .iter()
            .map(|name| GeneralSubtree::DnsName((*name).to_owned()));
        let (chain, _) = super::chains::constrained(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: excluded.collect(),
        });
        Chain::read(chain.as_bytes(), SystemTime::now()).unwrap()
    };
    let (whole, next) = (chain(&[]), chain(&["secret.example.com"]));
    let check = |domain: &str, before: Option<&Chain>| {
        let checked = next.check_successor(&domains(&[domain]), before);
        checked.map_err(|refused| refused.to_string())
    };
    for before in [None, Some(&whole)] {
        let refused = check("example.com", before).unwrap_err();
        let expected = "the issuer may not sign for \"example.com\": its name constraints exclude \"secret.example.com\"";
        assert_eq!(refused, expected);
        assert_eq!(check("www.example.com", before), Ok(()));
        assert!(check("a.secret.example.com", before).is_err());
    }
    assert_eq!(check("example.com", Some(&next)), Ok(()));
}
