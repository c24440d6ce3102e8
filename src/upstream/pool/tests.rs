use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::timeout;
use url::Url;

use super::*;
use crate::config::{Http2, HttpVersion, Tls};
use crate::http2::{Budget, PingInterval};
use crate::metrics::Metrics;
use crate::upstream::{ConnectionHistory, ConnectionPermits, Connector};

/// So long nothing takes here, however busy the machine is.
const LONG: Duration = Duration::from_secs(20);

/// Where `http://localhost` is found at these addresses. Connections are kept for ten minutes.
pub(super) fn endpoint(addresses: Vec<SocketAddr>) -> Endpoint {
    let url = Url::parse("http://localhost").unwrap();
    let connector = Connector::new(&url, &Tls::default(), HttpVersion::Auto).unwrap();
    let http2 = Http2 {
        max_streams: 100,
        stream_window: 65_535,
        ping_interval: LONG,
        ping_timeout: LONG,
    };
    Endpoint {
        connector: connector.with_addresses(addresses),
        permits: ConnectionPermits::new(100),
        history: ConnectionHistory::default(),
        connect_timeout: LONG,
        connecting_per_shard: 4,
        pool_idle_per_shard: 4,
        pool_idle_timeout: Duration::from_secs(600),
        max_connection_age: Some(Duration::from_secs(3600)),
        max_header_bytes: 10_000,
        max_headers: 100,
        body_buffer: 10_000,
        ping_interval: PingInterval::new(http2.ping_interval),
        http2,
        windows: Budget::new(0),
        connect_protocol_timeout: LONG,
        metrics: Metrics::new().upstream("api"),
    }
}

/// Puts a connection back without a request, as if one had been answered on it.
pub(super) fn give_back(checkout: Checkout) {
    let Checkout::Http1(connection) = checkout else {
        panic!("nothing here speaks HTTP/2");
    };
    connection.give_back();
}

/// Ready when the other side has closed the connection.
async fn closed(mut stream: TcpStream) {
    let read = timeout(LONG, stream.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn connections_to_an_address_that_refuses_others_end_early() {
    let check = async {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let addresses = [&first, &second].map(|listener| listener.local_addr().unwrap());
        let pool = Pool::new(Arc::new(endpoint(addresses.to_vec())));
        let old = pool.open(true).await.unwrap();
        let (stayed, _) = first.accept().await.unwrap();
        // From now on it refuses.
        drop(first);
        let new = pool.open(true).await.unwrap();
        let (_kept, _) = second.accept().await.unwrap();
        give_back(new);
        pool.sweep(Instant::now());
        give_back(old);
        closed(stayed).await;
        assert!(pool.take().is_some(), "the other is there");
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn a_shorter_time_that_is_learnt_counts_for_connections_that_are_idle_already() {
    let check = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(endpoint(vec![listener.local_addr().unwrap()]));
        let pool = Pool::new(Arc::clone(&endpoint));
        give_back(pool.open(true).await.unwrap());
        let (stream, _) = listener.accept().await.unwrap();
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        pool.sweep(now + minute / 2);
        let history = &endpoint.history;
        assert_eq!(history.record_idle_close(minute / 2, now), None);
        let learnt = history.record_idle_close(minute / 2, now + minute / 6);
        assert!(learnt.unwrap() < minute / 2);
        pool.sweep(now + minute / 2);
        assert!(pool.take().is_none());
        closed(stream).await;
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn a_request_that_goes_away_leaves_the_connection_that_it_was_given() {
    let check = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::new(Arc::new(endpoint(vec![listener.local_addr().unwrap()])));
        let mut waiting = Box::pin(pool.open(true));
        let began = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::future::Future::poll(waiting.as_mut(), cx))
        });
        assert!(began.await.is_pending());
        let (mut stream, _) = listener.accept().await.unwrap();
        let given = async {
            while pool.shelf.waiting.opening() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, given).await.unwrap();
        drop(waiting);
        let Some(Checkout::Http1(connection)) = pool.take() else {
            panic!("it is idle");
        };
        assert!(connection.reused);
        stream.write_all(b"x").await.unwrap();
    };
    LocalSet::new().run_until(check).await;
}

/// Where HTTP/2 is spoken without TLS. Settings of its server are waited for so long.
fn http2_endpoint(listener: &TcpListener, wait: Duration) -> Endpoint {
    let url = Url::parse("http://localhost").unwrap();
    let connector = Connector::new(&url, &Tls::default(), HttpVersion::Http2).unwrap();
    Endpoint {
        connector: connector.with_addresses(vec![listener.local_addr().unwrap()]),
        connect_protocol_timeout: wait,
        ..endpoint(Vec::new())
    }
}

#[tokio::test]
async fn what_a_server_speaks_is_known_once_its_settings_have_come() {
    let check = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::new(Arc::new(http2_endpoint(&listener, LONG)));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // SETTINGS that say nothing; nothing follows.
            stream
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            stream
        };
        let (spoken, _stream) = tokio::join!(timeout(LONG / 2, pool.spoken()), server);
        let without = SpokenHttp::Http2 {
            extended_connect: false,
        };
        assert_eq!(spoken.unwrap().unwrap(), without);
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn settings_that_did_not_come_in_time_are_not_waited_for_again_and_count_when_they_come() {
    let check = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = http2_endpoint(&listener, Duration::from_millis(1));
        let pool = Pool::new(Arc::new(endpoint));
        let Checkout::Http2(stream) = pool.open(true).await.unwrap() else {
            panic!("it speaks HTTP/2");
        };
        let (mut server, _) = listener.accept().await.unwrap();
        assert!(!stream.supports_connect().await);
        for _ in 0..3 {
            let known = tokio::select! {
                biased;
                known = stream.supports_connect() => Some(known),
                () = std::future::ready(()) => None,
            };
            assert_eq!(known, Some(false));
        }
        // SETTINGS_ENABLE_CONNECT_PROTOCOL: 1.
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];
        server.write_all(&settings).await.unwrap();
        let come = async {
            while !stream.supports_connect().await {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, come).await.unwrap();
    };
    LocalSet::new().run_until(check).await;
}
