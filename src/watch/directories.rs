//! Where a path leads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::content::toml_files;
use crate::files;

/// Symlinks followed on one path, as many as Linux follows.
const MAX_LINKS: u32 = 40;

/// The directories whose entries decide what `path` names: that of every symlink on the way and
/// the last one; where something is missing, the one it would be in. For a directory also itself,
/// and the same for its `*.toml`.
pub(super) fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let named = path.to_owned();
    // None of a file system that does not answer: watching there would wait for it too.
    files::run_within_timeout(path, move || Ok(lead_through(&named))).unwrap_or_default()
}

fn lead_through(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    if let Some(directory) = follow(path, &mut found) {
        for file in toml_files(&directory).unwrap_or_default() {
            follow(&file, &mut found);
        }
        found.insert(directory);
    }
    found
}

/// Returns the directory that `path` names, if it names one.
fn follow(path: &Path, found: &mut BTreeSet<PathBuf>) -> Option<PathBuf> {
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut rest = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        let mut steps = rest.components();
        let Some(step) = steps.next() else {
            found.insert(at.parent().unwrap_or(&at).to_owned());
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
                match fs::symlink_metadata(&entry) {
                    Ok(entry_is) if entry_is.is_dir() => at = entry,
                    Ok(entry_is) if entry_is.is_symlink() && links < MAX_LINKS => {
                        links += 1;
                        found.insert(at.clone());
                        after = fs::read_link(&entry).ok()?.join(after);
                    }
                    _ => {
                        found.insert(at);
                        return None;
                    }
                }
            }
        }
        rest = after;
    }
}
