//! How much may be asked for: requests over time, requests at once, tunnels at once.

mod reloads;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::api::Api;
use crate::support::client::{self, http1, http2, streaming};
use crate::support::server::{self, fed, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually};

const REFUSED: &str =
    r#"sidebearer_errors_total{error="rate_limited",listener="app",upstream="api"}"#;

/// One route to `url` with these limits.
fn config(url: &str, limits: &str) -> String {
    let any = any_port();
    format!(
        r#"
[server]
workers = 2

[[listeners]]
name = "app"
address = "{any}"

[[routes]]
upstream = "api"
limits = {{ {limits} }}

[upstreams.api]
url = "{url}"
"#
    )
}

/// An API that counts what arrives, and answers once it is let go.
fn holding() -> (SocketAddr, Arc<AtomicUsize>, Arc<Semaphore>) {
    let (arrived, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, hold) = (Arc::clone(&arrived), Arc::clone(&gate));
    let address = server::serve(None, move |_| {
        let (count, hold) = (Arc::clone(&count), Arc::clone(&hold));
        async move {
            count.fetch_add(1, SeqCst);
            hold.acquire().await.unwrap().forget();
            response(200, "ok")
        }
    });
    (address, arrived, gate)
}

/// Sends this many requests at once, over many connections of both versions; the statuses as they come.
async fn flood(address: SocketAddr, count: usize) -> JoinSet<(u16, Option<String>)> {
    let mut asked = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(http2(address).await);
    }
    for number in 0..count {
        let get = streaming(Method::GET, "/", whole(""));
        if number % 5 == 0 {
            let mut connection = http1(address).await;
            asked.spawn(async move { status(connection.send_request(get).await) });
        } else {
            let sent = connections[number % 4].send_request(get);
            asked.spawn(async move { status(sent.await) });
        }
    }
    asked
}

fn status<B>(answer: hyper::Result<Response<B>>) -> (u16, Option<String>) {
    let answer = answer.unwrap();
    let after = answer.headers().get("retry-after");
    let after = after.map(|after| after.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after)
}

#[tokio::test]
async fn no_more_requests_are_in_progress_than_allowed_whatever_their_connections() {
    const LIMIT: usize = 7;
    const ALL: usize = 60;
    let (api, arrived, gate) = holding();
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), "concurrent = 7"));
    for round in 1..=3 {
        let mut asked = flood(sidebearer.address(), ALL).await;
        for _ in 0..ALL - LIMIT {
            let (status, after) = asked.join_next().await.unwrap().unwrap();
            assert_eq!((status, after.as_deref()), (429, Some("1")));
        }
        eventually("all that may have arrived", async || {
            arrived.load(SeqCst) == round * LIMIT
        })
        .await;
        gate.add_permits(LIMIT);
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap(), (200, None));
        }
        eventually("the places are free again", async || {
            let counted = r#"sidebearer_requests_total{code="200",listener="app",upstream="api"}"#;
            sidebearer.metric(counted).await == (round * LIMIT) as f64
        })
        .await;
    }
    let refused = 3 * (ALL - LIMIT);
    assert_eq!(sidebearer.metric(REFUSED).await, refused as f64);
}

#[tokio::test]
async fn a_burst_is_counted_exactly_over_all_threads() {
    let api = Api::open();
    let limits = "requests_per_second = 1, burst = 40";
    let sidebearer = Sidebearer::start(&config(&api.url(), limits));
    let begun = Instant::now();
    let answers = flood(sidebearer.address(), 200).await.join_all().await;
    let served = answers.iter().filter(|(status, _)| *status == 200).count();
    // One more comes with each second that this takes.
    let most = 40 + begun.elapsed().as_secs() as usize + 1;
    assert!((40..=most).contains(&served), "{served}");
    assert_eq!(api.seen().len(), served, "what is refused reaches nobody");
    let refused = answers
        .iter()
        .filter(|answer| *answer == &(429, Some("1".to_owned())));
    assert_eq!(refused.count() + served, 200);
}

