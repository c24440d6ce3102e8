//! Clients that begin a handshake and do not go on with it.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{NAME, Site, config, connect, write};
use crate::support::api::Api;
use crate::support::client::{self, Connection};
use crate::support::eventually;
use crate::support::process::{Process, scale};
use crate::support::tls::Ca;

/// The first bytes of a first message.
const BEGUN: [u8; 7] = [22, 3, 1, 1, 0, 1, 0];

/// What is counted of handshakes with this outcome.
async fn handshakes(process: &Process, outcome: &str) -> usize {
    let page = client::get(process.admin(), "/metrics").await.text();
    let series =
        format!("sidebearer_tls_handshakes_total{{listener=\"app\",outcome=\"{outcome}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}

/// A connection of a client with this address.
async fn connect_from(client: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Of one address alone, and of so many that all places are taken. `SIDEBEARER_TEST_HALF_OPEN` has more than 300 of them.
#[tokio::test]
async fn half_open_handshakes_hold_up_nobody() {
    let half_open = scale("SIDEBEARER_TEST_HALF_OPEN", 300);
    for addresses in [1, 50] {
        half_open_of(half_open, addresses).await;
    }
}

async fn half_open_of(half_open: usize, addresses: usize) {
    let places = half_open / 2;
    let (ca, api, dir) = (Ca::new(), Api::open(), tempfile::tempdir().unwrap());
    write(dir.path(), "own", &ca.certificate(&[NAME]));
    let listener = format!("max_handshakes = {}\nhandshake_timeout = \"5s\"", places);
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
    eventually("all are given up", async || {
        let late = handshakes(&process, "timeout").await;
        handshakes(&process, "shed").await + late == half_open
    })
    .await;
    let waited = handshakes(&process, "timeout").await;
    // One address has half of the places, and no more than a quarter of those that are left; many together have more.
    let of_one = places / 2 + places / 4;
    let least = if addresses == 1 {
        places / 2
    } else {
        of_one + 1
    };
    assert!(waited >= least, "{waited} of {places} places");
    for mut stream in waiting {
        // By an end or by a reset.
        let _ = stream.read(&mut [0]).await;
    }
    let mut new = open().await.unwrap();
    assert_eq!(new.get("/").await.unwrap().status, 200);
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
