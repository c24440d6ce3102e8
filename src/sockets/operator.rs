//! The sockets of the admin and health pages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::{self, Admin, Scope, ServedSocket};
use crate::config::{self, Config, ListenAddress};
use crate::handed_sockets::{HandedSockets, SocketUse};
use crate::server;

/// A socket that serves the admin or health pages.
#[derive(Debug)]
pub(super) struct OperatorSocket {
    /// The address of the configuration.
    pub(super) configured: SocketAddr,
    /// With the port that the system chose.
    pub(super) local_address: SocketAddr,
    /// It is served until this is dropped.
    _served: ServedSocket,
}

/// The socket that was handed over for the pages of this name, or one that is bound now.
///
/// # Errors
/// The system's.
pub(super) fn bind(
    config: &Config,
    what: &str,
    address: SocketAddr,
    handed: &HandedSockets,
) -> io::Result<TcpListener> {
    let wanted = SocketUse::Pages(what);
    let socket = match handed.find(config, wanted, &ListenAddress::Tcp(address))? {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            socket
        }
        None => server::bind_tcp(address, config.server.backlog)?,
    };
    TcpListener::from_std(socket.into())
}

/// Serves on the socket that is pending, or goes on with the one that is open.
pub(super) fn open(
    what: &str,
    open: Option<OperatorSocket>,
    pending: Option<(SocketAddr, TcpListener)>,
    page: Option<&config::OperatorListener>,
    admin: &Arc<Admin>,
    scope: Scope,
) -> Option<OperatorSocket> {
    page?;
    let Some((configured, listener)) = pending else {
        return open;
    };
    let local_address = listener.local_addr().unwrap_or(configured);
    tracing::info!(address = %local_address, "{what}");
    Some(OperatorSocket {
        configured,
        local_address,
        _served: admin::serve(listener, Arc::clone(admin), scope),
    })
}
