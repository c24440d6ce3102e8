//! What an operator can ask: health, metrics, status, reload; and the page that shows it.

mod events;
mod page;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::api::Api;
use crate::support::client::{self, Answer, get, request};
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::Process;
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, any_port, eventually, loopback, smallest};

const REFUSES: &str = r#"{"error":"invalid_client"}"#;

/// Two more credentials of the same server, with these lines.
fn with_credentials(api: &Api, idp: &Idp, lines: &[(&str, &str)]) -> String {
    let mut config = smallest(api, idp);
    for (name, lines) in lines {
        config += &format!(
            "[[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\n\
             [upstreams.{name}]\nurl = \"{}\"\ncredential = \"{name}\"\n\
             [credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"{name}\"\n\
             client_secret = {{ file = \"secret\" }}\n{lines}\n",
            api.url(),
            idp.endpoint(),
        );
    }
    config
}

async fn page(sidebearer: &Sidebearer, path: &str) -> (u16, Value) {
    let answer = get(sidebearer.admin(), path).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn ready_is_who_holds_every_required_token() {
    let (api, idp, other) = (Api::open(), Idp::start(), Idp::start());
    other.behave(Behaviour::Answers(401, REFUSES.to_owned()));
    let config = with_credentials(
        &api,
        &other,
        &[
            ("optional", "required = false"),
            ("idle", "refresh = \"lazy\"\nacquire_timeout = \"1s\""),
        ],
    );
    // The one that is required comes from the server that gives tokens.
    let config = config.replacen(&other.endpoint(), &idp.endpoint(), 1);
    let sidebearer = Sidebearer::start(&config);
    sidebearer.ready().await;

    let (status, ready) = page(&sidebearer, "/readyz").await;
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)));
    assert_eq!(ready["credentials"]["api"]["ready"], true);
    assert_eq!(ready["credentials"]["idle"]["ready"], true);
    assert_eq!(ready["credentials"]["optional"]["required"], false);
    assert!(ready["listeners"]["app"]["address"].is_string(), "{ready}");
    eventually("the optional one has failed", async || {
        page(&sidebearer, "/readyz").await.1["credentials"]["optional"]["ready"] == false
    })
    .await;
    assert_eq!(page(&sidebearer, "/readyz").await.0, 200);

    // The lazy one counts as ready until a fetch fails.
    assert_eq!(get(sidebearer.address(), "/idle").await.status, 503);
    let (status, ready) = page(&sidebearer, "/readyz").await;
    assert_eq!(
        (status, &ready["ready"]),
        (503, &Value::Bool(false)),
        "{ready}"
    );
    let idle = &ready["credentials"]["idle"];
    assert_eq!(idle["ready"], false);
    assert!(
        idle["error"].as_str().unwrap().contains("invalid_client"),
        "{ready}"
    );
    // Once started, always started.
    assert_eq!(page(&sidebearer, "/startupz").await.0, 200);
    assert_eq!(page(&sidebearer, "/livez").await.0, 200);
}

#[tokio::test]
async fn a_required_credential_that_fails_is_named() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Answers(401, REFUSES.to_owned()));
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    for path in ["/readyz", "/startupz"] {
        eventually("the failure is told", async || {
            let (status, ready) = page(&sidebearer, path).await;
            assert_eq!((status, &ready["ready"]), (503, &Value::Bool(false)));
            let error = ready["credentials"]["api"]["error"].as_str();
            error.is_some_and(|error| error.contains("invalid_client"))
        })
        .await;
    }
    assert_eq!(page(&sidebearer, "/livez").await.0, 200);
}

#[tokio::test]
async fn a_credential_that_a_reload_brings_counts_after_its_first_success() {
    let (api, idp, other) = (Api::open(), Idp::start(), Idp::start());
    other.behave(Behaviour::Answers(401, REFUSES.to_owned()));
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let added = with_credentials(&api, &other, &[("added", "")]);
    let added = added.replacen(&other.endpoint(), &idp.endpoint(), 1);
    sidebearer.reconfigure(&added).await.unwrap();
    assert!(other.requests() > 0);
    let (status, ready) = page(&sidebearer, "/readyz").await;
    assert_eq!(status, 200, "{ready}");
    assert!(ready["credentials"]["added"].is_object(), "{ready}");

    // From its first token on it is waited for like any other. That one serves for 6 s, so that it is seen.
    other.behave(Behaviour::Healthy);
    other.set_lifetime(7);
    sidebearer.reload().await.unwrap();
    eventually("the first token", async || {
        let (status, ready) = page(&sidebearer, "/readyz").await;
        assert_eq!(status, 200, "{ready}");
        ready["credentials"]["added"]["state"] == "valid"
    })
    .await;
    other.behave(Behaviour::Answers(401, REFUSES.to_owned()));
    eventually("not ready", async || {
        page(&sidebearer, "/readyz").await.0 == 503
    })
    .await;
}

