//! The open sockets: those that stay, those that a new configuration adds, and those that it removes.

mod operator;
mod unix_file;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::address::OwnSockets;
use crate::admin::{Admin, Scope};
use crate::config::{self, Config, ListenAddress};
use crate::files;
use crate::handed_sockets::{HandedSockets, SocketUse};
use crate::limit::ConcurrencyLimit;
use crate::process;
use crate::server::{self, Acceptor, BoundListener, OpenListener, Shards};
use operator::OperatorSocket;

/// How long a shard may take to take over its connections. One that takes longer is stuck, and nobody waits
/// for it.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);

/// The sockets of the process.
#[derive(Debug)]
pub struct Sockets {
    acceptor: Acceptor,
    listeners: HashMap<ListenerKey, NamedListener>,
    admin: Option<OperatorSocket>,
    health: Option<OperatorSocket>,
    limit: Arc<ConcurrencyLimit>,
    own: Arc<OwnSockets>,
    /// Those that need not be bound.
    handed: HandedSockets,
}

/// Sockets that are bound for a configuration that does not serve yet. The kernel already queues connections
/// for them.
#[derive(Debug)]
pub struct PendingSockets {
    listeners: HashMap<ListenerKey, BoundListener>,
    admin: Option<(SocketAddr, TcpListener)>,
    health: Option<(SocketAddr, TcpListener)>,
}

/// A socket that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("{what}: cannot bind {address}: {source}")]
pub struct BindError {
    what: String,
    address: String,
    source: io::Error,
}

/// What makes two listeners the same socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ListenerKey {
    Tcp(SocketAddr),
    /// A port that the system chooses, for the listener of this name.
    AnyPort(SocketAddr, String),
    Unix(PathBuf),
}

/// A socket that accepts for a listener.
#[derive(Debug)]
struct NamedListener {
    name: String,
    /// Whether it is at the address that is configured, and not at the other loopback address of a redirected listener.
    is_configured: bool,
    open: OpenListener,
}

impl Sockets {
    /// No sockets yet but those that were handed over.
    pub fn new(acceptor: Acceptor, handed: HandedSockets) -> Self {
        Self {
            acceptor,
            listeners: HashMap::new(),
            admin: None,
            health: None,
            limit: Arc::default(),
            own: Arc::default(),
            handed,
        }
    }

    /// Binds those sockets of `config` that are not open yet and were not handed over. Nothing changes for the sockets that are open.
    ///
    /// # Errors
    /// The first socket that cannot be bound. Those bound before it are closed again.
    pub async fn bind(&self, config: &Config) -> Result<PendingSockets, BindError> {
        let mut listeners = HashMap::new();
        for listener in &config.listeners {
            let mut port = None;
            for mut address in listener.addresses() {
                let key = ListenerKey::of(&address, &listener.name);
                if let (ListenAddress::Tcp(address), Some(port)) = (&mut address, port) {
                    address.set_port(port);
                }
                let known = self.listeners.get(&key).map(|known| &known.open);
                let bound = match self
                    .bind_listener(config, &listener.name, &address, known)
                    .await
                {
                    Err(error) if port.is_some() && is_without_family(&error) => {
                        let (name, address) = (&listener.name, key.to_string());
                        tracing::info!(
                            listener = name,
                            address,
                            "this machine has no such address: nothing can be redirected to it"
                        );
                        None
                    }
                    bound => bound.map_err(|source| BindError {
                        what: format!("listener {}", listener.name),
                        address: key.to_string(),
                        source,
                    })?,
                };
                let local = bound.as_ref().and_then(BoundListener::local_address);
                let local = local.or_else(|| known?.local_address());
                port = port.or(local.map(|local| local.port()));
                listeners.extend(bound.map(|bound| (key, bound)));
            }
        }
        let pending = PendingSockets {
            listeners,
            admin: self.bind_page(config, "admin", self.admin.as_ref(), config.admin.as_ref())?,
            health: self.bind_page(
                config,
                "health",
                self.health.as_ref(),
                config.health.as_ref(),
            )?,
        };
        // Connections can be made to them from here on.
        self.own
            .set(self.local_addresses().chain(pending.local_addresses()));
        Ok(pending)
    }

