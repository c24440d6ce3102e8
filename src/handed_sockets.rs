//! Sockets that a service manager has opened, and hands over at the start (sd_listen_fds(3)): it keeps them while this
//! process is restarted, so that no client is refused meanwhile.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use listenfd::ListenFd;
use socket2::Socket;

use crate::config::{Config, ListenAddress, Listener};

/// What the sockets of the operator's pages are called.
const PAGES: [&str; 2] = ["admin", "health"];

/// The sockets that were handed over. They stay open for as long as the process lives: a reload may need them again.
#[derive(Debug, Default)]
pub struct HandedSockets(Vec<HandedSocket>);

/// One of them.
#[derive(Debug)]
struct HandedSocket {
    /// `FileDescriptorName=` of its unit, or what the manager calls those without.
    name: String,
    address: HandedAddress,
    socket: Socket,
}

/// Where it is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HandedAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandedSocketError {
    /// The variables do not say how many there are.
    #[error("LISTEN_FDS is {0:?}, and not a number of sockets")]
    Count(String),
    /// It is none that connections can be accepted on.
    #[error(
        "the file descriptor {descriptor} that was handed over ({name:?}) is no TCP or unix stream socket that listens: \
         expected one of ListenStream="
    )]
    Kind {
        /// Its number.
        descriptor: usize,
        /// Its name.
        name: String,
    },
    /// Nothing is at its address.
    #[error(
        "the socket {name:?} at {address} was handed over, and nothing is for it: expected the address of a listener, of \
         [admin] or of [health], or its name in FileDescriptorName="
    )]
    ForNothing {
        /// Its name.
        name: String,
        /// Where it is bound.
        address: String,
    },
    /// It has the name of something that is elsewhere.
    #[error(
        "the socket {name:?} at {address} was handed over, and what has this name is at {configured}: expected the same \
         address in both"
    )]
    Elsewhere {
        /// Its name.
        name: String,
        /// Where it is bound.
        address: String,
        /// The address of the configuration.
        configured: String,
    },
}

impl HandedSockets {
    /// Takes those that are for this process, and the variables that tell of them. Once, before there is any other thread.
    ///
    /// # Errors
    /// One of them cannot be accepted on.
    pub fn take() -> Result<Self, HandedSocketError> {
        let variable = |name| env::var(name).unwrap_or_default();
        if variable("LISTEN_PID") != std::process::id().to_string() {
            // They are for another process, which this one has been started by.
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS");
        if count.parse::<usize>().is_err() {
            return Err(HandedSocketError::Count(count));
        }
        let names = variable("LISTEN_FDNAMES");
        let mut names = names.split(':').map(str::to_owned);
        let mut handed = ListenFd::from_env();
        let sockets = (0..handed.len()).map(|at| {
            let name = names.next().unwrap_or_default();
            let taken = take_one(&mut handed, at);
            taken
                .map(|(address, socket)| HandedSocket {
                    name: name.clone(),
                    address,
                    socket,
                })
                .ok_or(HandedSocketError::Kind {
                    descriptor: at + 3,
                    name,
                })
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Refuses sockets that are for nothing in a configuration.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self, config: &Config) -> Result<(), HandedSocketError> {
        self.0.iter().try_for_each(|handed| handed.check(config))
    }

    /// The socket for what has this name and address, if it was handed over.
    ///
    /// # Errors
    /// The system's.
    pub fn find(&self, name: &str, address: &ListenAddress) -> io::Result<Option<Socket>> {
        let mut handed = self.0.iter();
        let found = handed.find(|handed| handed.is_for(name, address));
        found.map(|handed| handed.socket.try_clone()).transpose()
    }
}

fn take_one(handed: &mut ListenFd, at: usize) -> Option<(HandedAddress, Socket)> {
    let socket: Socket = if let Ok(Some(listener)) = handed.take_tcp_listener(at) {
        listener.into()
    } else {
        handed.take_unix_listener(at).ok()??.into()
    };
    let local = socket.local_addr().ok()?;
    let address = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => HandedAddress::Tcp(address),
        (None, path) => HandedAddress::Unix(path?.to_owned()),
    };
    let listens = socket.is_listener().is_ok_and(|listens| listens);
    listens.then_some((address, socket))
}

impl HandedSocket {
    fn check(&self, config: &Config) -> Result<(), HandedSocketError> {
        let listeners = || config.listeners.iter();
        let pages = || PAGES.into_iter().zip([&config.admin, &config.health]);
        let pages = || pages().filter_map(|(name, page)| Some((name, page.as_ref()?.address)));
        let of_listener = |listener: &Listener| -> Vec<_> { listener.addresses().collect() };
        let named = listeners().find(|listener| listener.name == self.name);
        let named = named.map(of_listener).or_else(|| {
            let page = pages().find(|(name, _)| *name == self.name);
            page.map(|(_, address)| vec![ListenAddress::Tcp(address)])
        });
        let (name, address) = (self.name.clone(), self.address.to_string());
        if let Some(configured) = named {
            if configured.iter().any(|it| self.is_for(&self.name, it)) {
                return Ok(());
            }
            let configured = configured.iter().map(shown).collect::<Vec<_>>();
            return Err(HandedSocketError::Elsewhere {
                name,
                address,
                configured: configured.join(" and "),
            });
        }
        let mut all = listeners()
            .flat_map(of_listener)
            .chain(pages().map(|(_, address)| ListenAddress::Tcp(address)));
        if all.any(|configured| self.is_for("", &configured)) {
            return Ok(());
        }
        Err(HandedSocketError::ForNothing { name, address })
    }

    /// Whether it is at this address. A port that the system was to choose is that of the socket with the same name.
    fn is_for(&self, name: &str, address: &ListenAddress) -> bool {
        match (&self.address, address) {
            (HandedAddress::Tcp(own), ListenAddress::Tcp(configured)) => {
                let chosen = configured.port() == 0 && self.name == name;
                own == configured || chosen && own.ip() == configured.ip()
            }
            (HandedAddress::Unix(own), ListenAddress::Unix { path, .. }) => own == path,
            _ => false,
        }
    }
}

impl std::fmt::Display for HandedAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}
