//! A socket where the service's requests arrive, and the loop that accepts on it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::acceptor::Acceptor;
use super::shard::{AcceptedConnection, AcceptedSocket, Shards};
use super::socket_file::{self, SocketFile};
use crate::config::ListenAddress;
use crate::limit::{Limit, Place};
use crate::process::{is_reserved, is_shortage, shortage};

/// RetryPauses while there are no file descriptors: long enough for some to be closed.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not accept at the moment; the kernel queues connections for it.
#[derive(Debug)]
pub struct Bound {
    socket: Arc<ListeningSocket>,
    local: Option<SocketAddr>,
    file: Option<Arc<SocketFile>>,
}

impl Bound {
    /// The TCP address, the port filled in.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }
}

/// A socket that accepts until it is stopped or dropped. What the kernel has queued by then is
/// still served.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<ListeningSocket>,
    local: Option<SocketAddr>,
    file: Option<Arc<SocketFile>>,
    pause: oneshot::Sender<()>,
    task: JoinHandle<Bound>,
}

/// Binds a socket, for the thread that accepts. A stale unix socket file is replaced, a live one is
/// not. The kernel keeps up to `backlog` connections until they are accepted. Blocks for as long as
/// the file system takes.
///
/// # Errors
/// The system's, with the address in words.
pub fn bind(acceptor: &Acceptor, address: &ListenAddress, backlog: i32) -> io::Result<Bound> {
    let _inside = acceptor.handle().enter();
    let (socket, local, file) = match address {
        ListenAddress::Tcp(address) => {
            let socket = bind_tcp(*address, backlog)?;
            let local = socket.local_addr()?.as_socket();
            (ListeningSocket::Tcp(watched(socket.into())?), local, None)
        }
        ListenAddress::Unix { path, mode } => {
            let (socket, file) = socket_file::bind(path, *mode, backlog)?;
            let file = Some(Arc::new(file));
            (ListeningSocket::Unix(watched(socket.into())?), None, file)
        }
    };
    Ok(Bound {
        socket: Arc::new(socket),
        local,
        file,
    })
}

/// A TCP socket that listens.
///
/// # Errors
/// The system's.
pub fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Bound {
    /// Begins to accept for the listener of this name.
    pub fn accept(
        self,
        acceptor: &Acceptor,
        name: &str,
        shards: Arc<Shards>,
        limit: Arc<Limit>,
    ) -> Listener {
        let (pause, paused) = oneshot::channel();
        let guard = acceptor.supervisor().guard(format!("listener {name}"));
        let name = name.to_owned();
        Listener {
            socket: Arc::clone(&self.socket),
            local: self.local,
            file: self.file.clone(),
            pause,
            task: acceptor.handle().spawn(async move {
                let _guard = guard;
                accept(self, name, shards, limit, paused).await
            }),
        }
    }
}

impl Listener {
    /// The TCP address it is bound to, the port filled in.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The file of a unix socket.
    pub fn file(&self) -> Option<Arc<SocketFile>> {
        self.file.clone()
    }

    /// From now on the kernel keeps so many connections until they are accepted.
    ///
    /// # Errors
    /// The system's.
    pub fn set_backlog(&self, backlog: i32) -> io::Result<()> {
        match &*self.socket {
            ListeningSocket::Tcp(listener) => SockRef::from(listener.get_ref()).listen(backlog),
            ListeningSocket::Unix(listener) => SockRef::from(listener.get_ref()).listen(backlog),
        }
    }

    /// Stops accepting, and waits until what the kernel had queued has been handed on.
    pub async fn stop(self) {
        drop(self.pause);
        // It ends by itself; a panic in it has been reported.
        let bound = self.task.await;
        // With the socket goes its file, which may take its time.
        let removed = tokio::task::spawn_blocking(move || drop((bound, self.file)));
        let _ = removed.await;
    }

    /// Stops accepting, but keeps the socket: whoever connects waits with the kernel. `None` when
    /// the socket is lost to a panic.
    pub async fn pause(self) -> Option<Bound> {
        let _ = self.pause.send(());
        self.task.await.ok()
    }
}

