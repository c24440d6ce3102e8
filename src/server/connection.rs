//! One client connection, from its first byte to its end.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::detect::{Detected, detect};
use super::refusal::{Refusal, refuse};
use super::{http1_session, http2_session};
use crate::client_socket::ClientSocket;
use crate::proxy::{ClientConnection, CurrentSnapshot};

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
        let mut received = Bytes::new();
        loop {
            let detecting = Box::pin(detect(&mut socket, received, &client, &limits));
            let (detected, read_ahead) = detecting.await;
            let (client, current, limits) =
                (Arc::clone(&client), current.clone(), Rc::clone(&limits));
            match detected {
                Detected::Http1 => {
                    let session = http1_session::serve(socket, read_ahead, client, current, limits);
                    // What follows a CONNECT may be of either version again.
                    let Some(opened) = session.await else { return };
                    (socket, received) = opened;
                }
                Detected::Http2 => {
                    let session = http2_session::serve(socket, read_ahead, client, current, limits);
                    return Box::pin(session).await;
                }
                Detected::Nothing => return,
                Detected::Incomplete => {
                    return Box::pin(refuse(&mut socket, Refusal::Slow, &client, &current)).await;
                }
            }
        }
    }
}
