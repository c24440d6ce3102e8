//! Clients that know what each answer has to be.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::ledger::{Failure, Ledger};
use super::servers::Servers;
use crate::support::PATIENCE;
use crate::support::server::{Body, fed, whole};

/// Clients that share one HTTP/2 connection.
const STREAMS: usize = 10;

/// Starts `count` of them, half over HTTP/1.1, each with a connection, and half over HTTP/2.
pub(super) fn start(
    count: usize,
    address: SocketAddr,
    ledger: &Arc<Ledger>,
    servers: &Servers,
    rng: &mut Rng,
) -> Vec<JoinHandle<()>> {
    let mut client = || Client {
        address,
        ledger: ledger.clone(),
        servers: servers.clone(),
        rng: rng.fork(),
    };
    let single = (0..count / 2).map(|_| tokio::spawn(client().over_http1()));
    let mut clients: Vec<_> = single.collect();
    clients.extend((0..count / 2 / STREAMS).map(|_| tokio::spawn(client().over_http2())));
    clients
}

/// One request on a connection of its own; its status.
pub(super) async fn once(address: SocketAddr, path: &str) -> Result<u16, Box<dyn Error>> {
    let io = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost");
    let request = request
        .header("x-id", u64::MAX)
        .header("authorization", "Bearer of-the-client");
    let response = sender.send_request(request.body(whole(""))?).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    Ok(status)
}

#[derive(Clone)]
struct Client {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    servers: Servers,
    rng: Rng,
}

/// One request, and what has to come back.
struct Ask {
    id: u64,
    api: &'static str,
    method: Method,
    sent: Bytes,
    /// With a length, or in pieces.
    sized: bool,
    began: Instant,
    /// The API of the request before it on its connection of HTTP/1.1. An upload that this one does not
    /// take to its end ends the connection, and the next request may be under way by then.
    behind: Option<&'static str>,
}

impl Client {
    async fn over_http1(mut self) {
        loop {
            let Some(stream) = self.connect().await else {
                continue;
            };
            let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else {
                continue;
            };
            tokio::spawn(connection);
            let mut behind = None;
            // Some connections end between two requests.
            for _ in 0..self.rng.usize(1..50) {
                self.think().await;
                if sender.ready().await.is_err() {
                    break;
                }
                let mut ask = self.ask();
                ask.behind = behind.replace(ask.api);
                let answer = timeout(PATIENCE, sender.send_request(ask.request())).await;
                if !self.judge(&ask, answer).await {
                    break;
                }
            }
        }
    }

    async fn over_http2(mut self) {
        loop {
            let Some(stream) = self.connect().await else {
                continue;
            };
            let io = TokioIo::new(stream);
            let Ok((sender, connection)) = http2::handshake(TokioExecutor::new(), io).await else {
                continue;
            };
            tokio::spawn(connection);
            let mut streams = JoinSet::new();
            for _ in 0..STREAMS {
                let (mut sender, rng) = (sender.clone(), self.rng.fork());
                let mut client = Self {
                    rng,
                    ..self.clone()
                };
                streams.spawn(async move {
                    for _ in 0..client.rng.usize(10..50) {
                        client.think().await;
                        if sender.ready().await.is_err() {
                            return;
                        }
                        let ask = client.ask();
                        let answer = timeout(PATIENCE, sender.send_request(ask.request())).await;
                        client.judge(&ask, answer).await;
                    }
                });
            }
            streams.join_all().await;
        }
    }

    async fn connect(&mut self) -> Option<TcpStream> {
        let began = Instant::now();
        let connected = TcpStream::connect(self.address).await.ok();
        if connected.is_none() {
            self.ledger
                .failed(&self.servers, ("open", None), began, &Failure::Refused);
            self.think().await;
        }
        connected
    }

    /// People pause between requests; without it the machine would be the bottleneck.
    async fn think(&mut self) {
        sleep(Duration::from_millis(self.rng.u64(..200))).await;
    }

    fn ask(&mut self) -> Ask {
        const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
        let rng = &mut self.rng;
        let api = ["alpha", "beta", "open"][rng.usize(..3)];
        let method = METHODS[rng.usize(..4)].clone();
        let size = match method {
            Method::POST | Method::PUT if rng.bool() => rng.usize(..2_000),
            Method::POST | Method::PUT => rng.usize(..200_000),
            _ => 0,
        };
        Ask {
            // Never the one that `once` sends.
            id: rng.u64(..u64::MAX),
            api,
            method,
            sent: vec![rng.u8(..); size].into(),
            sized: rng.bool(),
            began: Instant::now(),
            behind: None,
        }
    }

    /// Whether the connection can be used again.
    async fn judge(
        &self,
        ask: &Ask,
        answer: Result<hyper::Result<Response<Incoming>>, Elapsed>,
    ) -> bool {
        let Ask {
            id, api, method, ..
        } = ask;
        let failed = |failure| {
            let apis = (*api, ask.behind);
            self.ledger.failed(&self.servers, apis, ask.began, &failure);
        };
        let Ok(answer) = answer else {
            self.ledger
                .violation(format!("no answer at all to {method} {api}"));
            return false;
        };
        let Ok(response) = answer else {
            failed(Failure::Broken);
            return false;
        };
        let (head, body) = response.into_parts();
        let Ok(Ok(body)) = timeout(PATIENCE, body.collect()).await else {
            failed(Failure::Broken);
            return false;
        };
        let (body, expected) = (body.to_bytes(), ask.expected());
        match head.status.as_u16() {
            200 if body == expected => self.ledger.succeeded(),
            200 => {
                let (length, of) = (body.len(), expected.len());
                let start = String::from_utf8_lossy(&body[..length.min(80)]);
                let what =
                    format!("{id} {method} {api} was answered {length} of {of} bytes: {start}");
                self.ledger.violation(what);
            }
            status => {
                let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                let code = problem["type"].as_str().unwrap_or_default();
                let code = code.trim_start_matches("urn:sidebearer:error:").to_owned();
                failed(Failure::Status(status, code));
            }
        }
        true
    }
}

impl Ask {
    fn request(&self) -> Request<Body> {
        let body = if self.sized {
            whole(self.sent.clone())
        } else {
            let (feed, body) = fed();
            let sent = self.sent.clone();
            tokio::spawn(async move {
                for start in (0..sent.len()).step_by(20_000) {
                    let piece = sent.slice(start..sent.len().min(start + 20_000));
                    let _ = feed.send(Ok(Frame::data(piece))).await;
                }
            });
            body
        };
        Request::builder()
            .method(self.method.clone())
            .uri(format!("http://localhost/{}", self.api))
            .header("host", "localhost")
            .header("x-id", self.id)
            .header("authorization", "Bearer of-the-client")
            .body(body)
            .unwrap()
    }

    fn expected(&self) -> Vec<u8> {
        let Self {
            id, api, method, ..
        } = self;
        let start = format!("{id} {api} {method} {} ", checksum(&self.sent));
        [start.as_bytes(), &filler(*id)].concat()
    }
}

/// Tells bodies apart.
pub(super) fn checksum(body: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte) + 1);
    body.iter().fold(7, step)
}

/// What an answer to this request ends with: up to 60 KB of its own.
pub(super) fn filler(id: u64) -> Vec<u8> {
    let length = (id >> 8) % 60_000 * (id % 3) / 2;
    vec![b'a' + (id % 26) as u8; length as usize]
}
