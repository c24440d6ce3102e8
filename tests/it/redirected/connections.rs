//! What is redirected, and what is not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{TO, World, request};
use crate::support::PATIENCE;
use crate::support::client::Connection;
use crate::support::server;
use crate::support::tunnel::comes_back;

#[tokio::test]
async fn a_thousand_connections_at_once_are_all_led_right() {
    let Some(world) = World::start().await else {
        return;
    };
    let there = &world.network.there;
    let addresses = [there.address(443), there.address_v6(443)];
    for address in addresses {
        server::bytes_on(there.listen_at(address), |_, stream| {
            server::send_back(stream)
        });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..1000_usize {
        let unread = at % 2 == 0;
        let family = at / 2 % 2;
        let address = if unread {
            addresses[family]
        } else {
            world.nobody(80)[family]
        };
        let stream = world.connect(address);
        tasks.spawn(async move {
            let mut stream = stream;
            if unread {
                let text = format!("\0{at}");
                comes_back(&mut stream, &text).await;
                return (Some(stream), None);
            }
            let mut connection = Connection::over(stream).await;
            let answer = connection
                .send(request("crm.example.com", "/v1"))
                .await
                .unwrap();
            assert_eq!(answer.text(), "crm");
            (None, Some(connection))
        });
    }
    // None is closed before all have been served.
    let open = tokio::time::timeout(PATIENCE * 2, tasks.join_all())
        .await
        .expect("all are served");
    assert_eq!(open.len(), 1000);
    assert_eq!(world.crm.seen().len(), 500);
    let authorized = world
        .crm
        .seen()
        .iter()
        .filter(|seen| seen.authorization() == "Bearer token-1")
        .count();
    assert_eq!(authorized, 500);
}

#[tokio::test]
async fn a_connection_to_the_listener_itself_is_closed_and_counted() {
    let Some(world) = World::start().await else {
        return;
    };
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, TO).into(),
        (Ipv6Addr::LOCALHOST, TO).into(),
    ];
    for address in addresses {
        let mut stream = world.connect(address);
        // It may be closed before.
        let _ = stream
            .write_all(b"GET / HTTP/1.1\r\nHost: crm.example.com\r\n\r\n")
            .await;
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        assert_eq!(all, b"");
    }
    let series = r#"sidebearer_errors_total{error="loop",listener="apps",upstream=""}"#;
    assert_eq!(world.metric(series).await, 2.0);
    let refused = world
        .sidebearer
        .told("refused before it was a request")
        .unwrap();
    assert_eq!(refused["error"], "loop");
    assert!(world.crm.seen().is_empty());
}

#[tokio::test]
async fn clients_of_quic_are_told_to_leave_it() {
    let Some(world) = World::start().await else {
        return;
    };
    let there = &world.network.there;
    for server in [there.address(443), there.address_v6(443)] {
        let listening = there.within(|| UdpSocket::bind(server).unwrap());
        let error = world.network.here.within(|| {
            let any: SocketAddr = if server.is_ipv4() {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            let client = UdpSocket::bind(any).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect(server).unwrap();
            let answered = client
                .send(b"initial")
                .and_then(|_| client.recv(&mut [0; 8]));
            answered.unwrap_err()
        });
        // At once, by the call that sends or by the next one.
        let told = [ErrorKind::PermissionDenied, ErrorKind::ConnectionRefused];
        assert!(told.contains(&error.kind()), "{server}: {error}");
        listening.set_nonblocking(true).unwrap();
        let received = listening.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(received.kind(), ErrorKind::WouldBlock, "{server}");
    }
    // Other UDP is nobody's business.
    let server = there.within(|| UdpSocket::bind(there.address(53)).unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    world.network.here.within(|| {
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        client.send_to(b"query", there.address(53)).unwrap();
    });
    assert_eq!(server.recv(&mut [0; 8]).unwrap(), 5);
}

/// Answers a probe on each connection. Tells where the connections came from.
fn answer_probes(socket: TcpListener) -> mpsc::Receiver<SocketAddr> {
    let (tell, peers) = mpsc::channel();
    server::bytes_on(socket, move |_, mut stream| {
        let tell = tell.clone();
        async move {
            stream.read_exact(&mut [0; 5]).await.unwrap();
            tell.send(stream.peer_addr().unwrap()).unwrap();
            stream.write_all(b"alive").await.unwrap();
        }
    });
    peers
}

#[tokio::test]
async fn probes_from_outside_and_calls_to_this_machine_are_left_alone() {
    let Some(world) = World::start().await else {
        return;
    };
    let (here, there) = (&world.network.here, &world.network.there);
    let loopback: SocketAddr = (Ipv4Addr::LOCALHOST, 443).into();
    for (from, to, source) in [
        (there, here.address(80), there.address(0)),
        (there, here.address_v6(80), there.address_v6(0)),
        // An app that calls its own machine.
        (here, here.address(443), here.address(0)),
        (here, loopback, loopback),
    ] {
        let peers = answer_probes(here.listen_at(to));
        let answer = from.within(|| {
            let mut stream =
                std::net::TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap();
            stream.write_all(b"probe").unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
            answer
        });
        assert_eq!(&answer, b"alive");
        assert_eq!(peers.recv().unwrap().ip(), source.ip(), "{to}");
    }
    let log = world.sidebearer.log();
    assert!(!log.contains("\"original\""), "{log}");
}
