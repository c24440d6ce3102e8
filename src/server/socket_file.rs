//! The file of a unix socket, told from every other file by its inode.
//!
//! Everybody who can write to the directory can replace the file by another one, or by a link, at any
//! moment. Therefore no name is trusted twice: the socket is made in a directory that only this process can
//! reach, and its mode is set by a descriptor that was compared with what was made.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, unlinkat,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::files;

/// What the socket is called until it is in its place.
const MADE_AS: &str = "socket";

/// Where a path leads through a descriptor, whatever a name has come to mean.
const DESCRIPTORS: &str = "/proc/self/fd";

/// The file of a socket that this process has bound. It is removed when this is dropped, unless another file
/// is in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// While the socket is open no other file can get the same inode.
    inode: Inode,
}

/// Device and number.
type Inode = (u64, u64);

/// A directory next to the place of the socket, which nobody else may enter. A path through its
/// descriptor leads there whatever its name has come to mean, and is short: `sun_path` has 108
/// bytes.
struct PrivateDirectory<'a> {
    beside: &'a OwnedFd,
    name: String,
    directory: OwnedFd,
}

/// Binds a unix socket and listens on it. A stale socket file is replaced, a live one is not; with
/// the mode from the moment that it can be seen.
///
/// # Errors
/// The system's, with the reason in words.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    let name = path.file_name().unwrap_or_default();
    let beside = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let beside = openat(CWD, beside, flags, Mode::empty())?;
    if let Err(error) = fs::metadata(DESCRIPTORS) {
        let reason = format!(
            "{DESCRIPTORS}, by which its file is put in its place, cannot be used: {error}"
        );
        return Err(io::Error::new(error.kind(), reason));
    }
    refuse_if_taken(&beside, name)?;

    let private = PrivateDirectory::make(&beside)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(through(&private.directory, MADE_AS))?)?;
    let made = open_socket(&private.directory, MADE_AS)?;
    set_mode(&made, mode)?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    let inode = inode(&made)?;
    renameat(&private.directory, MADE_AS, &beside, name)?;
    let path = path.to_owned();
    Ok((socket, SocketFile { path, inode }))
}

impl SocketFile {
    /// Whether what is in its place is what was made. Blocks for as long as the file system takes.
    pub fn is_ours(&self) -> bool {
        is_at(&self.path, self.inode)
    }

    /// Gives it another mode. Blocks for as long as the file system takes.
    ///
    /// # Errors
    /// Another file is in its place, which is not changed; or the system refuses.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let file = open_socket(CWD, &self.path)?;
        if inode(&file)? != self.inode {
            return Err(io::Error::other("another file is in its place"));
        }
        set_mode(&file, mode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let (path, inode) = (std::mem::take(&mut self.path), self.inode);
        let named = path.clone();
        // A file that cannot be removed in time stays behind: to the next process it is a stale one.
        let _ = files::run_within_timeout(&path, move || {
            // The next process may have put its own file there.
            if is_at(&named, inode) {
                fs::remove_file(named)?;
            }
            Ok(())
        });
    }
}

fn is_at(path: &Path, inode: Inode) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == inode)
}

impl<'a> PrivateDirectory<'a> {
    fn make(beside: &'a OwnedFd) -> io::Result<Self> {
        let name = format!(".sidebearer-{:016x}", fastrand::u64(..));
        mkdirat(beside, &name, Mode::RWXU)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(beside, &name, flags, Mode::empty())?;
        let private = Self {
            beside,
            name,
            directory,
        };
        let found = fstat(&private.directory)?;
        let ours = found.st_uid == rustix::process::geteuid().as_raw();
        if !ours || Mode::from_raw_mode(found.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return Err(io::Error::other(
                "another process interferes with its directory",
            ));
        }
        Ok(private)
    }
}

impl Drop for PrivateDirectory<'_> {
    fn drop(&mut self) {
        // The socket is gone from there, unless it could not be put in its place.
        let _ = unlinkat(&self.directory, MADE_AS, AtFlags::empty());
        let _ = unlinkat(self.beside, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Only a socket that nobody listens on any more may be replaced.
fn refuse_if_taken(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let Ok(known) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    if FileType::from_raw_mode(known.st_mode) != FileType::Socket {
        let reason = "the file exists and is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
    }
    if is_stale(&through(directory, name))? {
        return Ok(());
    }
    let reason = "another process listens on it";
    Err(io::Error::new(io::ErrorKind::AddrInUse, reason))
}

/// Whether nobody listens on a socket file any more. Does not wait: a full queue is a live one.
fn is_stale(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // It has been removed in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(false),
    }
}

/// A socket itself, never what a link in its place leads to.
fn open_socket(directory: impl AsFd, name: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name.as_ref(), flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::Socket => Ok(file),
        _ => Err(io::Error::other("the file in its place is not a socket")),
    }
}

fn inode(file: &OwnedFd) -> io::Result<Inode> {
    let found = fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

/// A descriptor that only names a file has no mode to set; its entry in `/proc` does, and leads to
/// that file alone.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    fs::set_permissions(through(file, ""), Permissions::from_mode(mode))
}

fn through(descriptor: &OwnedFd, name: impl AsRef<OsStr>) -> PathBuf {
    let mut path = PathBuf::from(format!("{DESCRIPTORS}/{}", descriptor.as_raw_fd()));
    if !name.as_ref().is_empty() {
        path.push(name.as_ref());
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_socket_that_was_made_gets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let [path, moved, target] = ["app.sock", "moved", "target"].map(|at| dir.path().join(at));
        fs::write(&target, "").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
        let (_socket, file) = bind(&path, 0o640, 5).unwrap();
        assert_eq!(mode(&path), 0o640);
        file.set_mode(0o606).unwrap();
        assert_eq!(mode(&path), 0o606);

        fs::rename(&path, &moved).unwrap();
        symlink(&target, &path).unwrap();
        let refused = file.set_mode(0o666).unwrap_err().to_string();
        assert_eq!(refused, "the file in its place is not a socket");
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let refused = file.set_mode(0o666).unwrap_err().to_string();
        assert_eq!(refused, "another file is in its place");
        assert_eq!(
            (mode(&target), mode(&path), mode(&moved)),
            (0o600, 0o600, 0o606)
        );

        drop(file);
        assert!(path.exists(), "it is another's");
    }

    #[test]
    fn every_path_that_clients_can_connect_to_can_be_bound() {
        let dir = tempfile::tempdir().unwrap();
        let room = 107 - dir.path().as_os_str().len() - 1;
        for length in [room - 7, room] {
            let path = dir.path().join("s".repeat(length));
            let (socket, file) = bind(&path, 0o600, 5).unwrap();
            UnixStream::connect(&path).unwrap();
            drop((socket, file));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_that_cannot_be_put_in_its_place_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s".repeat(300));
        let error = bind(&path, 0o600, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
