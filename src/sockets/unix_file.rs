//! The files of unix sockets, which the file system may hold up.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::blocking;
use crate::config::{ListenAddress, Listener};
use crate::files;
use crate::server::SocketFile;

/// To connect is to write (unix(7)).
const MAY_CONNECT: u32 = 0o222;

/// Does what the file system may hold up on another thread, within the time that it may take.
pub(super) async fn off_thread<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = blocking::run(move || files::run_within_timeout(&path, work));
    done.await?
}

/// Gives the file of a socket that was bound here the mode that a new configuration says.
pub(super) async fn set_mode(file: Arc<SocketFile>, listener: &Listener) {
    let ListenAddress::Unix { path, mode } = &listener.address else {
        return;
    };
    let mode = *mode;
    if let Err(error) = off_thread(path.clone(), move || file.set_mode(mode)).await {
        tracing::error!(listener = listener.name, path = %path.display(), %error, "cannot set the mode of the socket");
    }
}

/// Tells if more may connect to a socket that somebody else has bound than the configuration says, which does not decide
/// that.
pub(super) async fn compare_mode(listener: &Listener) {
    let ListenAddress::Unix { path, mode } = &listener.address else {
        return;
    };
    let named = path.clone();
    let found = off_thread(path.clone(), move || std::fs::metadata(named)).await;
    // Without a file nobody can connect any more.
    let Ok(found) = found.map(|found| found.permissions().mode() & 0o777) else {
        return;
    };
    if found & !mode & MAY_CONNECT != 0 {
        tracing::warn!(
            listener = listener.name,
            path = %path.display(),
            "the socket that was handed over has mode {found:04o} and lets in more than `mode` = {mode:04o} would: the \
             mode that counts is SocketMode= of its unit"
        );
    }
}