#[tokio::test]
async fn status_shows_what_is_served() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let status = sidebearer.status().await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["ready"], true);
    assert_eq!(status["draining"], false);
    assert_eq!(status["reload"]["outcome"], "success");
    assert!(status["listeners"]["app"]["address"].is_string());
    assert_eq!(status["routes"][0]["upstream"], "api");
    assert_eq!(status["upstreams"]["api"]["credential"], "api");
    let credential = &status["credentials"]["api"];
    for key in ["state", "next_attempt"] {
        assert!(!credential[key].is_null(), "{key} in {status}");
    }
    let times = ["issued_at", "refresh_at", "usable_until", "expires_at"];
    let times = times.map(|key| credential[key].as_u64().expect(key));
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[3] - times[0], 3600);
    assert_eq!(credential["server"], idp.endpoint());
    assert_eq!(credential["required"], true);
    let started = status["started_at"].as_u64().unwrap();
    assert!(started <= times[0] && times[0] <= status["time"].as_u64().unwrap());

    let generation = status["snapshot"]["generation"].as_u64().unwrap();
    let reloaded = client::post(sidebearer.admin(), "/reload", "").await;
    assert_eq!(
        (reloaded.status, &reloaded.json()["reloaded"]),
        (200, &Value::Bool(true))
    );
    let status = sidebearer.status().await;
    assert_eq!(status["snapshot"]["generation"], generation + 1);
}

#[tokio::test]
async fn status_counts_the_requests_of_listeners_and_upstreams() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    let mut foreign = request(Method::GET, "/", "");
    let host = http::HeaderValue::from_static("foreign.example");
    foreign.headers_mut().insert("host", host);
    let refused = client::send(sidebearer.address(), foreign).await;
    assert_eq!(refused.status, 404);
    let mut status = Value::Null;
    eventually("the request has ended", async || {
        status = sidebearer.status().await;
        status["upstreams"]["api"]["duration"]["count"] == 1
    })
    .await;
    let upstream = &status["upstreams"]["api"];
    assert_eq!(upstream["responses"]["2xx"], 1);
    assert!(upstream["connections"]["idle"].is_u64(), "{upstream}");
    let slowest = upstream["duration"]["buckets"].as_array().unwrap();
    assert_eq!(slowest.last().unwrap(), &serde_json::json!([60.0, 1]));
    let listener = &status["listeners"]["app"];
    assert_eq!(listener["responses"]["2xx"], 1);
    assert_eq!(listener["errors"]["no_route"], 1);
}

#[tokio::test]
async fn the_last_refused_reload_stays_known_when_a_good_one_follows() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = smallest(&api, &idp);
    let sidebearer = Sidebearer::start(&config);
    assert!(sidebearer.status().await["reload"]["last_refused"].is_null());
    let loaded = &sidebearer.status().await["snapshot"]["loaded_at"];
    let refused = sidebearer.reconfigure("[[listener]]\n").await;
    let text = refused.unwrap_err().to_string();
    sidebearer.reconfigure(&config).await.unwrap();
    let status = sidebearer.status().await;
    assert_eq!(status["reload"]["outcome"], "success");
    assert_eq!(status["reload"]["last_refused"]["text"], text);
    assert!(status["snapshot"]["loaded_at"].as_u64() >= loaded.as_u64());
}

#[tokio::test]
async fn a_refused_reload_says_why_on_every_channel() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.write("sidebearer.toml", "[[listener]]\n");
    let refused = client::post(sidebearer.admin(), "/reload", "").await;
    assert_eq!(refused.status, 422);
    let body = refused.json();
    assert_eq!(body["reloaded"], false);
    assert!(
        body["text"].as_str().unwrap().contains("did you mean"),
        "{body}"
    );
    let status = sidebearer.status().await;
    assert_eq!(status["reload"]["outcome"], "failure");
    assert_eq!(status["reload"]["diagnostics"], body["diagnostics"]);
    let failures = r#"sidebearer_config_reloads_total{outcome="failure"}"#;
    assert!(sidebearer.metric(failures).await >= 1.0);
    let in_place = "sidebearer_config_last_reload_successful";
    assert_eq!(sidebearer.metric(in_place).await, 0.0);
    assert_eq!(get(sidebearer.address(), "/").await.status, 200);
}

