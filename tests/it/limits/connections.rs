//! `max_connections` of an upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::config;
use crate::support::client::{self, Answer, Connection, http2, read, streaming};
use crate::support::server::{self, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, eventually};

/// An API whose answers to `/wait` wait for permits.
struct Gated {
    address: SocketAddr,
    gate: Arc<Semaphore>,
    arrived: Arc<AtomicUsize>,
}

impl Gated {
    fn start() -> Self {
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (open, count) = (Arc::clone(&gate), Arc::clone(&arrived));
        let address = server::serve(None, move |request| {
            let open = Arc::clone(&open);
            let waits = request.uri().path() == "/wait";
            if waits {
                count.fetch_add(1, SeqCst);
            }
            async move {
                if waits {
                    open.acquire().await.unwrap().forget();
                }
                response(200, "ok")
            }
        });
        Self {
            address,
            gate,
            arrived,
        }
    }

    /// A request that has arrived, and is not answered.
    async fn waiting(&self, sidebearer: &Sidebearer) -> JoinHandle<Answer> {
        let (address, before) = (sidebearer.address(), self.arrived.load(SeqCst));
        let waiting = tokio::spawn(async move { client::get(address, "/wait").await });
        eventually("it arrives", async || self.arrived.load(SeqCst) > before).await;
        waiting
    }
}

fn assert_full(answer: &Answer) {
    assert_eq!((answer.status, &*answer.code()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(
        answer.text().contains("max_connections"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_request_that_needs_one_connection_more_than_there_may_be_is_503() {
    let api = Gated::start();
    let sidebearer = Sidebearer::start(&config("", api.address, "max_connections = 2"));
    let waiting = [
        api.waiting(&sidebearer).await,
        api.waiting(&sidebearer).await,
    ];
    assert_full(&client::get(sidebearer.address(), "/").await);
    let errors = r#"sidebearer_errors_total{error="overloaded",listener="app",upstream="api"}"#;
    assert_eq!(sidebearer.metric(errors).await, 1.0);
    let full = r#"sidebearer_upstream_connects_total{outcome="limit",upstream="api"}"#;
    assert_eq!(sidebearer.metric(full).await, 1.0);
    api.gate.add_permits(2);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().status, 200);
    }
    // Those are idle now, and serve again.
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
}

#[tokio::test]
async fn streams_count_by_their_connection() {
    let api = Gated::start();
    let lines = "http = \"2\"\nmax_streams = 2\nmax_connections = 1";
    let sidebearer = Sidebearer::start(&config("", api.address, lines));
    let waiting = [
        api.waiting(&sidebearer).await,
        api.waiting(&sidebearer).await,
    ];
    assert_full(&client::get(sidebearer.address(), "/").await);
    let mut over_http2 = http2(sidebearer.address()).await;
    let request = streaming(Method::GET, "/", whole(""));
    let answer = over_http2.send_request(request).await.unwrap();
    assert_full(&read(answer).await.unwrap());
    api.gate.add_permits(2);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().status, 200);
    }
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
}

#[tokio::test]
async fn a_changed_limit_counts_from_the_reload_on_and_another_change_leaves_the_pool_alone() {
    let api = Gated::start();
    let text = config("", api.address, "max_connections = 1");
    let sidebearer = Sidebearer::start(&text);
    let waiting = api.waiting(&sidebearer).await;
    sidebearer
        .reconfigure(&format!("{text}[log]\naccess = \"all\"\n"))
        .await
        .unwrap();
    assert_full(&client::get(sidebearer.address(), "/").await);
    let more = text.replace("max_connections = 1", "max_connections = 2");
    sidebearer.reconfigure(&more).await.unwrap();
    let more = api.waiting(&sidebearer).await;
    api.gate.add_permits(2);
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(more.await.unwrap().status, 200);
}

/// Switches protocols and waits for the other side's end; serves other requests.
fn tunnels() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            if head.contains("upgrade: echo\r\n") {
                let switch =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
                stream.write_all(switch).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(ok).await.unwrap();
        }
    })
}

/// Asks for an upgrade: the connection, and the head that came.
async fn upgraded(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await;
    (stream, head.unwrap())
}

#[tokio::test]
async fn a_tunnel_holds_its_place_to_its_end_and_an_idle_connection_gives_way_to_it() {
    let sidebearer = Sidebearer::start(&config("", tunnels(), "max_connections = 1"));
    let address = sidebearer.address();
    for _ in 0..3 {
        // Leaves an idle connection behind.
        eventually("the tunnel has ended", async || {
            client::get(address, "/").await.status == 200
        })
        .await;
        let (tunnel, head) = upgraded(address).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_full(&client::get(address, "/").await);
        let (_, head) = upgraded(address).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        drop(tunnel);
    }
}

#[tokio::test]
async fn idle_connections_of_one_thread_give_way_to_another_that_was_refused() {
    let api = Gated::start();
    let text = config("", api.address, "max_connections = 1").replace("workers = 1", "workers = 2");
    let sidebearer = Sidebearer::start(&text);
    // Each goes to the thread with fewer.
    let mut first = Connection::open(sidebearer.address()).await;
    assert_eq!(first.get("/").await.unwrap().status, 200);
    let mut second = Connection::open(sidebearer.address()).await;
    assert_full(&second.get("/").await.unwrap());
    eventually("it gives way", async || {
        second.get("/").await.unwrap().status == 200
    })
    .await;
}

#[tokio::test]
async fn at_the_limit_a_connection_that_was_closed_while_idle_fails_no_request() {
    // Serves one request a connection, and closes when it gets another.
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(ok).await.unwrap();
        read_head(&mut stream).await;
    });
    let sidebearer = Sidebearer::start(&config("", api, "max_connections = 1"));
    for _ in 0..20 {
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
    }
}
