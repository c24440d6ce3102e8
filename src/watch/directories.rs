//! Where a path leads.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use super::content::toml_files;
use crate::files;

/// Symlinks followed on one path, as many as Linux follows.
const MAX_LINKS: u32 = 40;

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
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut rest = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        let mut steps = rest.components();
        let Some(step) = steps.next() else {
            found
                .directories
                .insert(at.parent().unwrap_or(&at).to_owned());
            return Some(at);
        };
        let mut after = steps.as_path().to_owned();
        match step {
            Component::RootDir => at = PathBuf::from("/"),
            Component::ParentDir => {
                at.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                let entry = at.join(name);
                found.entries.insert(EntryHash::of(&entry));
                match fs::symlink_metadata(&entry) {
                    Ok(entry_is) if entry_is.is_dir() => at = entry,
                    Ok(entry_is) if entry_is.is_symlink() && links < MAX_LINKS => {
                        links += 1;
                        found.directories.insert(at.clone());
                        after = fs::read_link(&entry).ok()?.join(after);
                    }
                    _ => {
                        found.directories.insert(at);
                        return None;
                    }
                }
            }
        }
        rest = after;
    }
}
