//! What a 401 costs, and whom; and a cold start.

mod answers;
mod cold_start;
mod fresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::support::api::{Api, unauthorized};
use crate::support::client::{self, http1, http2, post, read, streaming};
use crate::support::idp::{Behaviour, Idp};
use crate::support::server::{self, fed, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, protected};

/// One upstream `api` with a credential; `upstream` and `credential` are more lines of their tables.
fn config(url: &str, idp: &Idp, upstream: &str, credential: &str) -> String {
    protected(url, &idp.endpoint(), upstream, credential)
}

async fn holding_token_1(config: &str) -> Sidebearer {
    let sidebearer = Sidebearer::start(config);
    sidebearer.ready().await;
    sidebearer
}

fn is_old(authorization: &str) -> bool {
    authorization == "Bearer token-1"
}

#[tokio::test]
async fn a_burst_of_rejections_causes_one_fetch_and_every_request_succeeds() {
    const BURST: usize = 1000;
    let idp = Idp::start();
    // All are rejected at once, when the last has arrived.
    let (arrived, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let address = server::serve(None, move |request| {
        let (arrived, all) = (Arc::clone(&arrived), Arc::clone(&all));
        async move {
            if request.headers()["authorization"] != "Bearer token-1" {
                return response(200, "ok");
            }
            if arrived.fetch_add(1, SeqCst) + 1 == BURST {
                all.add_permits(BURST);
            }
            all.acquire().await.unwrap().forget();
            unauthorized("Bearer error=\"invalid_token\"")
        }
    });
    let url = format!("http://{address}");
    let sidebearer = holding_token_1(&config(&url, &idp, "http = \"2\"", "")).await;

    let mut requests = JoinSet::new();
    for _ in 0..BURST / 100 {
        let mut connection = http2(sidebearer.address()).await;
        for _ in 0..100 {
            requests.spawn(connection.send_request(streaming(Method::GET, "/", whole(""))));
        }
    }
    while let Some(response) = requests.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    assert_eq!(idp.requests(), 2);
    let rejections = r#"sidebearer_token_rejections_total{credential="api"}"#;
    assert_eq!(sidebearer.metric(rejections).await, 1.0);
}

#[tokio::test]
async fn one_bad_upstream_costs_the_others_neither_their_token_nor_time() {
    let idp = Idp::start();
    let good = Api::protected_by(&idp);
    let bad = Api::start(|_| unauthorized("Bearer"));
    let mut config = config(&good.url(), &idp, "", "fetch_timeout = \"60s\"");
    config.push_str(&format!(
        "[upstreams.bad]\nurl = \"{}\"\ncredential = \"api\"\n[[routes]]\npath = \"/bad\"\nupstream = \"bad\"\n",
        bad.url()
    ));
    let sidebearer = holding_token_1(&config).await;
    idp.behave(Behaviour::Holds);

    let address = sidebearer.address();
    let rejected = tokio::spawn(async move { client::get(address, "/bad").await.status });
    eventually("the fetch hangs", async || idp.requests() == 2).await;
    for _ in 0..50 {
        assert_eq!(client::get(address, "/").await.status, 200);
    }
    assert!(!rejected.is_finished(), "it waits for the fetch");
    assert!(good.seen().iter().all(|seen| is_old(seen.authorization())));

    idp.let_go(1);
    assert_eq!(rejected.await.unwrap(), 401);
    assert_eq!(client::get(address, "/").await.status, 200);
    assert_eq!(
        good.seen().last().unwrap().authorization(),
        "Bearer token-2"
    );
}

#[tokio::test]
async fn a_body_that_could_be_kept_is_replayed_whole() {
    let limit = 64 * 1024;
    for (size, chunked) in [
        (limit, false),
        (limit, true),
        (0, false),
        (0, true),
        (1, true),
    ] {
        let idp = Idp::start();
        let api = Api::protected_by(&idp);
        let sidebearer = holding_token_1(&config(&api.url(), &idp, "", "")).await;
        idp.revoke_all();

        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let answer = upload(&sidebearer, body.clone(), chunked).await;

        assert_eq!(answer, 200, "{size} bytes, chunked: {chunked}");
        let seen = api.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.body == body));
        assert_eq!(seen[1].authorization(), "Bearer token-2");
    }
}

#[tokio::test]
async fn the_401_of_a_body_too_large_passes_and_the_next_request_has_a_new_token() {
    for chunked in [false, true] {
        let idp = Idp::start();
        let api = Api::protected_by(&idp);
        let sidebearer = holding_token_1(&config(&api.url(), &idp, "", "")).await;
        idp.revoke_all();

        let body = vec![b'x'; 64 * 1024 + 1];
        assert_eq!(upload(&sidebearer, body, chunked).await, 401);
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);

        let sent: Vec<_> = api
            .seen()
            .iter()
            .map(|s| s.authorization().to_owned())
            .collect();
        assert_eq!(sent, ["Bearer token-1", "Bearer token-2"], "{chunked}");
        assert_eq!(idp.requests(), 2);
    }
}

