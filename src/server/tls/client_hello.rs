//! The first message of a client.

use std::io;

use bytes::BytesMut;
use rustls::server::{Accepted, Acceptor};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client_socket::ClientSocket;

/// What a record of a handshake begins with (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// As much as is read at once. Most clients send less.
const READ: usize = 4 * 1024;

/// Why there is no handshake to go on with.
pub enum NoHello {
    /// What came is not TLS.
    Plaintext,
    /// The client has gone, without a word.
    Silent,
    /// The client has gone.
    Gone(io::Error),
    /// It is TLS, but not a message that can be answered.
    Refused {
        /// What is wrong with it.
        error: Error,
        /// What tells the client, in bytes.
        alert: Vec<u8>,
    },
}

/// Reads the first message of a client, up to the 64 KiB that the TLS library takes. `received` is what has been read
/// already, and afterwards all that has been: who does not answer the message can pass it on as it came.
pub async fn read(socket: &mut ClientSocket, received: &mut BytesMut) -> Result<Accepted, NoHello> {
    let mut acceptor = Acceptor::default();
    let mut taken = 0;
    loop {
        if taken == received.len() {
            received.reserve(READ);
            match socket.read_buf(received).await {
                Ok(0) | Err(_) if received.is_empty() => return Err(NoHello::Silent),
                Ok(0) => return Err(NoHello::Gone(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return Err(NoHello::Gone(error)),
                Ok(_) => {}
            }
        }
        if received.first() != Some(&HANDSHAKE) {
            return Err(NoHello::Plaintext);
        }
        // In pieces: the library makes room for a long message only once it has seen how long it is.
        let mut piece = &received[taken..];
        piece = &piece[..piece.len().min(READ)];
        match acceptor.read_tls(&mut piece) {
            Ok(length) => taken += length,
            Err(_) => {
                return Err(NoHello::Refused {
                    error: Error::General("the first message is too long".to_owned()),
                    alert: record(AlertDescription::DecodeError).to_vec(),
                });
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut unsent)) => {
                let mut alert = Vec::new();
                // To memory it can be written.
                let _ = unsent.write_all(&mut alert);
                if alert.is_empty() {
                    alert = record(AlertDescription::DecodeError).to_vec();
                }
                return Err(NoHello::Refused { error, alert });
            }
        }
    }
}

/// Answers the first message of a client with a fatal alert.
pub async fn refuse(socket: &mut ClientSocket, alert: AlertDescription) {
    tell(socket, &record(alert)).await;
}

/// Sends an alert.
pub async fn tell(socket: &mut ClientSocket, alert: &[u8]) {
    // A client that has gone needs no answer.
    let _ = socket.write_all(alert).await;
    let _ = socket.flush().await;
}

/// A record with a fatal alert (RFC 8446 section 6).
fn record(alert: AlertDescription) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, 3, 0, 2, FATAL, alert.into()]
}
