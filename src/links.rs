//! Where a path leads, through every symlink on the way.

use std::fs::{self, FileType};
use std::path::{Component, Path, PathBuf};

/// Symlinks followed on one path, as many as Linux follows.
const MAX_LINKS: u32 = 40;

/// Follows a path, and tells `look` of each name that is looked up on the way: the directory in which that is done, the
/// path of the entry, and what stands there, if anything does. Returns the directory that the path names, if it names one.
/// What it tells of has no symlink in it but the entry itself.
pub fn follow(
    path: &Path,
    mut look: impl FnMut(&Path, &Path, Option<FileType>),
) -> Option<PathBuf> {
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut rest = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        let mut steps = rest.components();
        let Some(step) = steps.next() else {
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
                let found = fs::symlink_metadata(&entry).ok();
                let kind = found.map(|found| found.file_type());
                look(&at, &entry, kind);
                match kind {
                    Some(kind) if kind.is_dir() => at = entry,
                    Some(kind) if kind.is_symlink() && links < MAX_LINKS => {
                        links += 1;
                        after = fs::read_link(&entry).ok()?.join(after);
                    }
                    _ => return None,
                }
            }
        }
        rest = after;
    }
}
