//! Clients that begin a handshake and do not go on with it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NAME, Site, connect, get};
use crate::support::eventually;
use crate::support::process::scale;

/// The first bytes of a first message.
const BEGUN: [u8; 7] = [22, 3, 1, 1, 0, 1, 0];

#[tokio::test]
async fn half_open_handshakes_hold_up_nobody() {
    let half_open = scale("SIDEBEARER_TEST_HALF_OPEN", 300);
    let places = half_open / 2;
    let lines = format!("max_handshakes = {places}\nhandshake_timeout = \"3s\"");
    let site = Site::start("", &lines);
    let mut kept = site.open(site.ca.client()).await.unwrap();
    assert_eq!(kept.get("/").await.unwrap().status, 200);
    let mut waiting = Vec::with_capacity(half_open);
    for number in 0..half_open {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        // Some say nothing at all.
        if number % 2 == 0 {
            let _ = stream.write_all(&BEGUN).await;
        }
        waiting.push(stream);
    }
    // Who is there is served on, and others come in as soon as these are given up.
    assert_eq!(kept.get("/").await.unwrap().status, 200);
    eventually("what is beyond the limit is shed", async || {
        site.handshakes("shed").await > 0.0
    })
    .await;
    assert_eq!(kept.get("/").await.unwrap().status, 200);
    eventually("they are given up", async || {
        let (shed, late) = (
            site.handshakes("shed").await,
            site.handshakes("timeout").await,
        );
        shed + late >= half_open as f64
    })
    .await;
    for mut stream in waiting {
        // By an end or by a reset.
        let _ = stream.read(&mut [0]).await;
    }
    assert_eq!(get(&site, site.ca.client()).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_is_refused_may_come_back_at_once() {
    let site = Site::start("", "max_handshakes = 1\nhandshake_timeout = \"600s\"");
    let mut waiting = TcpStream::connect(site.address()).await.unwrap();
    waiting.write_all(&BEGUN).await.unwrap();
    eventually("the only place is taken", async || {
        connect(site.address(), site.ca.client(), NAME)
            .await
            .is_err()
    })
    .await;
    drop(waiting);
    eventually("it is free again", async || {
        connect(site.address(), site.ca.client(), NAME)
            .await
            .is_ok()
    })
    .await;
}
