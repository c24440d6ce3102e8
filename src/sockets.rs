//! The open sockets: those that stay, those a new configuration adds, those it removes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::address::OwnSockets;
use crate::admin::{self, Admin, Scope};
use crate::config::{self, Config, ListenAddress};
use crate::files;
use crate::limit::Limit;
use crate::process;
use crate::server::{self, Acceptor, Bound, Listener, Shards, SocketFile};

/// A shard that has not taken over its connections by then is stuck, and not waited for.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);

/// The sockets of the process.
#[derive(Debug)]
pub struct Sockets {
    acceptor: Acceptor,
    listeners: HashMap<Place, (String, Listener)>,
    admin: Option<Page>,
    health: Option<Page>,
    limit: Arc<Limit>,
    own: Arc<OwnSockets>,
}

/// Sockets for a configuration that does not serve yet; the kernel already queues connections for
/// them.
#[derive(Debug)]
pub struct Pending {
    listeners: HashMap<Place, Bound>,
    admin: Option<(SocketAddr, TcpListener)>,
    health: Option<(SocketAddr, TcpListener)>,
}

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what}: cannot bind {address}: {source}")]
pub struct BindError {
    what: String,
    address: String,
    source: io::Error,
}

/// What makes two listeners the same socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp(SocketAddr),
    /// A port of the system's choice for the listener of this name.
    AnyPort(SocketAddr, String),
    Unix(PathBuf),
}

/// A socket with admin pages.
#[derive(Debug)]
struct Page {
    configured: SocketAddr,
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl Sockets {
    /// None yet.
    pub fn new(acceptor: Acceptor) -> Self {
        Self {
            acceptor,
            listeners: HashMap::new(),
            admin: None,
            health: None,
            limit: Arc::default(),
            own: Arc::default(),
        }
    }

    /// Binds what `config` has and we do not. Nothing changes for the sockets that are open.
    ///
    /// # Errors
    /// The first socket that cannot be had; those bound before it are closed again.
    pub async fn bind(&self, config: &Config) -> Result<Pending, BindError> {
        let backlog = config.server.backlog;
        let mut listeners = HashMap::new();
        for listener in &config.listeners {
            let place = Place::of(listener);
            let open = self.listeners.get(&place).map(|(_, open)| open.file());
            let bound = self.bind_listener(&listener.address, open, backlog);
            let bound = bound.await.map_err(|source| BindError {
                what: format!("listener {}", listener.name),
                address: place.to_string(),
                source,
            })?;
            if let Some(bound) = bound {
                listeners.insert(place, bound);
            }
        }
        let pending = Pending {
            listeners,
            admin: bind_page("admin", self.admin.as_ref(), Some(&config.admin), backlog)?,
            health: bind_page(
                "health",
                self.health.as_ref(),
                config.health.as_ref(),
                backlog,
            )?,
        };
        // Connections can be made to them from here on.
        self.own.set(self.local().chain(pending.local()));
        Ok(pending)
    }

    /// Nothing for one that is `open`, unless the file of a unix socket is no longer in its place.
    async fn bind_listener(
        &self,
        address: &ListenAddress,
        open: Option<Option<Arc<SocketFile>>>,
        backlog: i32,
    ) -> io::Result<Option<Bound>> {
        let path = match (address, &open) {
            (ListenAddress::Unix { path, .. }, _) => path.clone(),
            (ListenAddress::Tcp(_), Some(_)) => return Ok(None),
            (ListenAddress::Tcp(_), None) => {
                return server::bind(&self.acceptor, address, backlog).map(Some);
            }
        };
        let (acceptor, address) = (self.acceptor.clone(), address.clone());
        apart(path, move || {
            let open = open.flatten().is_some_and(|file| file.is_ours());
            let bind = || server::bind(&acceptor, &address, backlog);
            if open { Ok(None) } else { bind().map(Some) }
        })
        .await
    }

    /// Lets go of the listeners that `config`, which is about to serve, does not have or calls by
    /// another name: they accept no more, and their connections are finished. When this returns,
    /// every connection that they accepted is with a shard, and is served as what it came for.
    pub async fn leave(&mut self, config: &Config, pending: &mut Pending, shards: &Shards) {
        let names: HashMap<Place, &str> = config
            .listeners
            .iter()
            .map(|listener| (Place::of(listener), listener.name.as_str()))
            .collect();
        let gone = self.listeners.extract_if(|place, (name, _)| {
            names.get(place) != Some(&name.as_str()) || pending.listeners.contains_key(place)
        });
        let gone: Vec<_> = gone.collect();
        for (place, (name, listener)) in gone {
            if names.contains_key(&place) && !pending.listeners.contains_key(&place) {
                // Under its new name it goes on with the same socket, and nobody is turned away.
                if let Some(bound) = listener.pause().await {
                    pending.listeners.insert(place, bound);
                }
            } else {
                listener.stop().await;
            }
            shards.close(Some(&name));
        }
        shards.respond(SHARD_PATIENCE).await;
    }

    /// Makes the open sockets those of `config`, which serves by now.
    pub async fn open(
        &mut self,
        config: &Config,
        mut pending: Pending,
        shards: &Arc<Shards>,
        admin: &Arc<Admin>,
    ) {
        self.limit.set(config.server.max_connections);
        process::reserve_files(config.server.reserved_files);
        files::set_timeout(config.server.file_timeout);
        for listener in &config.listeners {
            let place = Place::of(listener);
            if let Some(bound) = pending.listeners.remove(&place) {
                let (shards, limit) = (Arc::clone(shards), Arc::clone(&self.limit));
                let open = bound.accept(&self.acceptor, &listener.name, shards, limit);
                let address = match open.local() {
                    Some(local) => local.to_string(),
                    None => place.to_string(),
                };
                tracing::info!(listener = listener.name, address, "listening");
                self.listeners.insert(place, (listener.name.clone(), open));
            } else if let Some((_, open)) = self.listeners.get(&place) {
                adapt(open, listener, config.server.backlog).await;
            }
        }
        self.admin = open_page(
            "admin",
            self.admin.take(),
            pending.admin,
            Some(&config.admin),
            admin,
            Scope::All,
        );
        self.health = open_page(
            "health",
            self.health.take(),
            pending.health,
            config.health.as_ref(),
            admin,
            Scope::Health,
        );
        self.own.set(self.local());
    }

    /// The addresses of all of them, and of those that are bound to take over.
    pub fn own(&self) -> Arc<OwnSockets> {
        Arc::clone(&self.own)
    }

    /// Stops accepting; the admin pages stay.
    pub async fn stop_accepting(&mut self) {
        for (_, (_, listener)) in self.listeners.drain() {
            listener.stop().await;
        }
    }

    /// The TCP addresses by listener name, ports filled in.
    pub fn addresses(&self) -> HashMap<String, SocketAddr> {
        let bound = self
            .listeners
            .values()
            .filter_map(|(name, listener)| Some((name.clone(), listener.local()?)));
        bound.collect()
    }

    /// The admin address, the port filled in.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|page| page.local)
    }

