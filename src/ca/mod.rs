//! A certification authority that may sign for few names alone, and the certificates of servers that it signs.
//!
//! Knows neither the configuration nor TLS connections: PEM comes in, certificates go out.

mod certificates;
mod create;
mod issuer;
mod key_directory;
mod leaf;
mod name;
mod name_constraints;
mod signing;
#[cfg(test)]
mod tests;
mod trust_files;

pub use certificates::{certificates, to_pem};
pub use create::{NewIssuer, create};
pub use issuer::{Chain, Issuer, IssuerError};
pub use key_directory::{
    CHAIN_FILE, FewerNames, HeldIssuer, KEY_FILE, KeyDirectory, KeyDirectoryError, NEXT_CHAIN_FILE,
    NEXT_KEY_FILE, OtherRoots, PREVIOUS_FILE, Switched,
};
pub use leaf::{Leaf, LeafError};
pub use name::{CertifiedName, covers};
pub use trust_files::{BUNDLE_FILE, CA_FILE, SHELL_FILE, TRUST_FILES, TRUSTSTORE_FILE};