#[tokio::test]
async fn a_place_is_held_until_the_end_of_the_body_and_free_whatever_that_is() {
    let (feeds, mut fed_bodies) = tokio::sync::mpsc::unbounded_channel();
    let api = server::serve(None, move |_| {
        let feeds = feeds.clone();
        async move {
            let (feed, body) = fed();
            feeds.send(feed).unwrap();
            Response::new(body)
        }
    });
    let url = format!("http://{api}");
    let sidebearer = Sidebearer::start(&config(&url, "concurrent = 1"));
    let address = sidebearer.address();
    for end in ["whole", "broken off", "client gone", "stream reset"] {
        let get = || streaming(Method::GET, "/", whole(""));
        let mut over_http1 = http1(address).await;
        let mut over_http2 = http2(address).await;
        let answer = if end == "stream reset" {
            over_http2.send_request(get()).await.unwrap()
        } else {
            over_http1.send_request(get()).await.unwrap()
        };
        assert_eq!(answer.status(), 200, "{end}");
        let feed = fed_bodies.recv().await.unwrap();
        feed.send(Ok(Frame::data("some".into()))).await.unwrap();
        assert_eq!(client::get(address, "/").await.status, 429, "{end}");
        match end {
            "whole" => {
                drop(feed);
                answer.into_body().collect().await.unwrap();
            }
            "broken off" => {
                feed.send(Err(std::io::Error::other("broken off")))
                    .await
                    .unwrap();
                assert!(answer.into_body().collect().await.is_err());
            }
            _ => drop((answer, over_http1)),
        }
        eventually("the place is free again", async || {
            let answer = http1(address).await.send_request(get()).await.unwrap();
            if answer.status() == 429 {
                return false;
            }
            drop(fed_bodies.recv().await.unwrap());
            answer.into_body().collect().await.unwrap();
            true
        })
        .await;
        // That was a request too.
        drop(over_http2);
    }
}

const KEYS: [(&str, &str); 2] = [
    ("billing", "billing-0123456789abcdef0123456789abcdef"),
    ("search", "search-0123456789abcdef0123456789abcdef"),
];

#[tokio::test]
async fn each_caller_has_limits_of_its_own_and_the_audit_names_it() {
    let (api, arrived, gate) = holding();
    let any = any_port();
    let dir = tempfile::tempdir().unwrap();
    for (name, key) in KEYS {
        std::fs::write(dir.path().join(name), key).unwrap();
    }
    let text = format!(
        r#"
[audit]
file = "audit.jsonl"

[callers."*"]
limits = {{ concurrent = 1 }}

[callers.billing]
key = {{ file = "billing" }}
limits = {{ concurrent = 2 }}

[callers.search]
key = {{ file = "search" }}

[[listeners]]
name = "app"
address = "{any}"
upstream = "api"
callers = ["*"]

[upstreams.api]
url = "http://{api}"
"#
    );
    let sidebearer = Sidebearer::start_in(dir, &text);
    let address = sidebearer.address();
    let mut asked = JoinSet::new();
    let ask = |key: &str| {
        let mut get = streaming(Method::GET, "/", whole(""));
        let value = format!("Bearer {key}").parse().unwrap();
        get.headers_mut().insert("authorization", value);
        async move { status(http1(address).await.send_request(get).await) }
    };
    for (_, key) in KEYS {
        for _ in 0..2 {
            asked.spawn(ask(key));
        }
    }
    let refused = asked.join_next().await.unwrap().unwrap();
    assert_eq!(refused, (429, Some("1".to_owned())), "one of search");
    eventually("the others arrive", async || arrived.load(SeqCst) == 3).await;
    let status = sidebearer.status().await;
    let shown = [("billing", 2, 2), ("search", 1, 1)].map(|(caller, limit, used)| {
        let caller = &status["callers"][caller];
        let expected = json!({
            "requests": caller["requests"],
            "rate_limited": caller["rate_limited"],
            "limits": { "concurrent": limit },
            "in_use": { "requests": used, "tunnels": 0 },
        });
        *caller == expected
    });
    assert_eq!(shown, [true, true], "{status}");
    assert_eq!(ask(KEYS[0].1).await.0, 429);
    gate.add_permits(3);
    assert!(asked.join_all().await.iter().all(|answer| answer.0 == 200));
    eventually("all are in the audit", async || {
        let text = std::fs::read_to_string(sidebearer.dir().join("audit.jsonl")).unwrap();
        let count = |caller: &str, decision: &str| {
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let is_one = |record: &serde_json::Value| {
                record["caller"] == caller
                    && record["means"] == "key"
                    && record["decision"] == decision
            };
            lines.filter(is_one).count()
        };
        let counts = [
            count("billing", "allowed"),
            count("billing", "denied"),
            count("search", "allowed"),
            count("search", "denied"),
        ];
        assert!(!text.contains("0123456789abcdef"), "{text}");
        counts == [2, 1, 1, 1]
    })
    .await;
}

