//! Which files a configuration file may name, and what becomes of each.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::report::SourceSpan;
use super::settings::NamedFile;
use crate::files;

/// The files that a configuration file may name.
pub(super) struct FileRules<'a> {
    /// What its paths are relative to.
    pub(super) base: &'a Path,
    /// How many bytes each may have.
    pub(super) max_bytes: usize,
    /// Where each file is noted that is read or written.
    pub(super) uses: &'a FileUses,
}

/// What all configuration files name.
#[derive(Default)]
pub(super) struct FileUses(RefCell<Vec<FileUse>>);

/// A file that is read or written.
pub(super) struct FileUse {
    pub(super) path: PathBuf,
    /// Where it is named.
    pub(super) place: SourceSpan,
    /// What this process writes there; `None` for what it reads alone.
    pub(super) written: Option<&'static str>,
}

impl FileUses {
    /// All of them, in the order in which they were read.
    pub(super) fn into_inner(self) -> Vec<FileUse> {
        self.0.into_inner()
    }
}

impl FileRules<'_> {
    /// A file that is read.
    pub(super) fn named(&self, path: &str, place: &SourceSpan) -> NamedFile {
        let path = self.path(path);
        self.note(path.clone(), place, None);
        NamedFile::new(path, self.max_bytes)
    }

    /// This process writes `what` there.
    pub(super) fn note_written(&self, path: PathBuf, place: &SourceSpan, what: &'static str) {
        self.note(path, place, Some(what));
    }

    fn note(&self, path: PathBuf, place: &SourceSpan, written: Option<&'static str>) {
        self.uses.0.borrow_mut().push(FileUse {
            path,
            place: place.clone(),
            written,
        });
    }

    /// Where a path of the configuration leads.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// The directory, for people.
    pub(super) fn base(&self) -> String {
        if self.base.as_os_str().is_empty() {
            "the current directory".to_owned()
        } else {
            self.base.display().to_string()
        }
    }
}

/// Whether a file of this name is read, in a directory of configuration files.
pub(super) fn is_configuration_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    path.extension() == Some(OsStr::new("toml")) && !name.as_encoded_bytes().starts_with(b".")
}

/// The one path of each of these files, whatever links lead there; of one that is not there yet, where it would be. As
/// they are written if the file system does not answer.
pub(super) fn canonical(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let Some(first) = paths.first().cloned() else {
        return paths;
    };
    let named = paths.clone();
    let found = files::run_within_timeout(&first, move || {
        Ok(named.iter().map(|path| canonical_now(path)).collect())
    });
    found.unwrap_or(paths)
}

fn canonical_now(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.canonicalize().unwrap_or_else(|_| {
        let parts = whole.parent().zip(whole.file_name());
        parts.map_or(whole.clone(), |(parent, name)| {
            canonical_now(parent).join(name)
        })
    })
}
