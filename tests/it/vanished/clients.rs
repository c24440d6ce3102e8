//! A client that vanishes: what it held is free again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Api, config, get};
use crate::support::client::{Connection, streaming};
use crate::support::network::Network;
use crate::support::process::Process;
use crate::support::server::{self, read_head, whole};

/// Whatever else could end a connection does not.
const PATIENT: &str = "response_timeout = \"10m\"";

const PORT: u16 = 7080;

/// Takes one client at a time, from the network or through the unix socket.
async fn start(network: &Network, api: SocketAddr, server: &str, upstream: &str) -> Process {
    let listener = format!(
        "[[listeners]]\naddress = \"{}\"\nupstream = \"api\"\nallow_network = true\n",
        network.here.address(PORT)
    );
    let server = format!("max_connections = 1\n{server}");
    let text = config(&server, api, upstream, &listener);
    network.here.run(&text).await
}

/// Sidebearer's neighbour on the same machine, so that it stays when the cable is cut.
fn socket(network: &Network) -> (std::net::TcpListener, SocketAddr) {
    let bound = network
        .here
        .within(|| std::net::TcpListener::bind("127.0.0.1:0"));
    let socket = bound.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Cuts the cable, and waits until another client gets the only place; not before `least` has
/// passed since the first had a reason to be trusted.
async fn cut_and_freed(network: &Network, process: &Process, trusted: Instant, least: Duration) {
    network.cut();
    assert_eq!(get(process, "/").await.status, 200);
    let after = trusted.elapsed();
    assert!(after >= least, "{after:?}");
}

#[tokio::test]
async fn an_idle_client_that_vanishes_is_ended_by_idle_timeout() {
    let Some(network) = Network::lay() else {
        return;
    };
    let (socket, address) = socket(&network);
    let _api = Api::serve(socket);
    let process = start(&network, address, "idle_timeout = \"1s\"", PATIENT).await;
    let stream = network.there.connect(network.here.address(PORT));
    let trusted = Instant::now();
    let mut client = Connection::over(stream).await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
    cut_and_freed(&network, &process, trusted, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_an_upload_is_ended_by_stream_idle_timeout() {
    let Some(network) = Network::lay() else {
        return;
    };
    let (socket, address) = socket(&network);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    server::bytes_on(socket, move |_, mut stream| {
        let tell = tell.clone();
        async move {
            if read_head(&mut stream).await.starts_with("POST ") {
                stream.read_exact(&mut [0; 4]).await.unwrap();
                tell.send("some of it").unwrap();
                let end = stream.read(&mut [0; 1]).await;
                assert_eq!(end.unwrap_or(0), 0);
                let _ = tell.send("the end");
                return;
            }
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(ok).await.unwrap();
        }
    });
    let lines = format!("{PATIENT}\nstream_idle_timeout = \"1s\"");
    let process = start(&network, address, "idle_timeout = \"10m\"", &lines).await;
    let mut stream = network.there.connect(network.here.address(PORT));
    let trusted = Instant::now();
    let begin = b"POST / HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Length: 1000000\r\n\r\nsome";
    stream.write_all(begin).await.unwrap();
    assert_eq!(told.recv().await, Some("some of it"));
    cut_and_freed(&network, &process, trusted, Duration::from_secs(1)).await;
    assert_eq!(told.recv().await, Some("the end"), "the API learns of it");
}

#[tokio::test]
async fn a_client_that_vanishes_in_a_download_is_ended_by_idle_timeout() {
    let Some(network) = Network::lay() else {
        return;
    };
    let (socket, address) = socket(&network);
    server::bytes_on(socket, |_, mut stream| async move {
        if read_head(&mut stream).await.starts_with("GET /endless ") {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(&[b'x'; 10_000]).await.is_ok() {}
            return;
        }
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(ok).await.unwrap();
    });
    let process = start(&network, address, "idle_timeout = \"1s\"", PATIENT).await;
    let mut stream = network.there.connect(network.here.address(PORT));
    let trusted = Instant::now();
    let ask = b"GET /endless HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    stream.read_exact(&mut [0; 1_000_000]).await.unwrap();
    cut_and_freed(&network, &process, trusted, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn an_http2_client_that_vanishes_is_found_by_pings() {
    let Some(network) = Network::lay() else {
        return;
    };
    let (socket, address) = socket(&network);
    let api = Api::serve(socket);
    let server = "idle_timeout = \"10m\"\nping_interval = \"1s\"\nping_timeout = \"1s\"";
    let process = start(&network, address, server, PATIENT).await;
    let stream = TokioIo::new(network.there.connect(network.here.address(PORT)));
    let trusted = Instant::now();
    let opened = http2::handshake(TokioExecutor::new(), stream).await;
    let (mut client, connection) = opened.unwrap();
    tokio::spawn(connection);
    let mut request = streaming(Method::GET, "/wait", whole(""));
    *request.uri_mut() = "http://10.0.0.1/wait".parse().unwrap();
    request.headers_mut().remove("host");
    let _waiting = tokio::spawn(client.send_request(request));
    api.asked().await;
    cut_and_freed(&network, &process, trusted, Duration::from_secs(2)).await;
}
