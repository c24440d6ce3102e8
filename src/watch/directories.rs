//! Where a path leads.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::content::toml_files;
use crate::{files, links};

/// What decides what paths name, and what they hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PathDependencies {
    /// That of every symlink on the way and the last one; where something is missing, the one it would be in. For a
    /// directory also itself, and the same for its `*.toml`.
    pub(super) directories: BTreeSet<PathBuf>,
    /// What stands on the way, or would. Whatever is written to another entry of the directories changes nothing.
    pub(super) entries: BTreeSet<EntryHash>,
}

/// What the path of an entry is known by: there may be one for each of thousands of callers. If another path has the same,
/// files are read once too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryHash(u64);

impl EntryHash {
    pub(super) fn of(path: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl PathDependencies {
    /// Those of some paths. None of a file system that does not answer: watching there would wait for it too.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for path in paths {
            let named = path.to_owned();
            let found = files::run_within_timeout(path, move || Ok(lead_through(&named)));
            let found = found.unwrap_or_default();
            // Not by `append`, which would build the whole set anew for each path. Copies, since what another thread has
            // made lies in memory of its own, most of which would stay for the little that is kept.
            all.directories.extend(found.directories.iter().cloned());
            all.entries.extend(found.entries);
        }
        all
    }
}

fn lead_through(path: &Path) -> PathDependencies {
    let mut found = PathDependencies::default();
    if let Some(directory) = follow(path, &mut found) {
        for file in toml_files(&directory).unwrap_or_default() {
            follow(&file, &mut found);
        }
        found.directories.insert(directory);
    }
    found
}

/// Returns the directory that `path` names, if it names one.
fn follow(path: &Path, found: &mut PathDependencies) -> Option<PathBuf> {
    let directory = links::follow(path, |directory, entry, kind| {
        found.entries.insert(EntryHash::of(entry));
        if !kind.is_some_and(|kind| kind.is_dir()) {
            found.directories.insert(directory.to_owned());
        }
    })?;
    let above = directory.parent().unwrap_or(&directory);
    found.directories.insert(above.to_owned());
    Some(directory)
}
