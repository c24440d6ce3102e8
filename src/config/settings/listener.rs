//! `[[listeners]]`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::{CallerList, Forwarding, NamedFile, Redirection};

/// `[[listeners]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique; the address as written when not given.
    pub name: String,
    /// The socket.
    pub address: ListenAddress,
    /// More `Host` values accepted, lower case without port; `*` is any. Empty, on a network address: any.
    pub hosts: Vec<String>,
    /// Whether requests that a browser made for another site are let through.
    pub allow_browsers: bool,
    /// The origins whose pages are let through anyhow, as browsers spell them: lower case, and no
    /// port that the scheme implies.
    pub allow_origins: Vec<String>,
    /// Where a forward or redirected listener leads to; `None` for a reverse listener.
    pub forward: Option<Forwarding>,
    /// TLS towards clients; `None` without.
    pub tls: Option<ListenerTls>,
    /// Whether keys and tokens of callers may come in plain text over a network.
    pub allow_plaintext: bool,
    /// From the beginning of a TLS handshake to its end.
    pub handshake_timeout: Duration,
    /// TLS handshakes at once.
    pub max_handshakes: usize,
    /// How long a connection takes new requests; `None`: for ever.
    pub max_connection_age: Option<Duration>,
    /// Who may use it.
    pub callers: CallerList,
    /// The header that keys and tokens of callers come in: `proxy-authorization` on a forward listener.
    pub caller_header: HeaderName,
    /// What becomes of what lists of callers would refuse.
    pub enforcement: Enforcement,
    /// Connections of other users of this machine are closed; `None`: of nobody.
    pub only_uid: Option<u32>,
}

/// `listeners.tls` and `listeners.certificates`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenerTls {
    /// Never empty. The first serves where none fits the name that a client asks for.
    pub certificates: Vec<CertificateFiles>,
    /// The CAs that certificates of clients are checked against; `None`: clients are asked for none.
    pub client_ca_file: Option<NamedFile>,
    /// The CRLs of these CAs.
    pub client_crl_file: Option<NamedFile>,
    /// Whether a client has to show a certificate.
    pub client_certificates: ClientCertificates,
    /// How long a CRL serves on after its `nextUpdate`.
    pub crl_grace: Duration,
    /// Refuse TLS 1.2.
    pub tls13_only: bool,
}

/// A certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain in PEM, the certificate itself first.
    pub certificate_file: NamedFile,
    /// Its key in PEM.
    pub key_file: NamedFile,
}

/// `listeners.tls.client_certificates`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientCertificates {
    /// A client may show one.
    Optional,
    /// A client without one is refused.
    Required,
}

/// `listeners.enforcement`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// Who is not in the lists of callers is refused.
    Enforce,
    /// It is served all the same, counted and logged.
    Report,
}

impl ListenerTls {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        let certificates = self.certificates.iter();
        let pairs = certificates.flat_map(|pair| [&pair.certificate_file, &pair.key_file]);
        let clients = [&self.client_ca_file, &self.client_crl_file];
        pairs.chain(clients.into_iter().flatten())
    }
}

/// A socket address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Listener {
    /// How it takes connections that the system has redirected to it, if it is for those.
    pub fn redirection(&self) -> Option<Redirection> {
        self.forward.as_ref()?.redirection
    }

    /// The sockets that it listens on. A redirected listener has the loopback address of the other family as well: the
    /// system redirects connections to the one of their own.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        let other = match self.address {
            ListenAddress::Tcp(address) if self.redirection().is_some() => {
                Some(ListenAddress::Tcp(other_loopback(address)))
            }
            _ => None,
        };
        std::iter::once(self.address.clone()).chain(other)
    }
}

/// Whether it is `127.0.0.1` or `::1`: what everybody means by loopback.
pub(in crate::config) fn is_common_loopback(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

/// The loopback address of the other family, with the same port.
pub(in crate::config) fn other_loopback(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip().to_canonical() {
        IpAddr::V4(_) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

impl ListenAddress {
    /// Whether other machines can reach it.
    pub fn is_on_network(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => false,
        }
    }

    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }
}
