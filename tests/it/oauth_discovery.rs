//! Finding the token endpoint of an issuer, over real sockets.

mod addresses;

use std::time::Duration;

use sidebearer::oauth::{Client, TokenEndpoint, TokenErrorKind, endpoint_key};

use crate::support::loopback;
use crate::support::scripted::{GOOD, Server, credential, discovering, fetch, http, ok};

/// A server whose document, found at `at` alone, names `issuer` (relative to it) and its `/token`.
async fn issuing(at: &'static str, issuer: &'static str) -> Server {
    Server::start(move |request| {
        let host = request
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        let target = request.split(' ').nth(1).unwrap();
        match target {
            "/token" => ok(GOOD),
            _ if target == at => {
                let document = serde_json::json!({
                    "issuer": format!("http://{host}{issuer}"),
                    "token_endpoint": format!("http://{host}/token"),
                });
                ok(&document.to_string())
            }
            "/.well-known/oauth-authorization-server/realms/x" => ok("<html>not here</html>"),
            _ => http("404 Not Found", "", "{}"),
        }
    })
    .await
}

#[tokio::test]
async fn discovery_tries_each_place_once_and_remembers() {
    const LAST: &str = "/realms/x/.well-known/oauth-authorization-server";
    let server = issuing(LAST, "/realms/x").await;
    let client = Client::new(&discovering(&server.url("/realms/x"))).unwrap();
    for _ in 0..2 {
        let token = client.request().await.unwrap();
        assert_eq!(token.access_token.expose(), "tok");
    }
    assert_eq!(
        server.targets(),
        [
            "GET /.well-known/oauth-authorization-server/realms/x HTTP/1.1",
            "GET /realms/x/.well-known/openid-configuration HTTP/1.1",
            "GET /realms/x/.well-known/oauth-authorization-server HTTP/1.1",
            "POST /token HTTP/1.1",
            "POST /token HTTP/1.1",
        ]
    );
    let asked = &server.requests()[0];
    assert!(!asked.contains("authorization:"), "no secret: {asked}");
}

#[tokio::test]
async fn a_document_of_another_issuer_is_refused() {
    const FIRST: &str = "/.well-known/oauth-authorization-server";
    for (issuer, slash) in [("/", true), ("/other", false)] {
        let server = issuing(FIRST, issuer).await;
        let error = fetch(&discovering(&server.url(""))).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse);
        let said = error.message.contains("differ only in the last /");
        assert_eq!(said, slash, "{error}");
        assert_eq!(server.requests().len(), 1, "no secret goes anywhere");
    }
}

#[tokio::test]
async fn an_issuer_without_a_document_says_what_was_tried() {
    let down = Server::start(|request| {
        if request.contains("openid") {
            http("503 Busy", "retry-after: 9\r\n", "")
        } else {
            http("301 Moved", "location: /elsewhere\r\n", "")
        }
    });
    let server = down.await;
    let error = fetch(&discovering(&server.url("/"))).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::ServerError);
    assert_eq!(error.retry_after, Some(Duration::from_secs(9)));
    for what in [
        "/.well-known/oauth-authorization-server answered 301, which is not followed",
        "/.well-known/openid-configuration answered 503",
    ] {
        assert!(error.message.contains(what), "{error}");
    }
    assert_eq!(server.requests().len(), 2);

    let error = fetch(&discovering(&format!("http://{}", loopback()))).await;
    assert_eq!(error.unwrap_err().kind, TokenErrorKind::Unreachable);
}

#[tokio::test]
async fn a_failing_fetch_does_not_read_a_recent_document_again() {
    const FIRST: &str = "/.well-known/oauth-authorization-server";
    let server = Server::start(|request| {
        let host = request
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        if request.starts_with("GET") {
            ok(&format!(
                r#"{{"issuer":"http://{host}","token_endpoint":"http://{host}/token"}}"#
            ))
        } else {
            http("500 Oops", "", "")
        }
    })
    .await;
    let client = Client::new(&discovering(&server.url(""))).unwrap();
    for _ in 0..3 {
        let error = client.request().await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::ServerError);
    }
    let get = format!("GET {FIRST} HTTP/1.1");
    let post = "POST /token HTTP/1.1";
    assert_eq!(server.targets(), [&*get, post, post, post]);
}

#[test]
fn the_gate_key_is_the_endpoint_without_its_query() {
    let key = |url: &str| endpoint_key(&credential(url));
    assert_eq!(key("https://a.example:443/t?x=1"), "https://a.example/t");
    assert_eq!(key("https://a.example:8443/t"), "https://a.example:8443/t");
    assert_ne!(key("https://a.example/t"), key("https://a.example/u"));
    let issuer = endpoint_key(&discovering("https://a.example/realms/x"));
    assert_eq!(issuer, "https://a.example/realms/x");
}
