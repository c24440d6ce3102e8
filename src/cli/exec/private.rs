//! A directory of one process, for the key of its CA and for what the program needs to trust it.
//!
//! It is removed at the end of the process. What a process leaves behind that was killed is removed by a later one: a lock
//! on the directory, which ends with its owner, tells that nobody uses it any more.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::{Builder, TempDir};

use crate::files;

const PREFIX: &str = "sidebearer-exec-";

/// Its owner alone may use it.
const MODE: u32 = 0o700;

/// More than the CA certificates of a system take in all the forms that programs read, and the key.
const ROOM: u64 = 4 << 20;
/// More than there are files and directories in it.
const FILES: u64 = 32;

/// How often one is made anew that another process has taken for an abandoned one, in the moment before it is locked.
const ATTEMPTS: usize = 8;

/// Removed when it is dropped.
pub(super) struct ExecDirectory {
    directory: TempDir,
    /// Held until it is removed; none where the file system has no locks.
    _lock: Option<File>,
}

impl ExecDirectory {
    /// One in the first of these places where that is possible: one that was chosen, then those in memory, where the key
    /// reaches no disk. One that is as good as full comes after all that have room. Nobody else may use it. `None` if it
    /// cannot be made.
    pub(super) fn make() -> Option<Self> {
        let chosen = ["TMPDIR", "XDG_RUNTIME_DIR"]
            .into_iter()
            .filter_map(env::var_os);
        let places = chosen.map(PathBuf::from).filter(|path| path.is_absolute());
        let places = places.chain([PathBuf::from("/dev/shm"), PathBuf::from("/tmp")]);
        let (roomy, full): (Vec<_>, Vec<_>) = places.partition(|place| has_room(place));
        let mut places = roomy.iter().chain(&full);
        places.find_map(|place| Self::make_in(place).ok())
    }

    fn make_in(place: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let directory = Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(MODE))
                .tempdir_in(place)?;
            match lock(directory.path()) {
                Ok(lock) if is_at(&lock, directory.path()) => {
                    let _lock = Some(lock);
                    return Ok(Self { directory, _lock });
                }
                Ok(_) => {}
                // Another process is about to remove it.
                Err(error) if is_locked(&error) => {}
                // Nobody can lock it, so that nobody takes it for abandoned.
                Err(_) => {
                    let _lock = None;
                    return Ok(Self { directory, _lock });
                }
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes those beside it that processes of the same user have left behind. Blocks.
    pub(super) fn remove_abandoned_beside(path: &Path) {
        let Some(place) = path.parent().map(Path::to_owned) else {
            return;
        };
        // What cannot be removed now can be later.
        let _ = files::run_within_timeout(path, move || {
            for entry in fs::read_dir(place)? {
                let entry = entry?;
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                    remove_if_abandoned(&entry.path());
                }
            }
            Ok(())
        });
    }
}

/// Whether what is put into such a directory has room there; not for want of a file system that says so.
fn has_room(place: &Path) -> bool {
    statvfs(place).is_ok_and(|found| {
        // None has no blocks and no files at all: it does not say how many.
        let has_bytes =
            found.f_blocks == 0 || found.f_bavail.saturating_mul(found.f_frsize) >= ROOM;
        let has_files = found.f_files == 0 || found.f_favail >= FILES;
        has_bytes && has_files
    })
}

fn remove_if_abandoned(path: &Path) {
    // Nobody else can have made one that is like it, not even by a link.
    let Ok(lock) = lock(path) else {
        return;
    };
    let is_ours = lock.metadata().is_ok_and(|found| {
        let mode = found.permissions().mode() & 0o7777;
        found.uid() == geteuid().as_raw() && mode == MODE
    });
    if is_ours && is_at(&lock, path) {
        let _ = fs::remove_dir_all(path);
    }
}

/// The lock of a directory, which ends with this process.
///
/// # Errors
/// It is held already; it is no directory, or there are no locks.
fn lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let directory = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Whether a directory that was opened is still the one at its path.
fn is_at(directory: &File, path: &Path) -> bool {
    let both = (directory.metadata(), fs::symlink_metadata(path));
    let (Ok(opened), Ok(found)) = both else {
        return false;
    };
    (opened.dev(), opened.ino()) == (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_living_process_holds_or_was_not_made_here_stays() {
        let place = tempfile::tempdir().unwrap();
        let abandoned = ExecDirectory::make_in(place.path()).unwrap();
        fs::create_dir(abandoned.path().join("ca")).unwrap();
        fs::write(abandoned.path().join("ca/issuer.key"), "key").unwrap();
        let ExecDirectory { directory, _lock } = abandoned;
        let gone = directory.keep();
        drop(_lock);
        let living = ExecDirectory::make_in(place.path()).unwrap();

        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), "").unwrap();
        let beside = |name: &str| place.path().join(format!("{PREFIX}{name}"));
        symlink(elsewhere.path(), beside("link")).unwrap();
        fs::write(beside("file"), "").unwrap();
        fs::create_dir(beside("open")).unwrap();
        fs::set_permissions(beside("open"), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path().join("other")).unwrap();
        fs::set_permissions(place.path().join("other"), Permissions::from_mode(MODE)).unwrap();

        let before = names(place.path());
        ExecDirectory::remove_abandoned_beside(living.path());
        let gone = gone.file_name().unwrap().to_str().unwrap();
        let kept: Vec<_> = before.into_iter().filter(|name| name != gone).collect();
        assert_eq!(names(place.path()), kept);
        assert!(elsewhere.path().join("kept").exists());

        drop(living);
        assert_eq!(names(place.path()).len(), kept.len() - 1);
    }
}
