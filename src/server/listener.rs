//! A socket where the service's requests arrive, and the loop that accepts on it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::shard::{Accepted, RawStream, Shards};
use crate::config::ListenAddress;
use crate::process::is_shortage;

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 1024;
/// Pauses while there are no file descriptors: long enough for some to be closed.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket, not yet accepting.
#[derive(Debug)]
pub struct Bound {
    address: ListenAddress,
    socket: Socket,
    file: Option<SocketFile>,
}

/// The file of a unix socket, removed when the listener goes.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// A socket that accepts until it is stopped or dropped. What the kernel has queued by then is
/// still served.
#[derive(Debug)]
pub struct Listener {
    local: Option<SocketAddr>,
    name: Arc<Mutex<String>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Binds a socket. A stale unix socket file is replaced, a live one is not.
///
/// # Errors
/// The system's, with the address in words.
pub fn bind(address: &ListenAddress) -> io::Result<Bound> {
    let bound = match address {
        ListenAddress::Tcp(address) => bind_tcp(*address).map(|socket| (socket, None)),
        ListenAddress::Unix { path, mode } => {
            bind_unix(path, *mode).map(|(socket, file)| (socket, Some(file)))
        }
    };
    let (socket, file) = bound?;
    Ok(Bound {
        address: address.clone(),
        socket,
        file,
    })
}

/// A TCP socket that listens.
///
/// # Errors
/// The system's.
pub fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<(Socket, SocketFile)> {
    if let Ok(known) = fs::symlink_metadata(path) {
        if !known.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file exists and is not a socket",
            ));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens on it",
            ));
        }
    }
    // Made beside its place and moved there, so that it is never seen with other permissions.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&beside)?)?;
    let placed = fs::set_permissions(&beside, fs::Permissions::from_mode(mode))
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|()| socket.set_nonblocking(true))
        .and_then(|()| fs::metadata(&beside))
        .and_then(|file| fs::rename(&beside, path).map(|()| file.ino()));
    match placed {
        Ok(inode) => Ok((
            socket,
            SocketFile {
                path: path.to_owned(),
                inode,
            },
        )),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

impl Bound {
    /// Begins to accept, on the current runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn accept(
        self,
        name: &str,
        shards: Arc<Shards>,
        limit: Arc<Semaphore>,
    ) -> io::Result<Listener> {
        let local = self.socket.local_addr()?.as_socket();
        let name = Arc::new(Mutex::new(name.to_owned()));
        let (stop, stopped) = oneshot::channel();
        let socket = match &self.address {
            ListenAddress::Tcp(_) => Accepting::Tcp(watched(self.socket.into())?),
            ListenAddress::Unix { .. } => Accepting::Unix(watched(self.socket.into())?),
        };
        let accepting = accept(socket, Arc::clone(&name), shards, limit, stopped, self.file);
        Ok(Listener {
            local,
            name,
            stop,
            task: tokio::spawn(accepting),
        })
    }
}

impl Listener {
    /// The TCP address it is bound to, the port filled in.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Stops accepting, and waits until what the kernel had queued has been handed on.
    pub async fn stop(self) {
        drop(self.stop);
        // It ends by itself; a panic in it has been reported.
        let _ = self.task.await;
    }

    /// Connections accepted from now on belong to the listener of this name.
    pub fn rename(&self, name: &str) {
        name.clone_into(&mut self.name.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Not tokio's listeners: what those accept is watched by the accepting thread's runtime, and would
/// have to be taken off it again for each connection.
#[expect(
    deprecated,
    reason = "sound for the standard library's listeners, which own their descriptor; the replacement is unsafe"
)]
fn watched<T: std::os::fd::AsRawFd>(listener: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

enum Accepting {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>),
}

impl Accepting {
    async fn accept(&self) -> io::Result<RawStream> {
        match self {
            Self::Tcp(listener) => {
                let accepted = listener
                    .async_io(Interest::READABLE, TcpListener::accept)
                    .await;
                accepted.and_then(|(stream, _)| raw_tcp(stream))
            }
            Self::Unix(listener) => {
                let accepted = listener
                    .async_io(Interest::READABLE, UnixListener::accept)
                    .await;
                accepted.and_then(|(stream, _)| raw_unix(stream))
            }
        }
    }

    /// What is queued already.
    fn accept_now(&self) -> io::Result<RawStream> {
        match self {
            Self::Tcp(listener) => listener
                .get_ref()
                .accept()
                .and_then(|(stream, _)| raw_tcp(stream)),
            Self::Unix(listener) => listener
                .get_ref()
                .accept()
                .and_then(|(stream, _)| raw_unix(stream)),
        }
    }
}

fn raw_tcp(stream: std::net::TcpStream) -> io::Result<RawStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(RawStream::Tcp(stream))
}

fn raw_unix(stream: UnixStream) -> io::Result<RawStream> {
    stream.set_nonblocking(true)?;
    Ok(RawStream::Unix(stream))
}

async fn accept(
    socket: Accepting,
    name: Arc<Mutex<String>>,
    shards: Arc<Shards>,
    limit: Arc<Semaphore>,
    mut stopped: oneshot::Receiver<()>,
    file: Option<SocketFile>,
) {
    let current_name = || name.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut short = false;
    loop {
        // A place first: beyond the limit new connections wait with the kernel, not with us.
        let next = async {
            let place = Arc::clone(&limit).acquire_owned().await.ok()?;
            Some((socket.accept().await, place))
        };
        let (accepted, place) = tokio::select! {
            biased;
            _ = &mut stopped => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        match accepted {
            Ok(stream) => {
                if std::mem::take(&mut short) {
                    tracing::info!(listener = current_name(), "accepting again");
                }
                shards.serve(Accepted::new(stream, current_name(), place));
            }
            Err(error) if is_shortage(&error) => {
                if !std::mem::replace(&mut short, true) {
                    tracing::error!(listener = current_name(), %error, "cannot accept; raise the open-files limit or lower max_connections");
                }
                drop(place);
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            // The client went away before we came to it.
            Err(error) => tracing::debug!(listener = current_name(), %error, "not accepted"),
        }
    }
    // Whoever was queued before the end saw an open port, and is served.
    while let Ok(place) = Arc::clone(&limit).try_acquire_owned()
        && let Ok(stream) = socket.accept_now()
    {
        shards.serve(Accepted::new(stream, current_name(), place).last());
    }
    drop(file);
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only ours: a successor may have put its own there.
        if fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
