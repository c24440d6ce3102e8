//! `[interception]`

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use super::NamedFile;
use crate::ca;

/// `[interception]`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interception {
    /// Where the CA is; made there if it is not.
    pub key_directory: PathBuf,
    /// Where what clients need to trust it is written. Absolute: clients are told this path.
    pub trust_directory: PathBuf,
    /// What the CA may sign for: domains and IP addresses, in lower case, without trailing dot, IPv6 in brackets.
    pub domains: Vec<String>,
    /// The CAs that clients trust beside it; `None`: those of the system.
    pub roots_file: Option<NamedFile>,
    /// How long a certificate for one host lives.
    pub leaf_lifetime: Duration,
}

/// The file with the CAs of the system, if they are in one.
fn system_roots() -> Option<PathBuf> {
    let named = env::var_os(openssl_probe::ENV_CERT_FILE).map(PathBuf::from);
    named.or_else(|| openssl_probe::probe().cert_file)
}

impl Interception {
    /// Whether the CA may sign for this host, which is in lower case, without trailing dot, IPv6 in brackets.
    pub fn covers(&self, host: &str) -> bool {
        ca::covers(&self.domains, host)
    }

    /// The files that decide what it signs with and whom clients trust. Some may not be there.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let directory = ca::KeyDirectory::new(&self.key_directory);
        let names = [
            ca::KEY_FILE,
            ca::CHAIN_FILE,
            ca::NEXT_CHAIN_FILE,
            ca::PREVIOUS_FILE,
        ];
        let roots = match &self.roots_file {
            Some(file) => Some(file.path().to_owned()),
            None => system_roots(),
        };
        let held = names.map(|name| directory.file(name));
        held.into_iter().chain(roots)
    }
}
