//! The CA certificates of the system.

use std::env;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls_native_certs::CertificateResult;

use super::handshake::reason;
use super::tls::TlsError;
use crate::files;

/// Where they are: a file of all of them, and directories of files.
struct Places {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Places {
    /// Those that the environment names, else those that are usual, as the library looks for them.
    fn now() -> Self {
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

    /// Another one when a file of theirs was added, taken away, replaced or written to.
    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(file) = &self.file {
            stamp_of(file, &mut hasher);
        }
        for directory in &self.directories {
            stamp_of(directory, &mut hasher);
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
            entries.sort_unstable();
            entries.iter().for_each(|file| stamp_of(file, &mut hasher));
        }
        hasher.finish()
    }
}

/// They are read again when their files are other ones than at the last time; else everyone shares
/// what was read then. A failure is not kept. May wait for a file system, within `file_timeout`.
///
/// # Errors
/// There are none, or the file system does not answer.
pub(super) fn read() -> Result<Arc<RootCertStore>, TlsError> {
    static LAST: Mutex<Option<(u64, Arc<RootCertStore>)>> = Mutex::new(None);
    let stamp = bounded(Places::stamp).map_err(|error| TlsError::NoRoots(reason(&error)))?;
    // What is locked is replaced whole, so a panic elsewhere leaves it sound.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, roots)) = last.as_ref().filter(|(known, _)| *known == stamp) {
        return Ok(roots.clone());
    }
    let found = bounded(|_| rustls_native_certs::load_native_certs());
    let found = found.map_err(|error| TlsError::NoRoots(reason(&error)))?;
    let roots = Arc::new(store_of(found)?);
    *last = Some((stamp, roots.clone()));
    Ok(roots)
}

/// Another one when [`read`] would read them again.
pub(super) fn stamp() -> u64 {
    // A file system that does not answer is another state than any in which it does.
    bounded(Places::stamp).unwrap_or_default()
}

/// On a thread that may wait for a file system.
fn bounded<T: Send + 'static>(look: fn(&Places) -> T) -> io::Result<T> {
    let named = Places::now();
    let first = named.file.iter().chain(&named.directories).next();
    let first = first.map_or_else(PathBuf::new, PathBuf::clone);
    files::within(&first, move || Ok(look(&named)))
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

fn stamp_of(path: &Path, hasher: &mut impl Hasher) {
    let state = |file: Metadata| {
        let written = (file.mtime(), file.mtime_nsec());
        let changed = (file.ctime(), file.ctime_nsec());
        (file.dev(), file.ino(), file.len(), written, changed)
    };
    (path, fs::metadata(path).ok().map(state)).hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_changes_the_stamp() {
        let directories = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let [one, two] = directories.each_ref().map(|directory| directory.path());
        let bundle = one.join("bundle.pem");
        let places = Places {
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
        let mut before = places.stamp();
        for (number, change) in changes.iter().enumerate() {
            assert_eq!(places.stamp(), before, "nothing changed");
            change();
            let now = places.stamp();
            assert_ne!(now, before, "change {number}");
            before = now;
        }
    }
}