    /// The socket of the admin or health pages; nothing for one that is `open`.
    fn bind_page(
        &self,
        config: &Config,
        what: &str,
        open: Option<&OperatorSocket>,
        page: Option<&config::OperatorListener>,
    ) -> Result<Option<(SocketAddr, TcpListener)>, BindError> {
        let Some(address) = page.map(|page| page.address) else {
            return Ok(None);
        };
        if open.is_some_and(|page| page.configured == address) {
            return Ok(None);
        }
        let bound = operator::bind(config, what, address, &self.handed);
        let bound = bound.map_err(|source| BindError {
            what: what.to_owned(),
            address: address.to_string(),
            source,
        })?;
        Ok(Some((address, bound)))
    }

    /// Nothing for one that is `open`, unless the file of a unix socket that was bound here is no longer in its place.
    async fn bind_listener(
        &self,
        config: &Config,
        name: &str,
        address: &ListenAddress,
        open: Option<&OpenListener>,
    ) -> io::Result<Option<BoundListener>> {
        let backlog = config.server.backlog;
        if open.is_some_and(OpenListener::is_handed) {
            return Ok(None);
        }
        if open.is_none()
            && let Some(socket) = self
                .handed
                .find(config, SocketUse::Listener(name), address)?
        {
            return server::adopt(&self.acceptor, socket).map(Some);
        }
        let open = open.map(OpenListener::file);
        let path = match (address, &open) {
            (ListenAddress::Unix { path, .. }, _) => path.clone(),
            (ListenAddress::Tcp(_), Some(_)) => return Ok(None),
            (ListenAddress::Tcp(_), None) => {
                return server::bind(&self.acceptor, address, backlog).map(Some);
            }
        };
        let (acceptor, address) = (self.acceptor.clone(), address.clone());
        unix_file::off_thread(path, move || {
            let open = open.flatten().is_some_and(|file| file.is_ours());
            let bind = || server::bind(&acceptor, &address, backlog);
            if open { Ok(None) } else { bind().map(Some) }
        })
        .await
    }

    /// Closes the listeners that `config`, which is about to serve, does not have or calls by another name:
    /// they accept no more, and their connections are drained. When this returns, every connection that
    /// they accepted is with a shard, and is served by the configuration under which it was accepted.
    pub async fn close_removed(
        &mut self,
        config: &Config,
        pending: &mut PendingSockets,
        shards: &Shards,
    ) {
        let names: HashMap<ListenerKey, &str> = config
            .listeners
            .iter()
            .flat_map(|listener| {
                let addresses = listener.addresses();
                addresses.map(|address| {
                    (
                        ListenerKey::of(&address, &listener.name),
                        listener.name.as_str(),
                    )
                })
            })
            .collect();
        let removed = self.listeners.extract_if(|key, known| {
            names.get(key) != Some(&known.name.as_str()) || pending.listeners.contains_key(key)
        });
        let removed: Vec<_> = removed.collect();
        for (key, NamedListener { name, open, .. }) in removed {
            if names.contains_key(&key) && !pending.listeners.contains_key(&key) {
                // Under its new name it goes on with the same socket, so that no client is refused.
                if let Some(bound) = open.pause().await {
                    pending.listeners.insert(key, bound);
                }
            } else {
                open.stop().await;
            }
            shards.drain(Some(&name));
        }
        shards.are_responding(SHARD_PATIENCE).await;
    }

