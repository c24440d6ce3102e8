//! The CA certificates of the system.

use std::env;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::CertificateResult;

use super::error::TlsError;
use crate::files;
use crate::tls::reason;

/// Where they are: a file that holds all of them, and directories of files.
struct Locations {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Locations {
    /// Those that the environment names, or else the usual ones, as the library finds them.
    fn find() -> Self {
        let file = env::var_os(openssl_probe::ENV_CERT_FILE).map(PathBuf::from);
        let directories = env::var_os(openssl_probe::ENV_CERT_DIR);
        let directories = directories.iter().flat_map(env::split_paths);
        let directories = directories.filter(|path| !path.as_os_str().is_empty());
        let named = Self {
            file,
            directories: directories.collect(),
        };
        if named.file.is_some() || !named.directories.is_empty() {
            return named;
        }
        let usual = openssl_probe::probe();
        Self {
            file: usual.cert_file,
            directories: usual.cert_dir,
        }
    }

    /// A number that changes when one of their files is added, removed, replaced or written to.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(file) = &self.file {
            hash_of_state(file).hash(&mut hasher);
        }
        for directory in &self.directories {
            hash_of_state(directory).hash(&mut hasher);
            // A sum, since entries come in any order, and a list of them would be the largest that a process
            // without traffic ever holds.
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let sum = entries.fold(0, |sum: u64, entry| {
                sum.wrapping_add(hash_of_state(&entry.path()))
            });
            sum.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// They are read again when their files have changed since the last time; otherwise all callers share what was
/// read then. A failure is not kept. May wait for a file system, within `file_timeout`.
///
/// # Errors
/// There are none, or the file system does not answer.
pub(super) fn read() -> Result<Arc<RootCertStore>, TlsError> {
    static LAST: Mutex<Option<(u64, Arc<RootCertStore>)>> = Mutex::new(None);
    let fingerprint =
        bounded(Locations::fingerprint).map_err(|error| TlsError::NoRoots(reason(&error)))?;
    // The value is only replaced as a whole, so that a panic elsewhere leaves it valid.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, roots)) = last.as_ref().filter(|(known, _)| *known == fingerprint) {
        return Ok(roots.clone());
    }
    let found = bounded(|_| rustls_native_certs::load_native_certs());
    let found = found.map_err(|error| TlsError::NoRoots(reason(&error)))?;
    let roots = Arc::new(store_of(found)?);
    *last = Some((fingerprint, roots.clone()));
    Ok(roots)
}

/// The certificates themselves, for clients of ours. Read anew each time; none where the system has none, or its file
/// system does not answer. Blocks.
pub fn certificates() -> Vec<CertificateDer<'static>> {
    let found = bounded(|_| rustls_native_certs::load_native_certs());
    found.map(|found| found.certs).unwrap_or_default()
}

/// A number that changes when [`read`] would read them again.
pub(super) fn fingerprint() -> u64 {
    // A file system that does not answer counts as a change.
    bounded(Locations::fingerprint).unwrap_or_default()
}

/// Runs this on a thread that may wait for a file system, within `file_timeout`.
fn bounded<T: Send + 'static>(read: fn(&Locations) -> T) -> io::Result<T> {
    let locations = Locations::find();
    let first = locations.file.iter().chain(&locations.directories).next();
    let first = first.map_or_else(PathBuf::new, PathBuf::clone);
    files::run_within_timeout(&first, move || Ok(read(&locations)))
}

fn store_of(found: CertificateResult) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(TlsError::NoRoots(
            reason.unwrap_or_else(|| "none found".to_owned()),
        ));
    }
    Ok(roots)
}

fn hash_of_state(path: &Path) -> u64 {
    let state = |file: Metadata| {
        let written = (file.mtime(), file.mtime_nsec());
        let changed = (file.ctime(), file.ctime_nsec());
        (file.dev(), file.ino(), file.len(), written, changed)
    };
    let mut hasher = DefaultHasher::new();
    (path, fs::metadata(path).ok().map(state)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_changes_the_fingerprint() {
        let directories = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let [one, two] = directories.each_ref().map(|directory| directory.path());
        let bundle = one.join("bundle.pem");
        let locations = Locations {
            file: Some(bundle.clone()),
            directories: vec![one.to_owned(), two.to_owned()],
        };
        let target = tempfile::NamedTempFile::new().unwrap();
        let added = two.join("added.pem");
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(&bundle, "a").unwrap(),
            &|| std::os::unix::fs::symlink(target.path(), &added).unwrap(),
            // In place: the directory shows nothing of it.
            &|| fs::write(&added, "longer").unwrap(),
            &|| fs::write(&bundle, "longer").unwrap(),
            &|| fs::remove_file(&added).unwrap(),
        ];
        let mut before = locations.fingerprint();
        for (number, change) in changes.iter().enumerate() {
            assert_eq!(locations.fingerprint(), before, "nothing changed");
            change();
            let now = locations.fingerprint();
            assert_ne!(now, before, "change {number}");
            before = now;
        }
    }
}
