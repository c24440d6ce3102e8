//! What `POST /explain` says of redirected connections is what becomes of them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::World;
use crate::support::client::Connection;
use crate::support::eventually;

async fn explain(world: &World, url: &str) -> Value {
    let admin = world.sidebearer.admin();
    let mut connection = Connection::over(world.connect(admin)).await;
    let question = json!({ "method": "GET", "url": url, "listener": "apps" });
    let request = Request::post("/explain").header("host", admin.to_string());
    let request = request.body(question.to_string().into()).unwrap();
    let answer = connection.send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{url}: {}", answer.text());
    answer.json()["explanations"][0].take()
}

/// Does as a client of this URL that has found its host at `address`.
async fn ask(world: &World, url: &str, address: SocketAddr) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, _) = rest.split_once('/').unwrap();
    if scheme == "http" {
        world.get(address, host).await;
        return;
    }
    let connector = TlsConnector::from(Arc::new(world.ca.client()));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    // It is refused, or nobody is there.
    let _ = connector.connect(name, world.connect(address)).await;
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let rules = "[[egress.rules]]\nhosts = [\"denied.example.com\"]\naction = \"deny\"\n";
    let Some(world) = World::with("", rules).await else {
        return;
    };
    let there = world.network.there.address(80);
    let [nobody, _] = world.nobody(80);
    let [nobody_443, _] = world.nobody(443);
    let by_address = format!("http://{}/v1", there.ip());
    for (url, line_of, address) in [
        ("http://crm.example.com/v1", "crm.example.com", nobody),
        (
            "http://secure.example.com:443/v1",
            "secure.example.com:443",
            nobody_443,
        ),
        ("http://other.example.com/v1", "other.example.com", there),
        (&*by_address, &*there.ip().to_string(), there),
        ("http://denied.example.com/v1", "denied.example.com", there),
        (
            "https://secure.example.com/v1",
            "secure.example.com:443",
            nobody_443,
        ),
        (
            "https://denied.example.com/v1",
            "denied.example.com:443",
            nobody_443,
        ),
    ] {
        let explained = explain(&world, url).await;
        let before = world.lines_of(line_of).len();
        ask(&world, url, address).await;
        eventually("an access line", async || {
            world.lines_of(line_of).len() > before
        })
        .await;
        let line = world.lines_of(line_of).pop().unwrap();
        assert_eq!(
            explained["refused"]["error"], line["error"],
            "{url}: {explained} {line}"
        );
        let by_rule = &explained["rule"]["rule"];
        let route = if by_rule.is_null() {
            &explained["route"]["route"]
        } else {
            by_rule
        };
        assert_eq!(*route, line["route"], "{url}: {explained} {line}");
        let upstream = explained["upstream"]["name"].as_str().unwrap_or_default();
        assert_eq!(upstream, line["upstream"], "{url}: {explained} {line}");
    }
    for (api, has_token) in [
        (&world.crm, true),
        (&world.secure, true),
        (&world.other, false),
    ] {
        let seen = api.seen();
        assert!(!seen.is_empty());
        let token = |authorization: &str| authorization.starts_with("Bearer token-");
        assert!(
            seen.iter()
                .all(|seen| token(seen.authorization()) == has_token)
        );
    }
}
