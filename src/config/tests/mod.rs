//! Files in, configurations or diagnostics out.

/// The text of a key that tests share.
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tests/keys/", $name))
    };
}

mod admission;
mod any_text;
mod arguments;
mod bad_auth;
mod bad_certificates;
mod bad_credentials;
mod bad_dpop;
mod bad_files;
mod bad_listeners;
mod bad_routes;
mod bad_secrets;
mod bad_upstreams;
mod bad_values;
mod callers;
mod callers_at_size;
mod contradictions;
mod declared;
mod documented;
mod egress;
mod egress_credentials;
mod egress_without_effect;
mod file_uses;
mod forward;
mod good;
mod good_auth;
mod identification;
mod interception;
mod limits;
mod listener_tls;
mod masked_urls;
mod mistaken;
mod oddities;
mod patterns;
mod program;
mod proxies;
mod redirected;
mod schema;
mod served;
mod traces;
mod unread;

use std::path::Path;

use tempfile::TempDir;

use super::{Diagnostics, Loaded, load};

const LISTENER: &str = r#"
[[listeners]]
address = "127.0.0.1:7080"
upstream = "crm"
"#;

const FORWARD: &str = r#"
[[listeners]]
name = "proxy"
address = "127.0.0.1:3128"
kind = "forward"
"#;

const REDIRECTED: &str = r#"
[[listeners]]
name = "apps"
address = "127.0.0.1:15001"
kind = "redirected"
"#;

const UPSTREAM: &str = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
"#;

const CREDENTIAL: &str = r#"
[credentials.crm]
token_endpoint = "https://login.example.com/oauth/token"
client_id = "billing"
client_secret = { file = "secret" }
"#;

/// A directory with these files, and the secrets `secret` and `pair`.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "s3cr3t-in-a-file\n").unwrap();
    std::fs::write(directory.path().join("pair"), "user:hunter2\n").unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Adds `server.pem`, a certificate of its own, and `server.key`; and `clients.pem`, a CA, with its CRL `clients.crl`.
fn add_certificate(directory: &TempDir) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["gateway.internal".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(directory.path().join("server.pem"), certificate).unwrap();
    let (ca, list) = listener_tls::issuer_with_list();
    std::fs::write(directory.path().join("clients.pem"), ca).unwrap();
    std::fs::write(directory.path().join("clients.crl"), list).unwrap();
    std::fs::write(directory.path().join("server.key"), key.serialize_pem()).unwrap();
}

/// Loads these parts as one file.
fn load_parts(parts: &[&str]) -> (TempDir, Result<Loaded, Diagnostics>) {
    let directory = directory(&[("sidebearer.toml", &parts.concat())]);
    let loaded = load(&directory.path().join("sidebearer.toml"));
    (directory, loaded)
}

/// What is shown for these parts, which must be refused.
fn refused(parts: &[&str]) -> String {
    let (directory, loaded) = load_parts(parts);
    shown(&directory, &loaded.unwrap_err())
}

/// What is shown for these parts, which must be accepted.
fn accepted(parts: &[&str]) -> String {
    let (directory, loaded) = load_parts(parts);
    shown(&directory, &loaded.unwrap().warnings)
}

/// Stable in whatever directory it ran.
fn shown(directory: &TempDir, diagnostics: &Diagnostics) -> String {
    without(directory.path(), &diagnostics.to_string())
}

fn without(directory: &Path, text: &str) -> String {
    let directory = directory.display().to_string();
    text.replace(&format!("{directory}/"), "")
        .replace(&directory, "DIRECTORY")
}
