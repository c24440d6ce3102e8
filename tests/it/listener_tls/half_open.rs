//! Clients that begin a handshake and do not go on with it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{NAME, Site, config, connect, write};
use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::process::{Process, scale};
use crate::support::tls::Ca;
use crate::support::{PATIENCE, eventually};

/// The first bytes of a first message.
const BEGUN: [u8; 7] = [22, 3, 1, 1, 0, 1, 0];

/// What is counted of handshakes with this outcome.
async fn handshakes(process: &Process, outcome: &str) -> usize {
    let labels = format!("listener=\"app\",outcome=\"{outcome}\"");
    let series = format!("sidebearer_tls_handshakes_total{{{labels}}}");
    process.metric(&series).await as usize
}

/// Open connections of clients.
async fn connections(process: &Process) -> usize {
    process.metric("sidebearer_client_connections").await as usize
}

/// Whether the server has closed it, by an end or by a reset.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// A connection of a client with this address.
async fn connect_from(client: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Of one address alone, and of so many that all places are taken. `SIDEBEARER_TEST_HALF_OPEN` has more than 300 of them.
#[tokio::test]
async fn half_open_handshakes_are_bounded_and_hold_up_nobody() {
    let half_open = scale("SIDEBEARER_TEST_HALF_OPEN", 300);
    for addresses in [1, 50] {
        half_open_of(half_open, addresses).await;
    }
}

async fn half_open_of(half_open: usize, addresses: usize) {
    let places = half_open / 2;
    let (ca, api, dir) = (Ca::new(), Api::open(), tempfile::tempdir().unwrap());
    write(dir.path(), "own", &ca.certificate(&[NAME]));
    // None is given up before all have come.
    let listener = format!("max_handshakes = {places}\nhandshake_timeout = \"600s\"");
    let server = "[server]\nmax_connections = 20000\n";
    let config = format!("{server}{}", config(&api, "", &listener));
    let process = Process::start_in(dir, &config).await;
    let open = async || {
        let stream = connect(process.address(), ca.client(), NAME).await?;
        Ok::<_, std::io::Error>(Connection::over(stream).await)
    };
    let mut kept = open().await.unwrap();
    assert_eq!(kept.get("/").await.unwrap().status, 200);
    let mut waiting = Vec::with_capacity(half_open);
    for number in 0..half_open {
        let client = Ipv4Addr::new(127, 0, 1, (number % addresses) as u8 + 1);
        let mut stream = connect_from(client, process.address()).await;
        // Some say nothing at all. Those beyond the limit may be closed already.
        if number % 2 == 0 {
            let _ = stream.write_all(&BEGUN).await;
        }
        waiting.push(stream);
        if number % 50 == 0 {
            // Who is there is served on.
            assert_eq!(kept.get("/").await.unwrap().status, 200);
        }
    }
    let mut held = 0;
    eventually("each one is closed, or waits", async || {
        held = connections(&process).await - 1;
        let shed = handshakes(&process, "shed").await;
        let closed = waiting.iter().filter(|stream| is_closed(stream)).count();
        closed == shed && held + shed == half_open
    })
    .await;
    // As soon as more than half of the places are taken, an address has no more than a quarter of those that are left.
    let of_one = places / 2 + 1;
    if addresses == 1 {
        assert_eq!(held, of_one, "of {places} places");
    } else {
        assert!((of_one + 1..places).contains(&held), "{held} of {places}");
    }
    // Another address finds a place meanwhile, and who is there is served.
    let mut new = open().await.unwrap();
    for connection in [&mut new, &mut kept] {
        assert_eq!(connection.get("/").await.unwrap().status, 200);
    }
    assert_eq!(handshakes(&process, "success").await, 2);
    assert_eq!(handshakes(&process, "shed").await, half_open - held);
    drop(waiting);
    eventually("all places are free", async || {
        connections(&process).await == 2
    })
    .await;
    assert_eq!(handshakes(&process, "success").await, 2);
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_given_up() {
    let site = Site::start("", "max_handshakes = 8\nhandshake_timeout = \"200ms\"");
    let mut waiting = Vec::new();
    for number in 0..4 {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&BEGUN).await.unwrap();
        }
        waiting.push(stream);
    }
    for mut stream in waiting {
        // By an end or by a reset.
        let read = timeout(PATIENCE, stream.read(&mut [0])).await;
        assert_ne!(read.unwrap().ok(), Some(1));
    }
}

#[tokio::test]
async fn a_place_is_free_again_as_soon_as_its_client_has_gone() {
    let site = Site::start("", "max_handshakes = 1\nhandshake_timeout = \"600s\"");
    let mut waiting = TcpStream::connect(site.address()).await.unwrap();
    waiting.write_all(&BEGUN).await.unwrap();
    let is_served = async || {
        let connected = connect(site.address(), site.ca.client(), NAME).await;
        connected.is_ok()
    };
    eventually("the only place is taken", async || !is_served().await).await;
    drop(waiting);
    eventually("it is free again", is_served).await;
}
