//! What is in a file, in a form that can be kept and compared: a keyed hash, never the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::files;

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathContent {
    File(u64),
    /// Its `*.toml`.
    Directory(BTreeMap<PathBuf, PathContent>),
    /// A pipe or device: reading it would block, or take away what it holds.
    Special,
    Unreadable(io::ErrorKind),
    /// Nobody knows what it held when somebody read it.
    Unknown,
}

/// Hashes with a key of this process, so that the hash of a secret says nothing elsewhere.
#[derive(Clone, Default)]
pub(super) struct Hasher(RandomState);

impl Hasher {
    /// What `path` holds now.
    pub(super) fn content(&self, path: &Path) -> PathContent {
        let (hasher, named) = (self.clone(), path.to_owned());
        files::run_within_timeout(path, move || hasher.read(&named, true))
            .unwrap_or_else(|error| PathContent::Unreadable(error.kind()))
    }

    fn read(&self, path: &Path, descend: bool) -> io::Result<PathContent> {
        let kind = fs::metadata(path)?.file_type();
        if kind.is_file() {
            self.hash(File::open(path)?).map(PathContent::File)
        } else if kind.is_dir() && descend {
            let read = |path: PathBuf| {
                let content = self
                    .read(&path, false)
                    .unwrap_or_else(|error| PathContent::Unreadable(error.kind()));
                (path, content)
            };
            Ok(PathContent::Directory(
                toml_files(path)?.into_iter().map(read).collect(),
            ))
        } else {
            Ok(PathContent::Special)
        }
    }

    fn hash(&self, mut file: File) -> io::Result<u64> {
        let mut hasher = self.0.build_hasher();
        let mut buffer = Zeroizing::new([0; 4096]);
        loop {
            match file.read(&mut *buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.write(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The paths of `old` and `new` that differ; in directories, the files that do.
pub(super) fn changes(
    old: &BTreeMap<PathBuf, PathContent>,
    new: &BTreeMap<PathBuf, PathContent>,
) -> BTreeSet<PathBuf> {
    let mut changed = BTreeSet::new();
    for path in old.keys().chain(new.keys()) {
        match (old.get(path), new.get(path)) {
            (Some(PathContent::Directory(old)), Some(PathContent::Directory(new))) => {
                changed.extend(changes(old, new));
            }
            (old, new) if old != new => {
                changed.insert(path.clone());
            }
            _ => {}
        }
    }
    changed
}

/// The `*.toml` entries of a directory.
pub(super) fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    Ok(files)
}
