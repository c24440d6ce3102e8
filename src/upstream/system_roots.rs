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
use rustls_native_certs::load_certs_from_paths;

use super::error::TlsError;
use crate::files;
use crate::tls::reason;

/// No file of certificates is longer.
const MOST_BYTES: u64 = 16 << 20;

/// Where they are: a file that holds all of them, and directories of files.
struct Locations {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Locations {
    /// Those that the environment names, or else the usual ones.
    fn find() -> Self {
        let file = env::var_os(openssl_probe::ENV_CERT_FILE).map(PathBuf::from);
        // An empty variable is as good as none.
        let file = file.filter(|path| !path.as_os_str().is_empty());
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

    /// What they hold, and what of them cannot be read. A file without an end, such as a device, is not read.
    fn load(&self) -> (Vec<CertificateDer<'static>>, Vec<String>) {
        let mut reasons = Vec::new();
        let mut file = self.file.as_deref();
        if let Some(path) = file
            && fs::metadata(path).is_ok_and(|found| !found.is_file() || found.len() > MOST_BYTES)
        {
            let what = "it is no regular file of up to 16 MiB";
            reasons.push(format!("{}: {what}", path.display()));
            file = None;
        }
        let mut directories = self.directories.iter().map(PathBuf::as_path);
        let mut found = load_certs_from_paths(file, directories.next());
        for directory in directories {
            let more = load_certs_from_paths(None, Some(directory));
            found.certs.extend(more.certs);
            found.errors.extend(more.errors);
        }
        found.certs.sort_unstable_by(|a, b| a.cmp(b));
        found.certs.dedup();
        reasons.extend(found.errors.iter().map(ToString::to_string));
        (found.certs, reasons)
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
    let found = bounded(Locations::load);
    let (found, reasons) = found.map_err(|error| TlsError::NoRoots(reason(&error)))?;
    let roots = Arc::new(store_of(found, &reasons)?);
    if !reasons.is_empty() {
        let reasons = reasons.join("; ");
        tracing::warn!(reasons, "not all CA certificates of the system can be read");
    }
    *last = Some((fingerprint, roots.clone()));
    Ok(roots)
}

/// The certificates themselves, for clients of ours. Read anew each time; none where the system has none, or its file
/// system does not answer. Blocks.
pub fn certificates() -> Vec<CertificateDer<'static>> {
    let found = bounded(Locations::load);
    found.map(|(found, _)| found).unwrap_or_default()
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

fn store_of(
    found: Vec<CertificateDer<'static>>,
    reasons: &[String],
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        let reason = reasons.first().map_or("none found", String::as_str);
        return Err(TlsError::NoRoots(reason.to_owned()));
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
    fn what_cannot_be_read_is_named_and_a_file_without_an_end_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let none = directory.path().join("none.pem");
        for (file, reason) in [
            (PathBuf::from("/dev/zero"), "/dev/zero: it is no regular"),
            (none.clone(), none.to_str().unwrap()),
        ] {
            let locations = Locations {
                file: Some(file),
                directories: vec![directory.path().to_owned()],
            };
            let (found, reasons) = locations.load();
            assert!(found.is_empty());
            assert!(
                reasons.len() == 1 && reasons[0].contains(reason),
                "{reasons:?}"
            );
        }
    }

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
