//! The connections of those who ask: how many, how long, and each served to its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

use super::io::WriteTimeout;
use super::paths::answer;
use super::{Admin, Scope};
use crate::route::AllowedAddresses;

/// Serves on a bound socket until the handle is aborted. A client that comes when all places are taken
/// ends the connection that has been open for longest: a probe takes a millisecond.
pub fn serve(listener: TcpListener, admin: Arc<Admin>, scope: Scope) -> JoinHandle<()> {
    let guard = admin.acceptor.supervisor().guard("the admin pages");
    tokio::spawn(async move {
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
            let connection = tokio::spawn(serve_connection(
                stream,
                Arc::clone(&admin),
                scope,
                addresses,
            ));
            open.push_back(connection.abort_handle());
        }
    })
}

async fn serve_connection(
    stream: TcpStream,
    admin: Arc<Admin>,
    scope: Scope,
    addresses: AllowedAddresses,
) {
    let timeout = scope
        .page(&admin.snapshots.load().config)
        .map(|page| page.header_timeout);
    let Some(timeout) = timeout else {
        return;
    };
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        async move {
            // One page a turn: who asks for many at once must not keep the others waiting.
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(answer(&admin, scope, addresses, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, timeout)), service);
    // Probes hang up as they like.
    let _ = connection.await;
}