    /// The health address, the port filled in.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|page| page.local)
    }
}

impl Sockets {
    fn local(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.listeners.values();
        let pages = [&self.admin, &self.health].into_iter().flatten();
        listeners
            .filter_map(|(_, listener)| listener.local())
            .chain(pages.map(|page| page.local))
    }
}

impl Pending {
    fn local(&self) -> impl Iterator<Item = SocketAddr> {
        let pages = [&self.admin, &self.health].into_iter().flatten();
        let pages = pages.filter_map(|(_, page)| page.local_addr().ok());
        self.listeners
            .values()
            .filter_map(Bound::local)
            .chain(pages)
    }
}

impl Place {
    fn of(listener: &config::Listener) -> Self {
        match &listener.address {
            ListenAddress::Tcp(address) if address.port() == 0 => {
                Self::AnyPort(*address, listener.name.clone())
            }
            ListenAddress::Tcp(address) => Self::Tcp(*address),
            ListenAddress::Unix { path, .. } => Self::Unix(path.clone()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::AnyPort(address, _) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket that stays follows the new configuration.
async fn adapt(open: &Listener, listener: &config::Listener, backlog: i32) {
    if let Err(error) = open.set_backlog(backlog) {
        tracing::error!(listener = listener.name, %error, "cannot set the backlog");
    }
    if let (ListenAddress::Unix { path, mode }, Some(file)) = (&listener.address, open.file()) {
        let mode = *mode;
        if let Err(error) = apart(path.clone(), move || file.set_mode(mode)).await {
            tracing::error!(listener = listener.name, path = %path.display(), %error, "cannot set the mode of the socket");
        }
    }
}

/// Does what a file system may hold up, within the time that it may take.
async fn apart<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(move || files::within(&path, work)).await;
    done.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

fn bind_page(
    what: &str,
    open: Option<&Page>,
    page: Option<&config::OperatorListener>,
    backlog: i32,
) -> Result<Option<(SocketAddr, TcpListener)>, BindError> {
    let Some(address) = page.map(|page| page.address) else {
        return Ok(None);
    };
    if open.is_some_and(|page| page.configured == address) {
        return Ok(None);
    }
    let listener = server::bind_tcp(address, backlog)
        .and_then(|socket| TcpListener::from_std(socket.into()))
        .map_err(|source| BindError {
            what: what.to_owned(),
            address: address.to_string(),
            source,
        })?;
    Ok(Some((address, listener)))
}

fn open_page(
    what: &str,
    open: Option<Page>,
    pending: Option<(SocketAddr, TcpListener)>,
    page: Option<&config::OperatorListener>,
    admin: &Arc<Admin>,
    scope: Scope,
) -> Option<Page> {
    page?;
    let Some((configured, listener)) = pending else {
        return open;
    };
    let local = listener.local_addr().unwrap_or(configured);
    tracing::info!(address = %local, "{what}");
    Some(Page {
        configured,
        local,
        task: admin::serve(listener, Arc::clone(admin), scope),
    })
}
