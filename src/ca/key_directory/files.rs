//! The files of the directory of a CA: who may use them, and how they are replaced.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, statvfs};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::{KeyDirectory, KeyDirectoryError};

/// No file of a CA is longer.
const MOST_BYTES: u64 = 1 << 20;
/// Any permission of those who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// What would let a group replace the files of a directory.
const GROUP_WRITES: u32 = 0o020;
/// What the group may not do with a key, and may not do at all unless the key is root's.
const GROUP_CHANGES: u32 = 0o030;
const GROUP: u32 = 0o070;

impl KeyDirectory {
    /// Writes a file whole and puts it in the place of what is there.
    pub(super) fn write(
        &self,
        name: &str,
        content: &[u8],
        mode: u32,
    ) -> Result<(), KeyDirectoryError> {
        self.prepare(name, content, mode)?;
        self.put(name)
    }

    /// Writes a file whole beside its place.
    pub(super) fn prepare(
        &self,
        name: &str,
        content: &[u8],
        mode: u32,
    ) -> Result<(), KeyDirectoryError> {
        let write = || {
            let path = self.file(&prepared_name(name));
            // Left behind by a process that was ended: only the holder of the lock is here.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(|error| self.io(name, error))
    }

    /// Puts a file that was prepared in its place.
    pub(super) fn put(&self, name: &str) -> Result<(), KeyDirectoryError> {
        self.rename(&prepared_name(name), name)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), KeyDirectoryError> {
        fs::rename(self.file(from), self.file(to)).map_err(|error| self.io(to, error))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), KeyDirectoryError> {
        fs::remove_file(self.file(name)).map_err(|error| self.io(name, error))
    }

    /// So that names outlive a power failure. Where the file system cannot do that, they need not.
    pub(super) fn sync(&self) {
        if let Ok(directory) = File::open(&self.path) {
            let _ = directory.sync_all();
        }
    }

    /// Makes the directory if need be, and keeps other processes from changing what is in it until the file is closed.
    pub(super) fn lock(&self) -> Result<File, KeyDirectoryError> {
        let lock = || {
            if fs::metadata(&self.path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                if let Some(parent) = self.path.parent() {
                    fs::create_dir_all(parent)?;
                }
                match DirBuilder::new().mode(0o700).create(&self.path) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            let directory = File::open(&self.path)?;
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        };
        let directory = lock().map_err(|error| self.io("", error))?;
        let found = directory.metadata().map_err(|error| self.io("", error))?;
        self.check_directory(&found)?;
        Ok(directory)
    }

    /// Whether nobody else can look into it or put files there. What lies on a file system that is mounted read-only was
    /// given, and its keys alone are looked at.
    pub(super) fn check_directory(&self, found: &Metadata) -> Result<(), KeyDirectoryError> {
        let path = || self.path.clone();
        if !found.is_dir() {
            let error = io::Error::from(ErrorKind::NotADirectory);
            return Err(KeyDirectoryError::Io {
                path: path(),
                error,
            });
        }
        let read_only =
            statvfs(&self.path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
        if found.mode() & OTHERS != 0 && !read_only {
            return Err(KeyDirectoryError::Permissions {
                path: path(),
                what: "every user of the machine can look into it".to_owned(),
                help: format!("take that away: chmod o= {}", self.path.display()),
            });
        }
        if found.mode() & GROUP_WRITES != 0 && !read_only {
            return Err(KeyDirectoryError::Permissions {
                path: path(),
                what: "a group of users can replace the files in it".to_owned(),
                help: format!("take that away: chmod g-w {}", self.path.display()),
            });
        }
        self.check_owner("", found)
    }

    /// Whether it belongs to somebody who may replace it.
    fn check_owner(&self, name: &str, found: &Metadata) -> Result<(), KeyDirectoryError> {
        let (user, owner) = (geteuid().as_raw(), found.uid());
        if !is_foreign(user, owner) {
            return Ok(());
        }
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.file(name)
        };
        let help = format!(
            "give it to the user of this process: chown {user} {}",
            path.display()
        );
        Err(KeyDirectoryError::Permissions {
            path,
            what: format!("it belongs to another user ({owner}), who can replace it"),
            help,
        })
    }

    /// A key, if it is there.
    pub(super) fn key(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        let Some(found) = self.metadata(name)? else {
            return Ok(None);
        };
        self.check_owner(name, &found)?;
        let (mode, owner) = (found.mode(), found.uid());
        let path = self.file(name);
        let refused = |what: &str, help: String| {
            let what = what.to_owned();
            Err(KeyDirectoryError::Permissions {
                path: path.clone(),
                what,
                help,
            })
        };
        let shown = path.display();
        if mode & OTHERS != 0 {
            return refused(
                "every user of the machine can use the key",
                format!("take that away: chmod 0600 {shown}"),
            );
        }
        if mode & GROUP_CHANGES != 0 || (mode & GROUP != 0 && owner != 0) {
            let help = format!(
                "take that away: chmod 0600 {shown} (a key of root may be readable by a group)"
            );
            return refused("a group of users can use the key", help);
        }
        self.content(name)
    }

    /// What was prepared and is not in its place yet.
    pub(super) fn prepared(
        &self,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        self.content(&prepared_name(name))
    }

    pub(super) fn content(
        &self,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        let Some(found) = self.metadata(name)? else {
            return Ok(None);
        };
        if !found.is_file() || found.len() > MOST_BYTES {
            let error = io::Error::other("it is no regular file of up to 1 MiB");
            return Err(self.io(name, error));
        }
        match fs::read(self.file(name)) {
            Ok(content) => Ok(Some(Zeroizing::new(content))),
            Err(error) => Err(self.io(name, error)),
        }
    }

    pub(super) fn metadata(&self, name: &str) -> Result<Option<Metadata>, KeyDirectoryError> {
        match fs::metadata(self.file(name)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(name, error)),
        }
    }

    pub(super) fn half(&self, there: &str, other: &'static str) -> KeyDirectoryError {
        let path = self.file(there);
        KeyDirectoryError::Half { path, other }
    }

    pub(super) fn io(&self, name: &str, error: io::Error) -> KeyDirectoryError {
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.file(name)
        };
        KeyDirectoryError::Io { path, error }
    }
}

/// What a file is called before it is in its place.
fn prepared_name(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether what belongs to `owner` is in the hands of somebody whom `user` need not trust. Root can change everything
/// anyway, and itself works for those to whom it belongs.
pub(in crate::ca) fn is_foreign(user: u32, owner: u32) -> bool {
    user != 0 && owner != 0 && owner != user
}
