//! One client connection, from its first byte to its end.

use std::rc::Rc;
use std::sync::Arc;

use super::detect::{Detected, detect};
use super::refusal::{Refusal, refuse};
use super::{http1_session, http2_session};
use crate::client_socket::ClientSocket;
use crate::proxy::{ClientConnection, CurrentSnapshot};

#[cfg(test)]
mod tests;

/// Serves a connection to its end.
///
/// The task of a connection is as large as the largest state in which it may wait. What is needed only
/// once in a connection's life is therefore boxed.
pub fn serve(
    mut socket: ClientSocket,
    client: Arc<ClientConnection>,
    current: CurrentSnapshot,
) -> impl Future<Output = ()> {
    let limits = Rc::clone(&current(&client).0.limits);
    async move {
        let (detected, received) = Box::pin(detect(&mut socket, &client, &limits)).await;
        match detected {
            Detected::Http1 => {
                http1_session::serve(socket, received, client, current, limits).await;
            }
            Detected::Http2 => {
                let session = http2_session::serve(socket, received, client, current, limits);
                Box::pin(session).await;
            }
            Detected::Nothing => {}
            Detected::Incomplete => {
                Box::pin(refuse(&mut socket, Refusal::Slow, &client, &current)).await;
            }
        }
    }
}
