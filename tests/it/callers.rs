//! Who is calling, what it may do, and whose token goes with its requests.

mod matrix;
mod presented;
mod reload;
mod secrecy;

use std::path::Path;

use crate::support::idp::Idp;

/// A key that the caller of this name has.
fn key(caller: &str) -> String {
    format!("{caller}-key-0123456789abcdef0123456789abcdef")
}

/// Writes the key of each as `NAME.key`, and gives the tables of the callers that have them.
fn with_keys(dir: &Path, callers: &[&str]) -> String {
    let table = |name: &&str| {
        let file = format!("{name}.key");
        std::fs::write(dir.join(&file), key(name) + "\n").unwrap();
        format!("[callers.{name}]\nkey = {{ file = \"{file}\" }}\n")
    };
    callers.iter().map(table).collect()
}

/// A credential of this name, whose tokens begin with it.
fn credential(name: &str, dir: &Path) -> String {
    let idp = Idp::start();
    idp.set_prefix(name);
    std::fs::write(dir.join("secret"), "s3cret\n").unwrap();
    format!(
        "[credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"{name}\"\n\
         client_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    )
}
