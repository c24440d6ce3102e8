//! Writes the trust directory.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
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
        make(directory)?;
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

/// Makes the directory, with those above it.
fn make(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    match fs::create_dir(directory) {
        // Another process has, and opens it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {
            return Ok(());
        }
        made => made?,
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let made = File::options()
        .read(true)
        // Who put a link in its place would have another directory opened to everyone.
        .custom_flags(flags.bits().cast_signed())
        .open(directory)?;
    // Whatever the process keeps from others by default: clients are others.
    made.set_permissions(Permissions::from_mode(OPEN))
}
