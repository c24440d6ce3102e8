//! Tokens bound to a key: proofs at the token endpoint and on every proxied request (RFC 9449).

mod clock;
mod nonce;
mod rotation;
mod uploads;

use http::Method;

use crate::support::api::{Api, Seen};
use crate::support::client::{self, http2, read, request, streaming};
use crate::support::dpop::{Issuer, Referee, guard};
use crate::support::idp::Idp;
use crate::support::server::{Body, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, protected, smallest, with_patience};

/// The API, called by the host it is sent.
fn judged(issuer: &Issuer, referee: &Referee, seen: &Seen) -> http::Response<Body> {
    let path = seen.target.split('?').next().unwrap();
    let url = format!("http://{}{path}", seen.host);
    guard(issuer, referee, &seen.method, &url, &seen.headers)
}

/// An API for tokens of this issuer, with a referee of its own.
fn guarded(issuer: &Issuer) -> (Api, Referee) {
    let referee = Referee::default();
    let (theirs, judging) = (issuer.clone(), referee.clone());
    let api = Api::start(move |seen| judged(&theirs, &judging, seen));
    (api, referee)
}

/// One upstream `api` below `/v2`, one credential; both with more lines.
fn config(api: &Api, issuer: &Issuer, upstream: &str, credential: &str) -> String {
    let url = format!("{}/v2", api.url());
    protected(&url, &issuer.endpoint(), upstream, credential)
}

async fn status(sidebearer: &Sidebearer, path: &str) -> u16 {
    client::get(sidebearer.address(), path).await.status
}

#[tokio::test]
async fn every_request_proves_that_the_token_is_ours() {
    for http in ["1.1", "2"] {
        let issuer = Issuer::start();
        let (api, referee) = guarded(&issuer);
        let upstream = format!("http = \"{http}\"");
        let sidebearer = Sidebearer::start(&config(&api, &issuer, &upstream, "dpop = true"));
        // The path as it is forwarded counts, less its query, with escapes as they are sent.
        let paths = [
            "/",
            "/a/b?c=d#e",
            "/%41%2f?x",
            "/;p=1/~",
            "//x",
            "/a%20b",
            "/?",
        ];
        for path in paths {
            assert_eq!(
                status(&sidebearer, path.split('#').next().unwrap()).await,
                200,
                "{path}"
            );
        }
        let methods = [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];
        for method in methods.clone() {
            let request = request(method.clone(), "/orders", "body");
            let answer = client::send(sidebearer.address(), request).await;
            assert_eq!(answer.status, 200, "{method}");
        }
        assert_eq!(referee.accepted(), paths.len() + methods.len());
        assert_eq!(issuer.issued(), 1);
        assert!(
            api.seen()
                .iter()
                .all(|seen| seen.authorization() == "DPoP token-1")
        );
    }
}

#[tokio::test]
async fn a_proof_names_the_host_that_is_sent() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    let upstream = "host = \"api.example.com:8443\"";
    let sidebearer = Sidebearer::start(&config(&api, &issuer, upstream, "dpop = true"));
    let mut connection = http2(sidebearer.address()).await;
    let answer = connection.send_request(streaming(Method::GET, "/x", whole("")));
    assert_eq!(read(answer.await.unwrap()).await.unwrap().status, 200);
    assert_eq!(api.seen()[0].host, "api.example.com:8443");
    assert_eq!(referee.accepted(), 1);
}

#[tokio::test]
async fn a_proof_of_the_client_goes_nowhere() {
    let issuer = Issuer::start();
    let (api, _) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    let mut forged = request(Method::GET, "/", "");
    for value in ["forged", "again"] {
        forged.headers_mut().append("DPoP", value.parse().unwrap());
    }
    forged
        .headers_mut()
        .append("connection", "dpop".parse().unwrap());
    let answer = client::send(sidebearer.address(), forged).await;
    assert_eq!(answer.status, 200, "the one proof that arrives is ours");

    // Beside a bearer token it would be taken for one of ours too.
    let (idp, open) = (Idp::start(), Api::open());
    let sidebearer = Sidebearer::start(&smallest(&open, &idp));
    let mut forged = request(Method::GET, "/", "");
    forged
        .headers_mut()
        .append("dpop", "forged".parse().unwrap());
    assert_eq!(client::send(sidebearer.address(), forged).await.status, 200);
    assert!(!open.seen()[0].headers.contains_key("dpop"));

    // Where no token is injected, it is part of what the client says by itself.
    let own = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\n[upstreams.api]\nurl = \"{}\"\n",
        open.url()
    );
    let sidebearer = Sidebearer::start(&own);
    let mut theirs = request(Method::GET, "/", "");
    theirs
        .headers_mut()
        .append("dpop", "theirs".parse().unwrap());
    theirs
        .headers_mut()
        .append("authorization", "DPoP t".parse().unwrap());
    assert_eq!(client::send(sidebearer.address(), theirs).await.status, 200);
    assert_eq!(open.seen()[1].header("dpop"), "theirs");
}

