//! Writes the trust directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::files::put;
use super::truststore::truststore;
use super::variables::shell;
use crate::ca::to_pem;
use crate::ca::{BUNDLE_FILE, CA_FILE, SHELL_FILE, TRUSTSTORE_FILE};

/// Everyone may look into a directory that is made here.
const OPEN: u32 = 0o755;

/// Writes the files for clients that are to trust the roots `own` and `others`, and makes the directory if need be. Each
/// is written whole and put in the place of the one before; one that would not change is left alone. Blocks.
///
/// # Errors
/// The directory or one of the files cannot be made.
pub fn write(
    directory: &Path,
    own: &[CertificateDer<'static>],
    others: &[CertificateDer<'static>],
) -> io::Result<()> {
    if !directory.is_dir() {
        fs::create_dir_all(directory)?;
        // Whatever the process keeps from others by default: clients are others.
        fs::set_permissions(directory, Permissions::from_mode(OPEN))?;
    }
    let mut all: Vec<&CertificateDer<'static>> = Vec::new();
    for root in own.iter().chain(others) {
        if !all.contains(&root) {
            all.push(root);
        }
    }
    put(directory, CA_FILE, to_pem(own).as_bytes())?;
    put(
        directory,
        BUNDLE_FILE,
        to_pem(all.iter().copied()).as_bytes(),
    )?;
    put(directory, TRUSTSTORE_FILE, &truststore(&all))?;
    // The last one: it names the others.
    put(directory, SHELL_FILE, shell(directory).as_encoded_bytes())
}
