//! The open sockets: those that stay, those a new configuration adds, those it removes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use socket2::Socket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::admin::{self, Admin, Scope};
use crate::config::{Config, ListenAddress};
use crate::server::{self, Bound, Listener, Shards};

/// The sockets of the process.
#[derive(Debug)]
pub struct Sockets {
    listeners: HashMap<Place, (String, Listener)>,
    admin: Option<Page>,
    health: Option<Page>,
    limit: Arc<Semaphore>,
    max_connections: usize,
}

/// Sockets bound for a configuration that does not serve yet; the kernel already queues
/// connections for them.
#[derive(Debug)]
pub struct Pending {
    listeners: HashMap<Place, Bound>,
    admin: Option<(SocketAddr, Socket)>,
    health: Option<(SocketAddr, Socket)>,
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
    Unix(PathBuf),
}

/// A socket with admin pages.
#[derive(Debug)]
struct Page {
    configured: SocketAddr,
    local: SocketAddr,
    task: JoinHandle<()>,
}

/// None yet.
impl Default for Sockets {
    fn default() -> Self {
        Self {
            listeners: HashMap::new(),
            admin: None,
            health: None,
            limit: Arc::new(Semaphore::new(0)),
            max_connections: 0,
        }
    }
}

impl Sockets {
    /// Binds what `config` has and we do not. Nothing changes for the sockets that are open.
    ///
    /// # Errors
    /// The first socket that cannot be had; those bound before it are closed again.
    pub fn bind(&self, config: &Config) -> Result<Pending, BindError> {
        let mut listeners = HashMap::new();
        for listener in &config.listeners {
            let place = Place::of(&listener.address);
            if !self.listeners.contains_key(&place) {
                let bound = server::bind(&listener.address).map_err(|source| BindError {
                    what: format!("listener {}", listener.name),
                    address: place.to_string(),
                    source,
                })?;
                listeners.insert(place, bound);
            }
        }
        Ok(Pending {
            listeners,
            admin: bind_page("admin", self.admin.as_ref(), Some(config.admin.address))?,
            health: bind_page("health", self.health.as_ref(), config.health)?,
        })
    }

    /// Makes the open sockets those of `config`, which serves by now: accepts on the pending ones,
    /// and returns the listeners that are gone, for their connections to be finished.
    ///
    /// # Errors
    /// The runtime cannot watch a socket.
    pub fn open(
        &mut self,
        config: &Config,
        mut pending: Pending,
        shards: &Arc<Shards>,
        admin: &Arc<Admin>,
    ) -> io::Result<Vec<(String, Option<Listener>)>> {
        self.set_limit(config.server.max_connections);
        let mut gone = Vec::new();
        for listener in &config.listeners {
            let place = Place::of(&listener.address);
            if let Some((name, open)) = self.listeners.get_mut(&place) {
                if *name != listener.name {
                    open.rename(&listener.name);
                    gone.push((std::mem::replace(name, listener.name.clone()), None));
                }
                set_mode(&listener.address)?;
            } else if let Some(bound) = pending.listeners.remove(&place) {
                let open =
                    bound.accept(&listener.name, Arc::clone(shards), Arc::clone(&self.limit))?;
                self.listeners.insert(place, (listener.name.clone(), open));
            }
        }
        let kept: HashSet<Place> = config
            .listeners
            .iter()
            .map(|listener| Place::of(&listener.address))
            .collect();
        let removed = self.listeners.extract_if(|place, _| !kept.contains(place));
        gone.extend(removed.map(|(_, (name, listener))| (name, Some(listener))));
        open_page(
            &mut self.admin,
            pending.admin,
            Some(config.admin.address),
            admin,
            Scope::All,
        )?;
        open_page(
            &mut self.health,
            pending.health,
            config.health,
            admin,
            Scope::Health,
        )?;
        Ok(gone)
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

    fn set_limit(&mut self, max_connections: usize) {
        let before = std::mem::replace(&mut self.max_connections, max_connections);
        if max_connections >= before {
            self.limit.add_permits(max_connections - before);
            return;
        }
        let excess = before - max_connections;
        let rest = excess - self.limit.forget_permits(excess);
        if rest > 0 {
            // The others are held by connections: each is taken away as it ends.
            let limit = Arc::clone(&self.limit);
            tokio::spawn(async move {
                for _ in 0..rest {
                    if let Ok(place) = limit.acquire().await {
                        place.forget();
                    }
                }
            });
        }
    }
}

impl Place {
    fn of(address: &ListenAddress) -> Self {
        match address {
            ListenAddress::Tcp(address) => Self::Tcp(*address),
            ListenAddress::Unix { path, .. } => Self::Unix(path.clone()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn set_mode(address: &ListenAddress) -> io::Result<()> {
    match address {
        ListenAddress::Unix { path, mode } => {
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))
        }
        ListenAddress::Tcp(_) => Ok(()),
    }
}

fn bind_page(
    what: &str,
    open: Option<&Page>,
    address: Option<SocketAddr>,
) -> Result<Option<(SocketAddr, Socket)>, BindError> {
    let Some(address) = address else {
        return Ok(None);
    };
    if open.is_some_and(|page| page.configured == address) {
        return Ok(None);
    }
    let socket = server::bind_tcp(address).map_err(|source| BindError {
        what: what.to_owned(),
        address: address.to_string(),
        source,
    })?;
    Ok(Some((address, socket)))
}

fn open_page(
    page: &mut Option<Page>,
    pending: Option<(SocketAddr, Socket)>,
    configured: Option<SocketAddr>,
    admin: &Arc<Admin>,
    scope: Scope,
) -> io::Result<()> {
    if configured.is_none() {
        *page = None;
    }
    if let Some((configured, socket)) = pending {
        let local = socket.local_addr()?.as_socket().unwrap_or(configured);
        let task = admin::serve(socket, Arc::clone(admin), scope)?;
        *page = Some(Page {
            configured,
            local,
            task,
        });
    }
    Ok(())
}
