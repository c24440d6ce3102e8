//! A reload counts for the next request, also of a connection that lives.

use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{key, with_keys};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client;
use crate::support::server::Body;
use crate::support::sidebearer::Sidebearer;

fn config(address: std::net::SocketAddr, api: &Api, keys: &str, callers: &str) -> String {
    format!(
        "{keys}[[listeners]]\nname = \"app\"\naddress = \"{address}\"\ncallers = {callers}\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{}\"\nforward_caller = \"x-caller\"\n",
        api.url()
    )
}

fn of(caller: &str) -> Request<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = client::streaming(Method::GET, "/", body);
    let value = format!("Bearer {}", key(caller)).parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_caller_that_was_removed_is_unknown_on_a_living_connection() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let all = with_keys(dir.path(), &["alpha", "beta", "gamma"]);
    let without = with_keys(dir.path(), &["beta", "gamma"]);
    let address = any_port();
    let site = Sidebearer::start_in(dir, &config(address, &api, &all, "[\"*\"]"));
    let mut sender = client::http2(site.address()).await;
    let mut status = async |caller| {
        let answer = sender.send_request(of(caller)).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!((status("alpha").await, status("gamma").await), (200, 200));
    site.reconfigure(&config(address, &api, &without, "[\"*\"]"))
        .await
        .unwrap();
    assert_eq!((status("alpha").await, status("gamma").await), (401, 200));
    site.reconfigure(&config(address, &api, &without, "[\"beta\"]"))
        .await
        .unwrap();
    assert_eq!((status("gamma").await, status("beta").await), (403, 200));
    // Others have other indices now: whose name is sent?
    let seen = api.seen();
    let callers: Vec<_> = seen.iter().map(|seen| seen.header("x-caller")).collect();
    assert_eq!(callers, ["alpha", "gamma", "gamma", "beta"]);
}

#[tokio::test]
async fn a_key_is_good_until_a_reload_replaces_it() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let keys = with_keys(dir.path(), &["alpha"]);
    let site = Sidebearer::start_in(dir, &config(any_port(), &api, &keys, "[\"*\"]"));
    let mut sender = client::http2(site.address()).await;
    let mut status = async |caller| {
        let answer = sender.send_request(of(caller)).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!((status("alpha").await, status("next").await), (200, 401));
    site.write("alpha.key", &format!("{}\n{}\n", key("alpha"), key("next")));
    site.reload().await.unwrap();
    assert_eq!((status("alpha").await, status("next").await), (200, 200));
    site.write("alpha.key", &key("next"));
    site.reload().await.unwrap();
    assert_eq!((status("alpha").await, status("next").await), (401, 200));
}

#[tokio::test]
async fn a_tunnel_ends_when_its_caller_may_not_use_it_any_more() {
    let echo = TcpListener::bind(any_port()).await.unwrap();
    let target = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let keys = with_keys(dir.path(), &["alpha", "beta"]);
    let address = any_port();
    let config = |callers: &str| {
        format!(
            "{keys}[[listeners]]\nname = \"app\"\naddress = \"{address}\"\nkind = \"forward\"\n\
             callers = {callers}\n[upstreams.api]\nurl = \"https://{target}\"\n"
        )
    };
    let site = Sidebearer::start_in(dir, &config("[\"alpha\", \"beta\"]"));
    let mut tunnels = Vec::new();
    for caller in ["alpha", "beta"] {
        let mut tunnel = TcpStream::connect(site.address()).await.unwrap();
        let of_caller = format!("Proxy-Authorization: Bearer {}", key(caller));
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{of_caller}\r\n\r\n");
        tunnel.write_all(connect.as_bytes()).await.unwrap();
        let mut head = [0; 1024];
        let read = tunnel.read(&mut head).await.unwrap();
        assert!(head[..read].starts_with(b"HTTP/1.1 200 "));
        tunnels.push(tunnel);
    }
    site.reconfigure(&config("[\"beta\"]")).await.unwrap();
    let mut byte = [0; 1];
    let ended = tunnels[0].read(&mut byte).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    tunnels[1].write_all(b"x").await.unwrap();
    assert_eq!(tunnels[1].read(&mut byte).await.unwrap(), 1);
}
