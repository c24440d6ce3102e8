//! `[admin]`, `[health]`, and what all credentials share.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config;
use crate::support::client::Connection;
use crate::support::idp::{Behaviour, Idp};
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, any_port, eventually, loopback};

#[tokio::test]
async fn the_pages_take_max_connections_at_once_and_more_from_the_reload_on() {
    let api = server::serve(None, |_| async { response(200, "ok") });
    let health = loopback();
    let rest = config("", api, "");
    let admin = any_port();
    let with = |number| {
        format!(
            "[admin]\naddress = \"{admin}\"\nmax_connections = {number}\n\
             [health]\naddress = \"{health}\"\nmax_connections = {number}\n{rest}"
        )
    };
    let sidebearer = Sidebearer::start(&with(1));
    for address in [sidebearer.admin(), health] {
        let mut first = Connection::open(address).await;
        assert_eq!(first.get("/livez").await.unwrap().status, 200);
        let mut second = Connection::open(address).await;
        assert_eq!(second.get("/livez").await.unwrap().status, 200);
        assert!(first.get("/livez").await.is_err(), "it had the only place");

        sidebearer.reconfigure(&with(2)).await.unwrap();
        let mut third = Connection::open(address).await;
        for connection in [&mut second, &mut third] {
            assert_eq!(connection.get("/livez").await.unwrap().status, 200);
        }
        sidebearer.reconfigure(&with(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_waits_for_a_head_as_long_as_header_timeout() {
    let api = server::serve(None, |_| async { response(200, "ok") });
    let health = loopback();
    let (admin, rest) = (any_port(), config("", api, ""));
    let pages = format!(
        "[admin]\naddress = \"{admin}\"\nheader_timeout = \"100ms\"\n\
         [health]\naddress = \"{health}\"\nheader_timeout = \"100ms\"\n{rest}"
    );
    let sidebearer = Sidebearer::start(&pages);
    // By default, ten seconds, so many one behind the other would take longer.
    let many = async {
        for address in [sidebearer.admin(), health].repeat(2) {
            let mut silent = TcpStream::connect(address).await.unwrap();
            assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
    };
    timeout(PATIENCE, many).await.expect("they end");
}

#[tokio::test]
async fn one_token_endpoint_gets_max_concurrent_fetches_at_once_and_more_from_the_reload_on() {
    let idp = Idp::start();
    idp.behave(Behaviour::Holds);
    let api = server::serve(None, |_| async { response(200, "ok") });
    let mut text = config("max_concurrent_fetches = 1", api, "credential = \"a\"");
    text += "[[routes]]\npath = \"/b\"\nupstream = \"b\"\n[[routes]]\npath = \"/c\"\nupstream = \"c\"\n";
    for name in ["a", "b", "c"] {
        let endpoint = idp.endpoint();
        text += &format!(
            "[credentials.{name}]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"x\"\nclient_secret = {{ file = \"secret\" }}\nfetch_timeout = \"60s\"\n"
        );
        if name != "a" {
            text +=
                &format!("[upstreams.{name}]\nurl = \"http://{api}\"\ncredential = \"{name}\"\n");
        }
    }
    let sidebearer = Sidebearer::start(&text);
    eventually("the first asks", async || idp.requests() == 1).await;
    // The others are as ready as it was.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(idp.requests(), 1);
    let more = text.replace("fetches = 1", "fetches = 2");
    sidebearer.reconfigure(&more).await.unwrap();
    eventually("a second asks", async || idp.requests() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(idp.requests(), 2);
    idp.let_go(3);
    sidebearer.ready().await;
    assert_eq!(idp.requests(), 3);
}

#[tokio::test]
async fn a_refused_configuration_is_tried_again_after_reload_retry_interval() {
    let api = server::serve(None, |_| async { response(200, "ok") });
    let text = config("reload_retry_interval = \"200ms\"", api, "");
    let sidebearer = Sidebearer::start(&text);
    // By default, ten seconds, so many one behind the other would take longer.
    let many = async {
        for _ in 0..4 {
            let taken = std::net::TcpListener::bind(loopback()).unwrap();
            let address = taken.local_addr().unwrap();
            let more =
                format!("{text}\n[[listeners]]\naddress = \"{address}\"\nupstream = \"api\"\n");
            sidebearer.reconfigure(&more).await.unwrap_err();
            drop(taken);
            eventually("it listens", async || {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
    };
    timeout(PATIENCE, many).await.expect("they are bound");
}