#[tokio::test]
async fn replay_buffer_says_how_much_can_be_replayed() {
    for (line, size, status) in [
        ("replay_buffer = \"1KiB\"", 1024, 200),
        ("replay_buffer = \"1KiB\"", 1025, 401),
        ("replay_buffer = \"0B\"", 1, 401),
        ("replay_buffer = \"0B\"", 0, 200),
        ("replay_buffer = \"128KiB\"", 128 * 1024, 200),
    ] {
        let idp = Idp::start();
        let api = Api::protected_by(&idp);
        let sidebearer = holding_token_1(&config(&api.url(), &idp, line, "")).await;
        idp.revoke_all();
        let answer = upload(&sidebearer, vec![b'x'; size], false).await;
        assert_eq!(answer, status, "{line}, {size} bytes");
    }
}

async fn upload(sidebearer: &Sidebearer, body: Vec<u8>, chunked: bool) -> u16 {
    if !chunked {
        return post(sidebearer.address(), "/", body).await.status;
    }
    let (feed, fed) = fed();
    let mut connection = http1(sidebearer.address()).await;
    let answer = connection.send_request(streaming(Method::POST, "/", fed));
    let feeding = async move {
        for chunk in body.chunks(10_000) {
            let chunk = Frame::data(chunk.to_vec().into());
            feed.send(Ok(chunk)).await.unwrap();
        }
    };
    tokio::join!(answer, feeding).0.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_upload_under_way_when_the_401_arrives_is_replayed_whole() {
    let idp = Idp::start();
    // Rejects before it has read the body.
    let address = server::serve(None, |request| async move {
        if request.headers()["authorization"] == "Bearer token-1" {
            return unauthorized("Bearer");
        }
        response(200, request.into_body().collect().await.unwrap().to_bytes())
    });
    let sidebearer = holding_token_1(&config(&format!("http://{address}"), &idp, "", "")).await;

    let (feed, body) = fed();
    let mut connection = http1(sidebearer.address()).await;
    let answer = tokio::spawn(connection.send_request(streaming(Method::POST, "/", body)));
    feed.send(Ok(Frame::data("first ".into()))).await.unwrap();
    eventually("the 401 has arrived", async || idp.requests() == 2).await;
    feed.send(Ok(Frame::data("second".into()))).await.unwrap();
    drop(feed);

    let answer = read(answer.await.unwrap().unwrap()).await.unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "first second")
    );
}

#[tokio::test]
async fn a_newer_token_that_is_there_already_is_used_without_a_fetch() {
    let idp = Idp::start();
    let (late, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let api = {
        let (late, go) = (Arc::clone(&late), Arc::clone(&go));
        server::serve(None, move |request| {
            let (late, go) = (Arc::clone(&late), Arc::clone(&go));
            async move {
                if request.headers()["authorization"] != "Bearer token-1" {
                    return response(200, "ok");
                }
                if request.uri().path() == "/late" {
                    late.notify_one();
                    go.notified().await;
                }
                unauthorized("Bearer")
            }
        })
    };
    let sidebearer = holding_token_1(&config(&format!("http://{api}"), &idp, "", "")).await;
    let address = sidebearer.address();
    let slow = tokio::spawn(async move { client::get(address, "/late").await.status });
    late.notified().await;
    assert_eq!(client::get(address, "/").await.status, 200);
    assert_eq!(idp.requests(), 2);
    go.notify_one();

    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(idp.requests(), 2);
}

#[tokio::test]
async fn when_the_fetch_brings_nothing_the_401_passes_and_the_token_serves_on() {
    let down = Behaviour::Answers(503, "down".to_owned());
    for useless in [down, Behaviour::SameAgain] {
        let idp = Idp::start();
        let api = Api::start(|seen| match seen.target.as_str() {
            "/rejected" => unauthorized("Bearer"),
            _ => response(200, "ok"),
        });
        let patience = "acquire_timeout = \"300ms\"";
        let sidebearer = holding_token_1(&config(&api.url(), &idp, "", patience)).await;
        idp.behave(useless.clone());

        let address = sidebearer.address();
        assert_eq!(client::get(address, "/rejected").await.status, 401);
        assert_eq!(client::get(address, "/").await.status, 200);

        assert!(api.seen().iter().all(|seen| is_old(seen.authorization())));
        assert_eq!(api.seen().len(), 2, "nothing was replayed");
        eventually("it was fetched", async || idp.requests() >= 2).await;
    }
}

#[tokio::test]
async fn the_handshake_of_an_upgrade_is_renewed_too() {
    let idp = Idp::start();
    let accepting = idp.clone();
    let api = server::serve(None, move |request| {
        let accepted = accepting.accepts(request.headers()["authorization"].to_str().unwrap());
        async move {
            if accepted {
                Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "echo")
                    .body(whole(""))
                    .unwrap()
            } else {
                unauthorized("Bearer")
            }
        }
    });
    let sidebearer = holding_token_1(&config(&format!("http://{api}"), &idp, "", "")).await;
    idp.revoke_all();

    let mut request = streaming(Method::GET, "/", whole(""));
    let headers = request.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "echo".parse().unwrap());
    let answer = http1(sidebearer.address())
        .await
        .send_request(request)
        .await;
    assert_eq!(answer.unwrap().status(), 101);
    assert_eq!(idp.requests(), 2);
}