/// Not tokio's listeners: what those accept is watched by the accepting thread's runtime, and would
/// have to be taken off it again for each connection.
#[expect(
    deprecated,
    reason = "sound for the standard library's listeners, which own their descriptor; the replacement is unsafe"
)]
fn watched<T: AsRawFd>(listener: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>),
}

impl ListeningSocket {
    /// A connection, with its place below the limit.
    async fn accept(&self, limit: &Limit) -> io::Result<(AcceptedSocket, Place)> {
        match self {
            Self::Tcp(listener) => accept_on(listener, limit, accept_tcp).await,
            Self::Unix(listener) => accept_on(listener, limit, accept_unix).await,
        }
    }

    /// Whether another connection would take one of the last files.
    fn is_short(&self) -> bool {
        let probe: io::Result<OwnedFd> = match self {
            Self::Tcp(listener) => listener.get_ref().try_clone().map(Into::into),
            Self::Unix(listener) => listener.get_ref().try_clone().map(Into::into),
        };
        probe.map_or(true, is_reserved)
    }

    /// What is queued already.
    fn accept_now(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => accept_tcp(listener.get_ref()),
            Self::Unix(listener) => accept_unix(listener.get_ref()),
        }
    }
}

async fn accept_on<T: AsRawFd>(
    listener: &AsyncFd<T>,
    limit: &Limit,
    accept: fn(&T) -> io::Result<AcceptedSocket>,
) -> io::Result<(AcceptedSocket, Place)> {
    loop {
        let mut ready = listener.readable().await?;
        // Beyond the limit new connections wait with the kernel, not with us. Not before there is
        // one: a quiet listener must not hold a place that a busy one needs.
        let place = limit.place().await;
        if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
            return accepted.map(|stream| (stream, place));
        }
    }
}

fn accept_tcp(listener: &TcpListener) -> io::Result<AcceptedSocket> {
    let (stream, peer) = listener.accept()?;
    accepted_tcp(stream, peer)
}

fn accept_unix(listener: &UnixListener) -> io::Result<AcceptedSocket> {
    listener
        .accept()
        .and_then(|(stream, _)| accepted_unix(stream))
}

fn accepted_tcp(stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<AcceptedSocket> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(AcceptedSocket::Tcp(stream, peer))
}

fn accepted_unix(stream: UnixStream) -> io::Result<AcceptedSocket> {
    stream.set_nonblocking(true)?;
    Ok(AcceptedSocket::Unix(stream))
}

/// Returns the socket when it is paused, or has handed on what was queued.
async fn accept(
    bound: Bound,
    name: String,
    shards: Arc<Shards>,
    limit: Arc<Limit>,
    mut paused: oneshot::Receiver<()>,
) -> Bound {
    let listener = name.as_str();
    let (mut short, mut last) = (false, false);
    loop {
        let accepting = async {
            // One of the last files is given away. The others wait with the kernel.
            if last && bound.socket.is_short() {
                return Err(shortage());
            }
            bound.socket.accept(&limit).await
        };
        let accepted = tokio::select! {
            biased;
            paused = &mut paused => match paused {
                Ok(()) => return bound,
                Err(_) => break,
            },
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                if std::mem::take(&mut short) {
                    tracing::info!(listener, "accepting again");
                }
                last = is_reserved(&stream);
                shards.serve(AcceptedConnection::new(stream, name.clone(), place));
            }
            Err(error) if is_shortage(&error) => {
                if !std::mem::replace(&mut short, true) {
                    tracing::error!(listener, %error, "cannot accept; raise the open-files limit or lower max_connections");
                }
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            // The client went away before we came to it.
            Err(error) => tracing::debug!(listener, %error, "not accepted"),
        }
    }
    // Whoever was queued before the end saw an open port, and is served.
    while let Some(place) = limit.free_place()
        && let Ok(stream) = bound.socket.accept_now()
    {
        shards.serve(AcceptedConnection::new(stream, name.clone(), place).last());
    }
    bound
}