fn assert_plain(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_no_cors(answer);
}

/// No page of another site may read it.
fn assert_no_cors(answer: &Answer) {
    let cors = answer
        .headers
        .keys()
        .any(|name| name.as_str().starts_with("access-control"));
    assert!(!cors, "{answer:?}");
}

#[tokio::test]
async fn other_pages_and_methods_are_refused_without_cors() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let ask = async |method: Method, path: &str| {
        let mut request = request(method, path, "");
        let origin = http::HeaderValue::from_static("http://localhost");
        request.headers_mut().insert("origin", origin);
        let answer = client::send(sidebearer.admin(), request).await;
        assert_plain(&answer);
        answer
    };
    for path in ["/index.html", "/livezz", "/status/", "/metrics/x", "/debug"] {
        assert_eq!(ask(Method::GET, path).await.status, 404, "{path}");
    }
    for (method, path, allowed) in [
        (Method::POST, "/livez", "GET, HEAD"),
        (Method::DELETE, "/metrics", "GET, HEAD"),
        (Method::OPTIONS, "/status", "GET, HEAD"),
        (Method::POST, "/", "GET, HEAD"),
        (Method::POST, "/events", "GET, HEAD"),
        (Method::OPTIONS, "/reload", "POST"),
        (Method::GET, "/reload", "POST"),
        (Method::TRACE, "/livez", "GET, HEAD"),
        (Method::TRACE, "/reload", "POST"),
        (Method::TRACE, "/nowhere", ""),
    ] {
        let answer = ask(method, path).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, allowed),
            "{path}"
        );
    }
    for path in ["/livez", "/status"] {
        assert_eq!(ask(Method::GET, path).await.status, 200);
    }
    let reloads = r#"sidebearer_config_reloads_total{outcome="success"}"#;
    assert_eq!(sidebearer.metric(reloads).await, 0.0);
}

#[tokio::test]
async fn the_health_socket_has_health_and_metrics_only() {
    let (api, idp) = (Api::open(), Idp::start());
    // The address of this socket is not told.
    let port = loopback();
    let config = format!("[health]\naddress = \"{port}\"\n{}", smallest(&api, &idp));
    let process = Process::start(&config).await;
    eventually("ready", async || {
        get(process.admin(), "/readyz").await.status == 200
    })
    .await;
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        // Probes come with any name.
        let mut probe = request(Method::GET, path, "");
        probe
            .headers_mut()
            .insert("host", "pod.example".parse().unwrap());
        assert_eq!(client::send(port, probe).await.status, 200, "{path}");
    }
    for path in ["/status", "/reload", "/", "/events"] {
        for method in [Method::GET, Method::POST] {
            let answer = client::send(port, request(method, path, "")).await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.text().contains("status"), "{answer:?}");
        }
    }
}

/// A connection that asks for pages and reads none of them.
async fn never_reads(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    // More pages than the buffers of both sides take, by requests that those take.
    let many = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    stream.write_all(&many).await.unwrap();
    stream
}

#[tokio::test]
async fn who_holds_every_place_does_not_silence_the_pages() {
    let (api, idp) = (Api::open(), Idp::start());
    let health = loopback();
    let config = format!(
        "[admin]\naddress = \"{}\"\nheader_timeout = \"60s\"\n\
         [health]\naddress = \"{health}\"\nheader_timeout = \"60s\"\n{}",
        any_port(),
        smallest(&api, &idp)
    );
    let sidebearer = Sidebearer::start(&config);
    for address in [health, sidebearer.admin()] {
        for reads in [true, false] {
            let mut holding = Vec::new();
            for _ in 0..70 {
                holding.push(if reads {
                    TcpStream::connect(address).await.unwrap()
                } else {
                    never_reads(address).await
                });
            }
            // Sooner than any of them ends by itself.
            let alive = timeout(PATIENCE, get(address, "/livez")).await;
            assert_eq!(alive.expect("an answer").status, 200, "{address}");
        }
    }
}

#[tokio::test]
async fn a_page_that_nobody_reads_ends_its_connection() {
    let (api, idp) = (Api::open(), Idp::start());
    let any = any_port();
    let admin = format!("[admin]\naddress = \"{any}\"\nheader_timeout = \"1s\"\n");
    let sidebearer = Sidebearer::start(&(admin + &smallest(&api, &idp)));
    let begun = Instant::now();
    let mut stream = never_reads(sidebearer.admin()).await;
    let ended = timeout(PATIENCE, async {
        while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
    });
    assert!(ended.await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}
