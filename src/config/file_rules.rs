//! Which files a configuration file may name.

use std::path::{Path, PathBuf};

use super::settings::NamedFile;

/// The files that a configuration file may name.
pub(super) struct FileRules<'a> {
    /// What its paths are relative to.
    pub(super) base: &'a Path,
    /// How many bytes each may have.
    pub(super) max_bytes: usize,
}

impl FileRules<'_> {
    pub(super) fn named(&self, path: &str) -> NamedFile {
        NamedFile::new(self.path(path), self.max_bytes)
    }

    /// Of something that is not read.
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
