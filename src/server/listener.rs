//! A socket on which requests arrive, and the loop that accepts connections on it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::accepted::{AcceptedConnection, AcceptedSocket};
use super::acceptor::Acceptor;
use super::shard::Shards;
use super::socket_file::{self, SocketFile};
use super::user_check::UserCheck;
use crate::blocking;
use crate::config::{self, ListenAddress};
use crate::limit::{ConcurrencyLimit, Permit};
use crate::process::{is_reserved, is_shortage, shortage};

/// The pause while there are no file descriptors: long enough for some to be closed.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not accept at the moment. The kernel queues connections for it.
#[derive(Debug)]
pub struct BoundListener {
    socket: Arc<ListeningSocket>,
    local_address: Option<SocketAddr>,
    file: Option<Arc<SocketFile>>,
    /// Somebody else has bound it, and goes on to hold it.
    is_handed: bool,
}

impl BoundListener {
    /// The TCP address, with the port that the system chose.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }
}

/// A socket that accepts until it is stopped or dropped. What the kernel has queued by then is
/// still served.
#[derive(Debug)]
pub struct OpenListener {
    socket: Arc<ListeningSocket>,
    local_address: Option<SocketAddr>,
    file: Option<Arc<SocketFile>>,
    is_handed: bool,
    pause: oneshot::Sender<()>,
    task: JoinHandle<BoundListener>,
}

/// Binds a socket, for the thread that accepts. A stale unix socket file is replaced, a live one is
/// not. The kernel keeps up to `backlog` connections until they are accepted. Blocks for as long as
/// the file system takes.
///
/// # Errors
/// The system's, with the address in words.
pub fn bind(
    acceptor: &Acceptor,
    address: &ListenAddress,
    backlog: i32,
) -> io::Result<BoundListener> {
    let _inside = acceptor.handle().enter();
    let (socket, local_address, file) = match address {
        ListenAddress::Tcp(address) => {
            let socket = bind_tcp(*address, backlog)?;
            let local_address = socket.local_addr()?.as_socket();
            (
                ListeningSocket::Tcp(register(socket.into())?),
                local_address,
                None,
            )
        }
        ListenAddress::Unix { path, mode } => {
            let (socket, file) = socket_file::bind(path, *mode, backlog)?;
            let file = Some(Arc::new(file));
            (ListeningSocket::Unix(register(socket.into())?), None, file)
        }
    };
    Ok(BoundListener {
        socket: Arc::new(socket),
        local_address,
        file,
        is_handed: false,
    })
}

/// Takes over a socket that listens already, for the thread that accepts.
///
/// # Errors
/// The system's.
pub fn adopt(acceptor: &Acceptor, socket: Socket) -> io::Result<BoundListener> {
    let _inside = acceptor.handle().enter();
    socket.set_nonblocking(true)?;
    let local_address = socket.local_addr()?.as_socket();
    let socket = match local_address {
        Some(_) => ListeningSocket::Tcp(register(socket.into())?),
        None => ListeningSocket::Unix(register(socket.into())?),
    };
    Ok(BoundListener {
        socket: Arc::new(socket),
        local_address,
        file: None,
        is_handed: true,
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

impl BoundListener {
    /// Begins to accept for the listener of this name.
    pub fn accept(
        self,
        acceptor: &Acceptor,
        listener: &config::Listener,
        shards: Arc<Shards>,
        limit: Arc<ConcurrencyLimit>,
    ) -> OpenListener {
        let (pause, paused) = oneshot::channel();
        let name = listener.name.clone();
        let guard = acceptor.supervisor().guard(format!("listener {name}"));
        let _inside = acceptor.handle().enter();
        let entrance = match listener.only_uid {
            None => Entrance::Open(shards),
            Some(uid) => Entrance::Checked(UserCheck::start(uid, shards, acceptor.supervisor())),
        };
        OpenListener {
            socket: Arc::clone(&self.socket),
            local_address: self.local_address,
            file: self.file.clone(),
            is_handed: self.is_handed,
            pause,
            task: acceptor.handle().spawn(async move {
                let _guard = guard;
                let bound = accept(self, name, &entrance, limit, paused).await;
                entrance.close().await;
                bound
            }),
        }
    }
}

impl OpenListener {
    /// The TCP address it is bound to, with the port that the system chose.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }

    /// Whether somebody else has bound it.
    pub fn is_handed(&self) -> bool {
        self.is_handed
    }

    /// The file of a unix socket that was bound here.
    pub fn file(&self) -> Option<Arc<SocketFile>> {
        self.file.clone()
    }

    /// Sets how many connections the kernel keeps until they are accepted.
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
        // The task ends by itself. A panic in it has been reported.
        let bound = self.task.await;
        // Closing the socket removes its file, for which the file system may need its time.
        let removed = blocking::run(move || drop((bound, self.file)));
        let _ = removed.await;
    }

    /// Stops accepting, but keeps the socket: new connections wait in the kernel's queue. `None` when the
    /// socket is lost, since its task has panicked.
    pub async fn pause(self) -> Option<BoundListener> {
        let _ = self.pause.send(());
        self.task.await.ok()
    }
}

/// How connections reach the shards.
enum Entrance {
    /// At once.
    Open(Arc<Shards>),
    /// After a look at who connected.
    Checked(UserCheck),
}

impl Entrance {
    fn admit(&self, accepted: AcceptedConnection) {
        match self {
            Self::Open(shards) => shards.serve(accepted),
            Self::Checked(check) => check.admit(accepted),
        }
    }

    /// Returns when every connection that was admitted is with a shard, or closed.
    async fn close(self) {
        if let Self::Checked(check) = self {
            check.finish().await;
        }
    }
}

/// Registers a listener with the current runtime. It is not one of tokio's listeners: the sockets that
/// those accept are registered with the accepting thread's runtime, and each would have to be taken off
/// it again.
#[expect(
    deprecated,
    reason = "sound for the standard library's listeners, which own their descriptor; the replacement is unsafe"
)]
fn register<T: AsRawFd>(listener: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>),
}

