//! A client whose connection a CONNECT has made a tunnel.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::server::read_head;

/// A connection of which a CONNECT to `target` has made a tunnel.
pub(crate) async fn tunnel(proxy: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for absent in ["content-length", "transfer-encoding", "connection: close"] {
        assert!(!head.contains(absent), "{head}");
    }
    stream
}

/// Sends bytes to an echo.
pub(crate) async fn comes_back(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, bytes);
}

/// How the next read ends.
pub(crate) async fn end_of(stream: &mut TcpStream) -> std::io::Result<usize> {
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await;
    read.expect("it ends")
}

pub(crate) fn is_reset(read: std::io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}
