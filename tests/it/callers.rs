//! Who is calling, what it may do, and whose token goes with its requests.

mod certificates;
mod ending;
mod matrix;
mod opened;
mod presented;
mod reload;
mod secrecy;

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::idp::Idp;
use crate::support::server;

/// A key that the caller of this name has.
fn key(caller: &str) -> String {
    format!("{caller}-key-0123456789abcdef0123456789abcdef")
}

/// Writes the key of each as `NAME.key`, and gives the tables of the callers that have them.
fn with_keys(dir: &Path, callers: &[&str]) -> String {
    let table = |name: &&str| {
        let file = format!("{name}.key");
        std::fs::write(dir.join(&file), key(name) + "\n").unwrap();
        format!("[callers.{name}]\nkey = {{ file = \"{file}\" }}\n")
    };
    callers.iter().map(table).collect()
}

/// A credential of this name, whose tokens begin with it.
fn credential(name: &str, dir: &Path) -> String {
    let idp = Idp::start();
    idp.set_prefix(name);
    std::fs::write(dir.join("secret"), "s3cret\n").unwrap();
    format!(
        "[credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"{name}\"\n\
         client_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    )
}

/// An API that answers every request with an upgrade, and sends back what comes.
fn echo_after_upgrade() -> SocketAddr {
    server::bytes(|_, mut socket| async move {
        let switch: &[u8] =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        head(&mut socket).await;
        socket.write_all(switch).await.unwrap();
        server::send_back(socket).await;
    })
}

/// Reads a head, and no byte more.
async fn head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends a head, and gives the status line of the answer.
async fn asked(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    head(socket).await.lines().next().unwrap().to_owned()
}

/// Whether what is sent comes back; else the tunnel has ended.
async fn echoes(tunnel: &mut TcpStream) -> bool {
    let _ = tunnel.write_all(b"x").await;
    tunnel.read_u8().await.is_ok()
}
