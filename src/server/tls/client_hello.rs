//! The first message of a client.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client_socket::ClientSocket;

/// What a record of a handshake begins with (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// As much as is read at once. Most clients send less.
const READ: usize = 4 * 1024;

/// Why there is no handshake to go on with.
pub(super) enum NoHello {
    /// What came is not TLS.
    Plaintext,
    /// The client has gone, without a word.
    Silent,
    /// The client has gone.
    Gone(io::Error),
    /// It is TLS, but not a message that can be answered. The client has been told.
    Refused(rustls::Error),
}

/// Reads the first message of a client.
pub(super) async fn read(socket: &mut ClientSocket) -> Result<Accepted, NoHello> {
    let mut acceptor = Acceptor::default();
    let mut received = Vec::with_capacity(READ);
    let mut is_first = true;
    loop {
        received.clear();
        match socket.read_buf(&mut received).await {
            Ok(0) | Err(_) if is_first => return Err(NoHello::Silent),
            Ok(0) => return Err(NoHello::Gone(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(NoHello::Gone(error)),
            Ok(_) => {}
        }
        if std::mem::take(&mut is_first) && received.first() != Some(&HANDSHAKE) {
            return Err(NoHello::Plaintext);
        }
        let mut rest = &received[..];
        while !rest.is_empty() {
            if acceptor.read_tls(&mut rest).is_err() {
                let error = rustls::Error::General("the first message is too long".to_owned());
                return Err(NoHello::Refused(error));
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // To memory it can be written.
                let _ = alert.write_all(&mut bytes);
                let _ = socket.write_all(&bytes).await;
                return Err(NoHello::Refused(error));
            }
        }
    }
}