#[tokio::test]
async fn what_the_limit_of_a_route_refuses_is_not_taken_from_the_rate_of_the_caller() {
    let api = Api::open();
    let (name, key) = KEYS[0];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), key).unwrap();
    let caller = format!(
        "[callers.{name}]\nkey = {{ file = \"{name}\" }}\n\
         limits = {{ requests_per_second = 1, burst = 20 }}\n"
    );
    let limited = "path = \"/limited\"\nlimits = { requests_per_second = 1, burst = 1 }";
    let text = config(&api.url(), "requests_per_second = 1000, burst = 1000")
        .replace("\n[[routes]]", "callers = [\"*\"]\n\n[[routes]]")
        .replace(
            "[upstreams.api]",
            &format!("[[routes]]\nupstream = \"api\"\n{limited}\n\n{caller}\n[upstreams.api]"),
        );
    let sidebearer = Sidebearer::start_in(dir, &text);
    let begun = Instant::now();
    let ask = async |path: &str| {
        let mut get = streaming(Method::GET, path, whole(""));
        let value = format!("Bearer {key}").parse().unwrap();
        get.headers_mut().insert("authorization", value);
        let answer = http1(sidebearer.address()).await.send_request(get).await;
        status(answer).0
    };
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(ask("/limited").await == 429);
    }
    let mut served = 100 - refused;
    for _ in 0..100 {
        served += usize::from(ask("/").await == 200);
    }
    // One more comes with each second that this takes.
    let most = 20 + begun.elapsed().as_secs() as usize + 1;
    assert!(refused > 50, "{refused}");
    assert!((20..=most).contains(&served), "{served} of {most}");
}

#[tokio::test]
async fn a_refusal_says_whose_limit_it_is_and_no_name() {
    let (api, arrived, gate) = holding();
    let url = format!("http://{api}");
    let sidebearer = Sidebearer::start(&config(&url, "concurrent = 1"));
    let mut asked = flood(sidebearer.address(), 1).await;
    eventually("it has arrived", async || arrived.load(SeqCst) == 1).await;
    let refusal = client::get(sidebearer.address(), "/").await;
    assert_eq!(refusal.code(), "rate_limited");
    assert_eq!(refusal.header("retry-after"), "1");
    let detail = refusal.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        detail,
        "requests in progress: the limit of the route (concurrent) is 1; send fewer at once"
    );
    let call = Request::post("/a.B/C").header("content-type", "application/grpc");
    let mut connection = http2(sidebearer.address()).await;
    let call = call.header("te", "trailers").uri("http://localhost/a.B/C");
    let refusal = connection
        .send_request(call.body(whole("")).unwrap())
        .await
        .unwrap();
    assert_eq!(refusal.headers()["grpc-status"], "8");
    assert_eq!(refusal.headers()["retry-after"], "1");
    gate.add_permits(1);
    assert_eq!(asked.join_next().await.unwrap().unwrap().0, 200);
}