#[tokio::test]
async fn a_bearer_token_is_not_good_enough_unless_binding_is_optional() {
    let issuer = Issuer::start();
    issuer.call_them("Bearer");
    let api = Api::open();
    let sidebearer = Sidebearer::start(&config(
        &api,
        &issuer,
        "",
        "dpop = true\nacquire_timeout = \"1s\"",
    ));
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "token_unavailable")
    );
    let expected = "a Bearer token where dpop = true asks for one that is bound";
    eventually("it is told", async || {
        let error = &sidebearer.status().await["credentials"]["api"]["last_error"];
        let message = error["message"].as_str();
        message.is_some_and(|message| message.contains(expected))
    })
    .await;
    assert!(api.seen().is_empty());

    let optional = "dpop = \"optional\"";
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", optional));
    assert_eq!(status(&sidebearer, "/").await, 200);
    let seen = api.seen().remove(0);
    assert!(seen.authorization().starts_with("Bearer token-"));
    assert!(!seen.headers.contains_key("dpop"));

    issuer.call_them("dpop");
    let (api, referee) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", optional));
    assert_eq!(status(&sidebearer, "/").await, 200);
    assert_eq!(referee.accepted(), 1);
}

#[tokio::test]
async fn a_bound_token_that_nobody_asked_for_is_a_failure() {
    let (idp, api) = (Idp::start(), Api::open());
    let body = r#"{"access_token":"t","token_type":"DPoP","expires_in":60}"#;
    idp.behave(crate::support::idp::Behaviour::Answers(
        200,
        body.to_owned(),
    ));
    let sidebearer = Sidebearer::start(&with_patience(&smallest(&api, &idp), "1s"));
    assert_eq!(status(&sidebearer, "/").await, 503);
    let error = &sidebearer.status().await["credentials"]["api"]["last_error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("a DPoP token, which nobody asked for"),
        "{message}"
    );
}

#[tokio::test]
async fn a_rejected_bound_token_is_renewed_with_a_proof_of_the_new_one() {
    let issuer = Issuer::start();
    let (api, _) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&sidebearer, "/").await, 200);
    issuer.revoke_all();
    // No fetch begins within half a second of a success.
    crate::support::eventually("renewed", async || status(&sidebearer, "/").await == 200).await;
    assert_eq!(issuer.issued(), 2);
    assert_eq!(api.seen().last().unwrap().authorization(), "DPoP token-2");
    let rejections = r#"sidebearer_token_rejections_total{credential="api"}"#;
    assert_eq!(sidebearer.metric(rejections).await, 1.0);
}

#[tokio::test]
async fn an_upgrade_proves_it_too() {
    let issuer = Issuer::start();
    let (theirs, referee) = (issuer.clone(), Referee::default());
    let judging = referee.clone();
    let api = Api::start(move |seen| {
        let answer = judged(&theirs, &judging, seen);
        match answer.status().as_u16() {
            200 => {
                let mut switched = response(101, "");
                let headers = switched.headers_mut();
                headers.insert("connection", "upgrade".parse().unwrap());
                headers.insert("upgrade", "echo".parse().unwrap());
                switched
            }
            _ => answer,
        }
    });
    referee.want("upgrades-need-it-too");
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    let mut upgrade = streaming(Method::GET, "/socket", whole(""));
    upgrade
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    upgrade
        .headers_mut()
        .insert("upgrade", "echo".parse().unwrap());
    let mut connection = client::http1(sidebearer.address()).await;
    let answer = connection.send_request(upgrade).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(referee.accepted(), 1);
}

#[tokio::test]
async fn extended_connect_proves_it_with_its_own_method() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "http = \"2\"", "dpop = true"));
    let stream = tokio::net::TcpStream::connect(sidebearer.address()).await;
    let (mut sender, connection) = h2::client::handshake(stream.unwrap()).await.unwrap();
    tokio::spawn(connection);
    crate::support::eventually("it takes extended CONNECT", async || {
        sender.is_extended_connect_protocol_enabled()
    })
    .await;
    let mut connect = http::Request::new(());
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = http::Uri::from_static("http://localhost/socket");
    let websocket = h2::ext::Protocol::from_static("websocket");
    connect.extensions_mut().insert(websocket);
    let (answer, _sending) = sender.send_request(connect, false).unwrap();
    let _: &h2::SendStream<bytes::Bytes> = &_sending;
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(api.seen()[0].method, "CONNECT");
    assert_eq!(referee.accepted(), 1);
}
