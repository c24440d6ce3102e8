//! A reload counts for the next request, also of a connection that lives.

use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{asked, echo_after_upgrade, echoes, key, with_keys};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client;
use crate::support::server::{self, Body};
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
    let target = server::echo();
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

#[tokio::test]
async fn an_upgrade_ends_when_its_caller_may_not_have_it_any_more() {
    let api = echo_after_upgrade();
    let dir = tempfile::tempdir().unwrap();
    let all = ["listed", "routed", "replaced", "removed", "staying"];
    let keys = with_keys(dir.path(), &all);
    let without = with_keys(dir.path(), &["listed", "routed", "replaced", "staying"]);
    let address = any_port();
    let config = |keys: &str, of_listener: &str, of_route: &str| {
        format!(
            "{keys}[[listeners]]\nname = \"app\"\naddress = \"{address}\"\ncallers = {of_listener}\n\
             [[routes]]\npath = \"/chat\"\nupstream = \"api\"\ncallers = {of_route}\n\
             [upstreams.api]\nurl = \"http://{api}\"\n"
        )
    };
    let site = Sidebearer::start_in(dir, &config(&keys, "[\"*\"]", "[\"*\"]"));
    let mut tunnels = Vec::new();
    for caller in all {
        let mut tunnel = TcpStream::connect(site.address()).await.unwrap();
        let of_caller = format!("Authorization: Bearer {}", key(caller));
        let upgrade = format!(
            "GET /chat/{caller} HTTP/1.1\r\nHost: localhost\r\n{of_caller}\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
        );
        let status = asked(&mut tunnel, &upgrade).await;
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        assert!(echoes(&mut tunnel).await);
        tunnels.push(tunnel);
    }
    let of_listener = "[\"routed\", \"replaced\", \"staying\"]";
    let of_route = "[\"listed\", \"replaced\", \"staying\"]";
    let narrow = config(&without, of_listener, of_route);
    site.write("replaced.key", &key("next"));
    site.reconfigure(&narrow).await.unwrap();
    for (caller, tunnel) in all.iter().zip(&mut tunnels) {
        if *caller == "staying" {
            assert!(echoes(tunnel).await, "{caller}");
        } else {
            let ended = tunnel.read_u8().await;
            assert!(ended.is_err(), "{caller}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_ends_when_its_caller_has_no_credential_any_more() {
    let api = echo_after_upgrade();
    let dir = tempfile::tempdir().unwrap();
    let keys = with_keys(dir.path(), &["alpha", "beta"]);
    let credential = super::credential("own", dir.path());
    let address = any_port();
    let config = |credentials: &str| {
        format!(
            "{keys}{credential}[[listeners]]\nname = \"app\"\naddress = \"{address}\"\ncallers = [\"*\"]\n\
             upstream = \"api\"\n[upstreams.api]\nurl = \"http://{api}\"\ncredentials = {credentials}\n"
        )
    };
    let site = Sidebearer::start_in(dir, &config("{ \"*\" = \"own\" }"));
    let mut tunnels = Vec::new();
    for caller in ["alpha", "beta"] {
        let mut tunnel = TcpStream::connect(site.address()).await.unwrap();
        let of_caller = format!("Authorization: Bearer {}", key(caller));
        let upgrade = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{of_caller}\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
        );
        let status = asked(&mut tunnel, &upgrade).await;
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        tunnels.push(tunnel);
    }
    site.reconfigure(&config("{ beta = \"own\" }"))
        .await
        .unwrap();
    let ended = tunnels[0].read_u8().await;
    assert!(ended.is_err());
    assert!(echoes(&mut tunnels[1]).await);
}

#[tokio::test]
async fn a_key_that_is_replaced_serves_no_more_inside_of_its_connect() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let keys = with_keys(dir.path(), &["alpha", "beta"]);
    let target = api.url().replace("http://", "");
    let config = format!(
        "{keys}[[listeners]]\nname = \"app\"\naddress = \"{}\"\nkind = \"forward\"\n\
         callers = [\"*\"]\n[upstreams.api]\nurl = \"http://{target}\"\n",
        any_port()
    );
    let site = Sidebearer::start_in(dir, &config);
    let inside = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let mut opened = Vec::new();
    for caller in ["alpha", "beta"] {
        let mut client = TcpStream::connect(site.address()).await.unwrap();
        let of_caller = format!("Proxy-Authorization: Bearer {}", key(caller));
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{of_caller}\r\n\r\n");
        assert_eq!(asked(&mut client, &connect).await, "HTTP/1.1 200 OK");
        opened.push(client);
    }
    site.write("alpha.key", &key("next"));
    site.reload().await.unwrap();
    let mut statuses = Vec::new();
    for client in &mut opened {
        statuses.push(asked(client, &inside).await[9..12].to_owned());
    }
    assert_eq!(statuses, ["407", "200"]);
}

#[tokio::test]
async fn a_user_that_is_its_callers_no_more_serves_no_more_inside_of_its_connect() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("app.sock");
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
    let target = api.url().replace("http://", "");
    let config = |user: u32| {
        format!(
            "[callers.alpha]\nuser = {user}\n[[listeners]]\nname = \"app\"\naddress = \"unix:{}\"\n\
             kind = \"forward\"\ncallers = [\"*\"]\n[upstreams.api]\nurl = \"http://{target}\"\n",
            socket.display()
        )
    };
    let site = Sidebearer::start_in(dir, &config(own));
    let mut client = UnixStream::connect(&socket).await.unwrap();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(asked(&mut client, &connect).await, "HTTP/1.1 200 OK");
    let inside = format!("HEAD / HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(asked(&mut client, &inside).await, "HTTP/1.1 200 OK");
    site.reconfigure(&config(own + 1)).await.unwrap();
    let refused = asked(&mut client, &inside).await;
    assert!(refused.starts_with("HTTP/1.1 407 "), "{refused}");
}