impl ListeningSocket {
    /// A connection, with its permit of the limit.
    async fn accept(&self, limit: &Arc<ConcurrencyLimit>) -> io::Result<(AcceptedSocket, Permit)> {
        match self {
            Self::Tcp(listener) => accept_on(listener, limit, accept_tcp).await,
            Self::Unix(listener) => accept_on(listener, limit, accept_unix).await,
        }
    }

    /// Whether another connection would take one of the last file descriptors.
    fn is_short(&self) -> bool {
        let probe: io::Result<OwnedFd> = match self {
            Self::Tcp(listener) => listener.get_ref().try_clone().map(Into::into),
            Self::Unix(listener) => listener.get_ref().try_clone().map(Into::into),
        };
        probe.map_or(true, is_reserved)
    }

    /// A connection that is queued already.
    fn accept_now(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => accept_tcp(listener.get_ref()),
            Self::Unix(listener) => accept_unix(listener.get_ref()),
        }
    }
}

async fn accept_on<T: AsRawFd>(
    listener: &AsyncFd<T>,
    limit: &Arc<ConcurrencyLimit>,
    accept: fn(&T) -> io::Result<AcceptedSocket>,
) -> io::Result<(AcceptedSocket, Permit)> {
    loop {
        let mut ready = listener.readable().await?;
        // Beyond the limit new connections wait in the kernel's queue. The permit is taken only once
        // there is a connection: a quiet listener must not hold one that a busy listener needs.
        let permit = limit.acquire().await;
        if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
            return accepted.map(|socket| (socket, permit));
        }
    }
}

fn accept_tcp(listener: &TcpListener) -> io::Result<AcceptedSocket> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    Ok(AcceptedSocket::Tcp(socket, peer))
}

fn accept_unix(listener: &UnixListener) -> io::Result<AcceptedSocket> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok(AcceptedSocket::Unix(socket))
}

/// Accepts until it is stopped, and hands on what was queued by then, or until it is paused. Returns the
/// socket.
async fn accept(
    bound: BoundListener,
    name: String,
    entrance: &Entrance,
    limit: Arc<ConcurrencyLimit>,
    mut paused: oneshot::Receiver<()>,
) -> BoundListener {
    let listener = name.as_str();
    let (mut is_short, mut is_last_descriptor) = (false, false);
    loop {
        let accepting = async {
            // The connection before took one of the last descriptors. Others wait in the kernel's queue.
            if is_last_descriptor && bound.socket.is_short() {
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
            Ok((socket, permit)) => {
                if std::mem::take(&mut is_short) {
                    tracing::info!(listener, "accepting again");
                }
                is_last_descriptor = is_reserved(&socket);
                entrance.admit(AcceptedConnection::new(socket, name.clone(), permit));
            }
            Err(error) if is_shortage(&error) => {
                if !std::mem::replace(&mut is_short, true) {
                    tracing::error!(listener, %error, "cannot accept; raise the open-files limit or lower max_connections");
                }
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            // The client went away before its connection was accepted.
            Err(error) => tracing::debug!(listener, %error, "a connection could not be accepted"),
        }
    }
    if bound.is_handed {
        // Who holds the socket keeps what is queued for the next process.
        return bound;
    }
    // Connections that were queued before the end saw an open port: they are served.
    while let Some(permit) = limit.try_acquire()
        && let Ok(socket) = bound.socket.accept_now()
    {
        entrance.admit(AcceptedConnection::new(socket, name.clone(), permit).only_one_request());
    }
    bound
}
