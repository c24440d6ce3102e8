//! The connections of those who ask: how many, how long, and each served to its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::io::WriteTimeout;
use super::paths::{PageSocket, answer};
use super::{Admin, Scope};
use crate::route::AllowedAddresses;

/// A bound socket that is served. Dropping it closes it, and the connections that it accepted: a request that has come is
/// still answered, and streams of events end.
#[derive(Debug)]
pub struct ServedSocket {
    accepting: JoinHandle<()>,
    /// What the connections see go.
    _open: watch::Sender<()>,
}

impl Drop for ServedSocket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves on a bound socket. A client that comes when all places are taken ends the connection that has been open for
/// longest: a probe takes a millisecond.
pub fn serve(listener: TcpListener, admin: Arc<Admin>, scope: Scope) -> ServedSocket {
    let guard = admin.acceptor.supervisor().guard("the admin pages");
    let (opened, closed) = watch::channel(());
    let accepting = tokio::spawn(async move {
        let _guard = guard;
        // In the order in which they came.
        let mut open = VecDeque::<AbortHandle>::new();
        let on_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let addresses = match listener.local_addr().map(on_loopback) {
            Ok(false) => AllowedAddresses::All,
            _ => AllowedAddresses::Loopback,
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: the next probe comes soon enough.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            open.retain(|connection| !connection.is_finished());
            let snapshot = admin.snapshots.load();
            let Some(page) = scope.page(&snapshot.config) else {
                continue;
            };
            while open.len() >= page.max_connections
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let socket = PageSocket {
                scope,
                addresses,
                closed: closed.clone(),
            };
            let connection = serve_connection(stream, Arc::clone(&admin), socket);
            open.push_back(tokio::spawn(connection).abort_handle());
        }
    });
    ServedSocket {
        accepting,
        _open: opened,
    }
}

async fn serve_connection(stream: TcpStream, admin: Arc<Admin>, socket: PageSocket) {
    let mut closed = socket.closed.clone();
    let timeout = socket
        .scope
        .page(&admin.snapshots.load().config)
        .map(|page| page.header_timeout);
    let Some(timeout) = timeout else {
        return;
    };
    let service = service_fn(|request| {
        let (admin, socket) = (Arc::clone(&admin), socket.clone());
        async move {
            // One page a turn: who asks for many at once must not keep the others waiting.
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(answer(&admin, &socket, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, timeout)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // Probes hang up as they like.
        _ = connection.as_mut() => return,
        _ = closed.changed() => {}
    }
    // What is asked now may be the reload that closes the socket.
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
