//! What the documents tell people to write is a configuration.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

use super::Document;
use crate::support::keys::key;

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:7080\"\nupstream = \"any\"\n\n";

#[test]
fn every_example_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let rsa = KeyPair::from_pkcs8_pem_and_sign_algo(key!("rsa.pkcs8.pem"), &PKCS_RSA_SHA256);
    let certificate = CertificateParams::new(["billing".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&rsa.unwrap()).unwrap().pem();
    for (name, text) in [
        ("key", key!("rsa.pkcs8.pem")),
        ("certificate", &certificate),
        ("pair", "user:password"),
        ("caller_key", &"0".repeat(32)),
        ("text", "e30.e30.c2ln"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let documents = Document::all();
    let examples: Vec<_> = documents.iter().flat_map(|d| d.blocks_of("toml")).collect();
    assert!(examples.len() > 15, "{} examples", examples.len());
    for (place, example) in examples {
        load(directory.path(), &place, &example);
    }
}

/// Loads an example with files that exist, and with what it leaves out.
fn load(directory: &Path, place: &str, example: &str) {
    let mut text = example.replace("/etc/sidebearer/", "");
    for (start, file) in [
        ("private_key = { file = \"", "key"),
        ("\nkey = { file = \"", "caller_key"),
        ("key_file = \"", "key"),
        ("certificate_file = \"", "certificate"),
        ("ca_file = \"", "certificate"),
        ("proxy_authorization = { file = \"/", "pair"),
        ("file = \"/", "text"),
    ] {
        text = replaced(&text, start, file);
    }
    if !text.contains("[[listeners]]") {
        text = format!("{LISTENER}{text}");
    }
    let named = text.split("upstream = \"").skip(1);
    let named = named.map(|rest| rest.split('"').next().unwrap_or_default().to_owned());
    for upstream in named.collect::<std::collections::BTreeSet<_>>() {
        if !text.contains(&format!("[upstreams.{upstream}]")) {
            text += &format!("\n[upstreams.{upstream}]\nurl = \"https://api.example.com\"\n");
        }
    }
    let path = directory.join("sidebearer.toml");
    std::fs::write(&path, &text).unwrap();
    if let Err(refused) = sidebearer::config::load(&path) {
        panic!("{place}\n{example}\n{refused}");
    }
}

/// With `file` in place of the path behind every `start`.
fn replaced(text: &str, start: &str, file: &str) -> String {
    let key = start.trim_end_matches('/');
    let mut parts = text.split(start);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('"').unwrap();
        whole.push_str(&format!("{key}{file}\"{rest}"));
    }
    whole
}
