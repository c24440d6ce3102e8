use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::*;
use crate::client_socket::Peer;
use crate::client_socket::in_memory::HoldsUntilFlushed;
use crate::config;
use crate::metrics::Metrics;
use crate::proxy::ShardSnapshot;
use crate::snapshot::Builder;
use crate::token::SystemClock;

const PATIENCE: Duration = Duration::from_secs(60);

fn peer() -> Peer {
    Peer::Tcp((Ipv4Addr::LOCALHOST, 50312).into())
}

/// Serves one connection by this configuration.
fn serve_with(config: &str, socket: ClientSocket) -> Arc<ClientConnection> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(&path, config).unwrap();
    let config = config::load(&path).unwrap().config;
    let builder = Builder::new(Metrics::new(), Arc::new(SystemClock), 1);
    let snapshot = Arc::new(builder.build(config, None).unwrap());
    let snapshot = ShardSnapshot::new(snapshot, None);
    let current: CurrentSnapshot = Rc::new(move |_| (Rc::clone(&snapshot), 0));
    let client = ClientConnection::new("app".to_owned(), peer(), 1000, ());
    spawn_local(serve(socket, Arc::clone(&client), current));
    client
}

/// Serves a client whose socket holds back everything until it is flushed, before an API that echoes.
async fn connect() -> DuplexStream {
    let api = echo().await;
    let (near, far) = duplex(10_000);
    let config = format!(
        "[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"http://{api}\"\n"
    );
    let socket = HoldsUntilFlushed::new(far, 20_000);
    serve_with(&config, ClientSocket::Memory(Box::new(socket)));
    near
}

/// An API that sends back the body of each request, or what comes behind an upgrade.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            spawn_local(async move {
                while let Some(head) = read_head(&mut socket).await {
                    if head.contains("upgrade: x") {
                        let switching = "HTTP/1.1 101 Switching Protocols\r\n\
                                         Connection: upgrade\r\nUpgrade: x\r\n\r\n";
                        socket.write_all(switching.as_bytes()).await.unwrap();
                        let (mut read, mut write) = socket.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        return;
                    }
                    let length = head.split("content-length: ").nth(1).unwrap_or("0\r\n");
                    let length = length.lines().next().unwrap().parse().unwrap();
                    let mut body = vec![0; length];
                    socket.read_exact(&mut body).await.unwrap();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    socket.write_all(head.as_bytes()).await.unwrap();
                    socket.write_all(&body).await.unwrap();
                }
            });
        }
    });
    address
}

/// A head, in lower case; `None` at the end of the connection.
async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap().to_lowercase())
}

async fn run(test: impl Future<Output = ()>) {
    let test = LocalSet::new().run_until(timeout(PATIENCE, test)).await;
    test.expect("the client waits for what was not flushed");
}

#[tokio::test]
async fn http1_is_served_on_a_socket_that_holds_everything_back_until_it_is_flushed() {
    run(async {
        let mut client = connect().await;
        for length in [0, 3, 100_000] {
            let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            let body = vec![b'x'; length];
            let (mut read, mut write) = tokio::io::split(&mut client);
            let asking = async {
                write.write_all(head.as_bytes()).await.unwrap();
                write.write_all(&body).await.unwrap();
            };
            let reading = async {
                let head = read_head(&mut read).await.unwrap();
                assert!(head.starts_with("http/1.1 200"), "{head}");
                let mut got = vec![0; length];
                read.read_exact(&mut got).await.unwrap();
                got
            };
            let ((), got) = tokio::join!(asking, reading);
            assert!(got == body, "{length}");
        }

        let asked =
            b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.write_all(asked).await.unwrap();
        let interim = read_head(&mut client).await.unwrap();
        assert!(interim.starts_with("http/1.1 100"), "{interim}");
        client.write_all(b"ok").await.unwrap();
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        client.read_exact(&mut [0; 2]).await.unwrap();

        let asked = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        client.write_all(asked).await.unwrap();
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        for word in [b"one", b"two"] {
            client.write_all(word).await.unwrap();
            let mut echoed = [0; 3];
            client.read_exact(&mut echoed).await.unwrap();
            assert_eq!(&echoed, word);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_on_a_socket_that_holds_everything_back() {
    run(async {
        let mut client = connect().await;
        client.write_all(b"GET /\x01 HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 400"));
    })
    .await;
}

#[tokio::test]
async fn http2_is_served_on_a_socket_that_holds_everything_back_until_it_is_flushed() {
    run(async {
        let client = TokioIo::new(connect().await);
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), client).await;
        let (sender, connection) = shaken.unwrap();
        tokio::spawn(connection);
        let requests = [0, 3, 100_000, 300_000].map(|length| {
            let mut sender = sender.clone();
            async move {
                let body = Full::new(Bytes::from(vec![b'x'; length]));
                let request = Request::builder()
                    .method(Method::POST)
                    .uri("http://localhost/");
                let response = sender
                    .send_request(request.body(body).unwrap())
                    .await
                    .unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body == vec![b'x'; length], "{length}");
            }
        });
        let [none, small, large, larger] = requests;
        tokio::join!(none, small, large, larger);
    })
    .await;
}

/// The type and the stream of the next HTTP/2 frame, unless the connection has ended.
async fn read_frame(client: &mut DuplexStream) -> Option<(u8, u32)> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    client
        .read_exact(&mut vec![0; length as usize])
        .await
        .ok()?;
    Some((
        head[3],
        u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
    ))
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// A GET without a body: `:method`, `:scheme`, `:path` and `:authority`.
fn get(stream: u8) -> Vec<u8> {
    let block = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let head = [0, 0, block.len() as u8, HEADERS, 0b101, 0, 0, 0, stream];
    [&head[..], &block].concat()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goaway_of_a_drain_is_answered_whenever_the_connection_was_idle()
{
    // No request matches: nothing is dialled, and time moves only when the test moves it.
    let config = "[server]\nidle_timeout = \"10s\"\n\
        [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\n\
        [[routes]]\npath = \"/api\"\nupstream = \"api\"\n\
        [upstreams.api]\nurl = \"http://127.0.0.1:1\"\n";
    LocalSet::new()
        .run_until(async {
            let (mut client, far) = duplex(10_000);
            let connection = serve_with(config, ClientSocket::Memory(Box::new(far)));
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
            client.write_all(preface).await.unwrap();
            client.write_all(&get(1)).await.unwrap();
            while read_frame(&mut client).await.unwrap() != (HEADERS, 1) {}

            sleep(Duration::from_millis(9_900)).await;
            connection.close();
            while read_frame(&mut client).await.unwrap().0 != GOAWAY {}
            // The client does not know of it yet.
            sleep(Duration::from_millis(200)).await;
            client.write_all(&get(3)).await.unwrap();
            let answer = loop {
                let frame = read_frame(&mut client).await;
                if frame.is_none_or(|frame| frame == (HEADERS, 3)) {
                    break frame;
                }
            };
            assert!(answer.is_some(), "the connection ended without an answer");
            // It ends, though the client acknowledges nothing.
            while read_frame(&mut client).await.is_some() {}
        })
        .await;
}
