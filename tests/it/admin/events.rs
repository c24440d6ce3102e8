//! The status as a stream of server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::api::Api;
use crate::support::client::{get, post, request};
use crate::support::idp::{Behaviour, Idp};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, any_port, eventually, loopback, smallest};

/// As many as may be open.
const MOST: usize = 16;

/// One who watches, and what the events have told so far.
struct Watcher {
    _connection: SendRequest<Full<Bytes>>,
    body: Incoming,
    rest: String,
    status: Value,
}

async fn ask(address: SocketAddr) -> (SendRequest<Full<Bytes>>, Response<Incoming>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = request(Method::GET, "/events", "");
    let host = http::HeaderValue::from_static("localhost");
    request.headers_mut().insert("host", host);
    let response = sender.send_request(request).await.unwrap();
    (sender, response)
}

impl Watcher {
    async fn open(address: SocketAddr) -> Self {
        let (connection, response) = ask(address).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self {
            _connection: connection,
            body: response.into_body(),
            rest: String::new(),
            status: Value::Null,
        }
    }

    /// The name of the next event, once it has been taken in; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                if event.starts_with(':') {
                    continue;
                }
                let (name, data) = event.split_once('\n').unwrap();
                let data = data.strip_prefix("data: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                self.status = match &*name {
                    "status" => merge(&Value::Null, &data),
                    _ => merge(&self.status, &data),
                };
                return Some(name);
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("an event");
            let data = frame?.unwrap().into_data().unwrap();
            self.rest += std::str::from_utf8(&data).unwrap();
        }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) {
        while !holds(&self.status) {
            assert!(
                self.next().await.is_some(),
                "the stream ended before: {what}"
            );
        }
    }
}

/// RFC 7396; it leaves no null.
fn merge(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = target.as_object().cloned().unwrap_or_else(Map::new);
    for (name, value) in patch {
        if value.is_null() {
            merged.remove(name);
        } else {
            let old = merged.remove(name).unwrap_or_default();
            merged.insert(name.clone(), merge(&old, value));
        }
    }
    Value::Object(merged)
}

#[tokio::test]
async fn the_first_event_is_the_status_and_others_follow_when_it_changes() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let mut watcher = Watcher::open(sidebearer.admin()).await;
    assert_eq!(watcher.next().await.unwrap(), "status");
    assert_eq!(watcher.status["credentials"]["api"]["state"], "valid");

    let refused = sidebearer.reconfigure("[[listener]]\n").await;
    let text = refused.unwrap_err().to_string();
    watcher
        .until("the refusal", |status| {
            status["reload"]["last_refused"]["text"] == text
        })
        .await;
    sidebearer.reconfigure(&smallest(&api, &idp)).await.unwrap();
    assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    watcher
        .until("the request and the generation", |status| {
            status["upstreams"]["api"]["responses"]["2xx"] == 1
                && status["snapshot"]["generation"] == 2
        })
        .await;
    // What the changes add up to is what the process says when it is asked.
    eventually("both say the same", async || {
        let mut asked = merge(&Value::Null, &sidebearer.status().await);
        asked["time"] = watcher.status["time"].clone();
        let same = asked == watcher.status;
        if !same {
            let _ = timeout(Duration::from_secs(1), watcher.next()).await;
        }
        same
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_told_without_being_asked() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.set_lifetime(2);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let mut watcher = Watcher::open(sidebearer.admin()).await;
    watcher.next().await.unwrap();
    idp.behave(Behaviour::Answers(
        401,
        r#"{"error":"invalid_client"}"#.to_owned(),
    ));
    watcher
        .until("the failure", |status| {
            let error = &status["credentials"]["api"]["last_error"]["message"];
            status["ready"] == false
                && error
                    .as_str()
                    .is_some_and(|it| it.contains("invalid_client"))
        })
        .await;
}

#[tokio::test]
async fn only_so_many_streams_are_open_and_one_that_ends_makes_room() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(Watcher::open(sidebearer.admin()).await);
    }
    let (_connection, refused) = ask(sidebearer.admin()).await;
    assert_eq!(refused.status(), 503);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"], "too_many_streams");
    // A HEAD is no stream.
    let head =
        crate::support::client::send(sidebearer.admin(), request(Method::HEAD, "/events", ""));
    assert_eq!(head.await.status, 200);
    open.pop();
    eventually("there is room", async || {
        ask(sidebearer.admin()).await.1.status() == 200
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_process_ends_streams() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = format!(
        "[server]\nshutdown_delay = \"60s\"\n{}",
        smallest(&api, &idp)
    );
    let mut sidebearer = Sidebearer::start(&config);
    let mut watcher = Watcher::open(sidebearer.admin()).await;
    watcher.next().await.unwrap();
    assert_eq!(watcher.status["draining"], false);
    sidebearer.begin_to_end();
    watcher
        .until("the end", |status| status["draining"] == true)
        .await;
    assert_eq!(watcher.next().await, None);
    // Who comes now is told so, and no more.
    let mut late = Watcher::open(sidebearer.admin()).await;
    late.next().await.unwrap();
    assert_eq!(late.status["draining"], true);
    assert_eq!(late.next().await, None);
}

/// A configuration whose status fills the buffers of a connection many times over.
fn large(api: &Api, idp: &Idp) -> String {
    let mut config = format!(
        "[admin]\naddress = \"{}\"\nheader_timeout = \"1s\"\n{}",
        any_port(),
        smallest(api, idp)
    );
    let long = "x".repeat(4000);
    for number in 0..1000 {
        config += &format!("[[routes]]\npath = \"/{long}/{number}\"\nupstream = \"api\"\n");
    }
    config
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_place_and_holds_nobody_up() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&large(&api, &idp));
    let mut stuck = Vec::new();
    for _ in 0..MOST - 1 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let mut stream = socket.connect(sidebearer.admin()).await.unwrap();
        let ask = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        stuck.push(stream);
    }
    let mut reader = Watcher::open(sidebearer.admin()).await;
    assert_eq!(reader.next().await.unwrap(), "status");
    assert_eq!(get(sidebearer.admin(), "/livez").await.status, 200);
    // Places are free again, although none of those has closed its connection.
    eventually("there is room", async || {
        ask(sidebearer.admin()).await.1.status() == 200
    })
    .await;
    drop(stuck);
}

#[tokio::test]
async fn what_came_by_an_address_that_a_reload_takes_away_ends() {
    let (api, idp) = (Api::open(), Idp::start());
    let with_admin =
        |address: SocketAddr| format!("[admin]\naddress = \"{address}\"\n{}", smallest(&api, &idp));
    let (first, second) = (loopback(), loopback());
    let sidebearer = Sidebearer::start(&with_admin(first));
    let mut watcher = Watcher::open(first).await;
    watcher.next().await.unwrap();
    let (mut idle, answered) = {
        let stream = TcpStream::connect(first).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = request(Method::GET, "/livez", "");
        let host = http::HeaderValue::from_static("localhost");
        request.headers_mut().insert("host", host);
        let answered = sender.send_request(request).await.unwrap();
        (sender, answered)
    };
    answered.into_body().collect().await.unwrap();
    assert!(idle.ready().await.is_ok(), "it is kept for more");

    sidebearer.reconfigure(&with_admin(second)).await.unwrap();
    while watcher.next().await.is_some() {}
    eventually("the other connection is closed", async || idle.is_closed()).await;
    // The request that takes its own address away is answered.
    sidebearer.write("sidebearer.toml", &with_admin(first));
    let answer = post(second, "/reload", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(get(first, "/livez").await.status, 200);
}
