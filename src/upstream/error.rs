//! Why there is no connection.

use std::fmt;
use std::time::Duration;

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
    /// None of its addresses may be dialled.
    #[error("no connection to {authority}: {reason}")]
    Forbidden {
        /// Host and port.
        authority: String,
        /// Which rule forbids the first of them.
        reason: String,
    },
    /// No address takes the connection.
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
    /// There are as many connections as there may be.
    #[error("no connection to {authority}: max_connections = {max} are open")]
    Full {
        /// Host and port.
        authority: String,
        /// How many there may be.
        max: usize,
    },
    /// It took too long.
    #[error("no connection to {authority} within {within:?}: {stage} did not finish")]
    Timeout {
        /// Host and port.
        authority: String,
        /// How long it was allowed to take.
        within: Duration,
        /// What was under way.
        stage: Stage,
    },
    /// The handshake failed, or the certificate is not good.
    #[error("no TLS connection to {authority}: {reason}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What is wrong, in words.
        reason: String,
        /// What is wrong is our client certificate, or that there is none: the same again is
        /// useless.
        certificate_refused: bool,
    },
}

/// The steps of making a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// DNS.
    Resolve,
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// None of these: others were being opened.
    Turn,
}

impl ConnectError {
    /// The value of the metric label `outcome`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "unresolved",
            Self::Forbidden { .. } => "forbidden",
            Self::Connect { .. } => "unreachable",
            Self::Shortage { .. } => "no_files",
            Self::Full { .. } => "limit",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls_failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name resolution",
            Self::Connect => "the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Turn => "the wait behind max_connecting others",
        })
    }
}