    /// Opens the pending sockets and lets the others follow `config`, which serves by now.
    pub async fn open(
        &mut self,
        config: &Config,
        mut pending: PendingSockets,
        shards: &Arc<Shards>,
        admin: &Arc<Admin>,
    ) {
        self.limit.set(config.server.max_connections);
        process::reserve_files(config.server.reserved_files);
        files::set_timeout(config.server.file_timeout);
        let addresses = config.listeners.iter().flat_map(|listener| {
            let addresses = listener.addresses();
            addresses.map(move |address| (listener, address))
        });
        for (listener, address) in addresses {
            let key = ListenerKey::of(&address, &listener.name);
            let is_configured = address == listener.address;
            if let Some(bound) = pending.listeners.remove(&key) {
                let (shards, limit) = (Arc::clone(shards), Arc::clone(&self.limit));
                let open = bound.accept(&self.acceptor, listener, shards, limit);
                let address = match open.local_address() {
                    Some(local) => local.to_string(),
                    None => key.to_string(),
                };
                tracing::info!(listener = listener.name, address, "listening");
                if open.is_handed() {
                    unix_file::compare_mode(listener).await;
                }
                let named = NamedListener {
                    name: listener.name.clone(),
                    is_configured,
                    open,
                };
                self.listeners.insert(key, named);
            } else if let Some(known) = self.listeners.get_mut(&key) {
                known.is_configured = is_configured;
                adapt(&known.open, listener, config.server.backlog).await;
            }
        }
        self.admin = operator::open(
            "admin",
            self.admin.take(),
            pending.admin,
            config.admin.as_ref(),
            admin,
            Scope::All,
        );
        self.health = operator::open(
            "health",
            self.health.take(),
            pending.health,
            config.health.as_ref(),
            admin,
            Scope::Health,
        );
        self.own.set(self.local_addresses());
    }

    /// The addresses of all sockets, of those that are bound for the next configuration, too.
    pub fn own(&self) -> Arc<OwnSockets> {
        Arc::clone(&self.own)
    }

    /// Stops accepting. The admin pages stay.
    pub async fn stop_accepting(&mut self) {
        for (_, known) in self.listeners.drain() {
            known.open.stop().await;
        }
    }

    /// The TCP addresses by listener name, with the ports that the system chose.
    pub fn addresses(&self) -> HashMap<String, SocketAddr> {
        let configured = self.listeners.values().filter(|known| known.is_configured);
        let bound =
            configured.filter_map(|known| Some((known.name.clone(), known.open.local_address()?)));
        bound.collect()
    }

    /// The admin address, with the port that the system chose.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|page| page.local_address)
    }

    /// The health address, with the port that the system chose.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|page| page.local_address)
    }
}

impl Sockets {
    fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.listeners.values();
        let pages = [&self.admin, &self.health].into_iter().flatten();
        listeners
            .filter_map(|known| known.open.local_address())
            .chain(pages.map(|page| page.local_address))
    }
}

impl PendingSockets {
    fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let pages = [&self.admin, &self.health].into_iter().flatten();
        let pages = pages.filter_map(|(_, page)| page.local_addr().ok());
        self.listeners
            .values()
            .filter_map(BoundListener::local_address)
            .chain(pages)
    }
}

impl ListenerKey {
    /// Of the listener of this name at this one of its addresses.
    fn of(address: &ListenAddress, name: &str) -> Self {
        match address {
            ListenAddress::Tcp(address) if address.port() == 0 => {
                Self::AnyPort(*address, name.to_owned())
            }
            ListenAddress::Tcp(address) => Self::Tcp(*address),
            ListenAddress::Unix { path, .. } => Self::Unix(path.clone()),
        }
    }
}

impl std::fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::AnyPort(address, _) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Lets a socket that stays follow the new configuration.
async fn adapt(open: &OpenListener, listener: &config::Listener, backlog: i32) {
    if open.is_handed() {
        // Its backlog and its mode are those of its unit.
        return unix_file::compare_mode(listener).await;
    }
    if let Err(error) = open.set_backlog(backlog) {
        tracing::error!(listener = listener.name, %error, "cannot set the backlog");
    }
    if let Some(file) = open.file() {
        unix_file::set_mode(file, listener).await;
    }
}

/// Whether this machine has no address of the family, as one without IPv6.
fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}
