//! Sockets that a service manager has opened, and hands over at the start (sd_listen_fds(3)): it keeps them while this
//! process is restarted, so that no client is refused meanwhile.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use listenfd::ListenFd;
use socket2::Socket;

use crate::config::{Config, ListenAddress};

/// More are no sockets of a service: the number is a mistake, and is not counted up to.
const MOST: usize = 10_000;

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

/// What one of them can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketUse<'a> {
    /// The listener of this name.
    Listener(&'a str),
    /// The pages of this name: `admin` or `health`.
    Pages(&'a str),
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
    /// It is not clear which name is whose.
    #[error(
        "LISTEN_FDNAMES has {names} names for {sockets} sockets: expected one for each, or none at all"
    )]
    Names {
        /// How many names there are.
        names: usize,
        /// How many sockets there are.
        sockets: usize,
    },
    /// It is none that connections can be accepted on.
    #[error(
        "the file descriptor {descriptor} that was handed over ({name:?}) is neither a TCP socket nor a unix stream socket \
         with a file that listens: expected one of ListenStream="
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
    /// Connections would come to both, and only one is accepted on.
    #[error(
        "two sockets at {address} were handed over ({first:?} and {second:?}): expected one for each address"
    )]
    Twice {
        /// The name of the first.
        first: String,
        /// The name of the second.
        second: String,
        /// Where both are bound.
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
    /// The variables contradict themselves, one of the sockets cannot be accepted on, or two are at one address.
    pub fn take() -> Result<Self, HandedSocketError> {
        let variable = |name| env::var(name).unwrap_or_default();
        if variable("LISTEN_PID") != std::process::id().to_string() {
            // They are for another process, which this one has been started by.
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS");
        if !count.parse().is_ok_and(|count: usize| count <= MOST) {
            return Err(HandedSocketError::Count(count));
        }
        let names = variable("LISTEN_FDNAMES");
        let mut handed = ListenFd::from_env();
        let given = names.split(':').count();
        if !names.is_empty() && given != handed.len() {
            return Err(HandedSocketError::Names {
                names: given,
                sockets: handed.len(),
            });
        }
        let mut names = names.split(':').map(str::to_owned);
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
        let handed = sockets.collect::<Result<_, _>>().map(Self)?;
        handed.check_addresses()?;
        Ok(handed)
    }

    fn check_addresses(&self) -> Result<(), HandedSocketError> {
        for (at, second) in self.0.iter().enumerate() {
            let mut before = self.0[..at].iter();
            if let Some(first) = before.find(|first| first.address == second.address) {
                return Err(HandedSocketError::Twice {
                    first: first.name.clone(),
                    second: second.name.clone(),
                    address: second.address.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Refuses sockets that are for nothing in a configuration.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self, config: &Config) -> Result<(), HandedSocketError> {
        let places = configured_addresses(config);
        self.0.iter().try_for_each(|handed| handed.check(&places))
    }

    /// The socket for this part of a configuration, at an address that may have a port which was chosen for it by now; if
    /// it was handed over. No socket is for two parts.
    ///
    /// # Errors
    /// The system's.
    pub fn find(
        &self,
        config: &Config,
        wanted: SocketUse<'_>,
        address: &ListenAddress,
    ) -> io::Result<Option<Socket>> {
        let mut handed = self.0.iter();
        if handed.len() == 0 {
            return Ok(None);
        }
        let places = configured_addresses(config);
        let found = handed.find(|handed| {
            let place = handed.place(&places);
            handed.fits(address) && place.is_some_and(|place| place.used_by == wanted)
        });
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

/// An address of a configuration, and what is there.
struct ConfiguredAddress<'a> {
    used_by: SocketUse<'a>,
    address: ListenAddress,
}

/// All of a configuration. The pages come first: a listener may have their name.
fn configured_addresses(config: &Config) -> Vec<ConfiguredAddress<'_>> {
    let pages = [("admin", &config.admin), ("health", &config.health)];
    let pages = pages.into_iter().filter_map(|(name, page)| {
        Some(ConfiguredAddress {
            used_by: SocketUse::Pages(name),
            address: ListenAddress::Tcp(page.as_ref()?.address),
        })
    });
    let listeners = config.listeners.iter().flat_map(|listener| {
        listener.addresses().map(|address| ConfiguredAddress {
            used_by: SocketUse::Listener(&listener.name),
            address,
        })
    });
    pages.chain(listeners).collect()
}

impl HandedSocket {
    /// What it is for: what is at its address, or what has its name and leaves the port open.
    fn place<'p, 'c>(
        &self,
        places: &'p [ConfiguredAddress<'c>],
    ) -> Option<&'p ConfiguredAddress<'c>> {
        let exact = places.iter().find(|place| self.is_at(&place.address));
        let mut named = places.iter().filter(|place| place.name() == self.name);
        exact.or_else(|| named.find(|place| self.fits(&place.address)))
    }

    fn check(&self, places: &[ConfiguredAddress<'_>]) -> Result<(), HandedSocketError> {
        let (name, address) = (self.name.clone(), self.address.to_string());
        let found = self.place(places);
        let named: Vec<_> = places.iter().filter(|place| place.name() == name).collect();
        let is_named = |found: &ConfiguredAddress<'_>| named.is_empty() || found.name() == name;
        match found {
            Some(found) if is_named(found) => Ok(()),
            None if named.is_empty() => Err(HandedSocketError::ForNothing { name, address }),
            _ => {
                let configured: Vec<_> = named.iter().map(|place| shown(&place.address)).collect();
                Err(HandedSocketError::Elsewhere {
                    name,
                    address,
                    configured: configured.join(" and "),
                })
            }
        }
    }

    fn is_at(&self, address: &ListenAddress) -> bool {
        match (&self.address, address) {
            (HandedAddress::Tcp(own), ListenAddress::Tcp(configured)) => own == configured,
            (HandedAddress::Unix(own), ListenAddress::Unix { path, .. }) => own == path,
            _ => false,
        }
    }

    /// Whether it is at this address, or at one that the system could have chosen for it.
    fn fits(&self, address: &ListenAddress) -> bool {
        let chosen = match (&self.address, address) {
            (HandedAddress::Tcp(own), ListenAddress::Tcp(configured)) => {
                configured.port() == 0 && own.ip() == configured.ip()
            }
            _ => false,
        };
        chosen || self.is_at(address)
    }
}

impl ConfiguredAddress<'_> {
    fn name(&self) -> &str {
        match self.used_by {
            SocketUse::Listener(name) | SocketUse::Pages(name) => name,
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
