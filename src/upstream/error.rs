//! Why there is no connection, or no way to make one.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::egress::proxy::ProxyRefusal;
use crate::tls::FileError;

/// Why there is no connection. Nothing of a request has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The host has no address.
    #[error("cannot resolve {authority}: {reason}")]
    Resolve {
        /// Host and port.
        authority: String,
        /// The resolver's reason.
        reason: String,
    },
    /// None of its addresses may be connected to.
    #[error("no connection to {authority}: {reason}")]
    Forbidden {
        /// Host and port.
        authority: String,
        /// Why the first of them is forbidden.
        reason: String,
        /// The rule that forbids it, in words that say nothing of the address.
        rule: &'static str,
    },
    /// It leads to a socket of this process.
    #[error("no connection to {authority}: {address} is a socket of this process")]
    OwnSocket {
        /// Host and port.
        authority: String,
        /// Where that leads to.
        address: SocketAddr,
    },
    /// No address accepts the connection.
    #[error("cannot connect to {authority}: {reason}")]
    Connect {
        /// Host and port.
        authority: String,
        /// The system's reason.
        reason: String,
    },
    /// This system has no socket left to connect with.
    #[error("cannot connect to {authority}: {reason}")]
    Shortage {
        /// Host and port.
        authority: String,
        /// The system's reason.
        reason: String,
    },
    /// As many connections are open as are allowed.
    #[error("no connection to {authority}: max_connections = {max} are open")]
    Full {
        /// Host and port.
        authority: String,
        /// How many are allowed.
        max: usize,
    },
    /// It took too long.
    #[error("no connection to {authority} within {within:?}: {stage} did not finish")]
    Timeout {
        /// Host and port.
        authority: String,
        /// How long it was allowed to take.
        within: Duration,
        /// The step that did not finish.
        stage: Stage,
    },
    /// The proxy on the way cannot be reached.
    #[error("no connection to {authority} through a proxy: {error}")]
    ToProxy {
        /// Host and port of the server.
        authority: String,
        /// Why there is no connection to the proxy.
        error: Box<ConnectError>,
    },
    /// The proxy on the way lets nothing through.
    #[error("no connection to {authority}: the proxy {proxy} {refusal}")]
    ProxyRefused {
        /// Host and port of the server.
        authority: String,
        /// The URL of the proxy.
        proxy: String,
        /// What it answers.
        refusal: ProxyRefusal,
    },
    /// The handshake failed, or the certificate of the server is not valid.
    #[error("no TLS connection to {authority}: {reason}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What is wrong, in words.
        reason: String,
        /// The server refused our client certificate, or wants one and we have none. Another attempt with the
        /// same certificate is useless.
        certificate_refused: bool,
    },
}

/// The steps of making a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// DNS: other lookups wait for the resolver, and no more may.
    LookupTurn,
    /// DNS.
    Resolve,
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// None of these: other connections were being opened.
    Turn,
    /// DNS, of the proxy on the way.
    ProxyResolve,
    /// TCP to the proxy on the way.
    ProxyConnect,
    /// The TLS handshake with the proxy on the way.
    ProxyTls,
    /// The proxy has been asked for a tunnel.
    ProxyAnswer,
}

impl Stage {
    /// The same where a proxy is on the way, which is what is resolved and dialled then.
    pub(super) fn with_proxy(self) -> Self {
        match self {
            Self::Resolve => Self::ProxyResolve,
            Self::Connect => Self::ProxyConnect,
            other => other,
        }
    }
}

/// Why TLS cannot be set up. The texts name files, never their content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error(transparent)]
    File(#[from] FileError),
    /// Certificate and key do not belong together, or one of them is not given.
    #[error("certificate_file and key_file: {0}")]
    ClientCertificate(String),
    /// The system has no CA certificates.
    #[error("this system has no CA certificates ({0}); name a ca_file")]
    NoRoots(String),
    /// No certificate can carry this name.
    #[error("{0:?} is not a valid server name")]
    ServerName(String),
    /// The authorization at the proxy cannot be read, or used.
    #[error("proxy_authorization: {0}")]
    ProxyAuthorization(String),
    /// The URL names nothing that can be connected to.
    #[error("the URL names no host and port")]
    Url,
}

impl ConnectError {
    /// The value of the metric label `outcome`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "unresolved",
            Self::Forbidden { .. } => "forbidden",
            Self::OwnSocket { .. } => "loop",
            Self::Connect { .. } => "unreachable",
            Self::Shortage { .. } => "no_files",
            Self::Full { .. } => "limit",
            Self::Timeout { .. } => "timeout",
            Self::ToProxy { error, .. } => error.label(),
            Self::ProxyRefused { .. } => "proxy_refused",
            Self::Tls { .. } => "tls_failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookupTurn => "the wait behind other lookups that the resolver has not answered",
            Self::Resolve => "name resolution",
            Self::Connect => "the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Turn => "the wait behind max_connecting others",
            Self::ProxyResolve => "the name resolution of the proxy",
            Self::ProxyConnect => "the TCP connection to the proxy",
            Self::ProxyTls => "the TLS handshake with the proxy",
            Self::ProxyAnswer => "the tunnel that the proxy was asked for",
        })
    }
}
