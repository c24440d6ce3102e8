//! The graceful end, with the real binary and real signals.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use sidebearer::{app, config};

use crate::support::api::Api;
use crate::support::client::{self, Connection, get};
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::{self, response};
use crate::support::sidebearer::with_admin;
use crate::support::{PATIENCE, eventually, loopback};

/// An API that answers `/slow` when it is told to, and the rest at once.
struct Gate {
    open: std::sync::Arc<tokio::sync::Semaphore>,
    arrived: std::sync::Arc<tokio::sync::Semaphore>,
    url: String,
}

impl Gate {
    fn start() -> Self {
        let open = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let arrived = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let gates = (open.clone(), arrived.clone());
        let address = server::serve(None, move |request| {
            let (open, arrived) = gates.clone();
            async move {
                if request.uri().path() == "/slow" {
                    arrived.add_permits(1);
                    open.acquire().await.unwrap().forget();
                }
                response(200, "whole")
            }
        });
        let url = format!("http://{address}");
        Self { open, arrived, url }
    }

    async fn arrived(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    fn open(&self) {
        self.open.add_permits(1);
    }

    fn config(&self, server: &str) -> String {
        format!(
            "[server]\nworkers = 2\n{server}\n[[listeners]]\nname = \"app\"\naddress = \"{}\"\n\
             upstream = \"api\"\n[upstreams.api]\nurl = \"{}\"\n",
            loopback(),
            self.url
        )
    }
}

async fn status_of_page(process: &Process, page: &str) -> u16 {
    get(process.admin(), page).await.status
}

async fn draining(process: &Process) {
    eventually("shutting down", async || {
        process.told("shutting down").is_some()
    })
    .await;
}

#[tokio::test]
async fn a_response_in_flight_completes_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::start();
        let process = Process::start(&gate.config("")).await;
        let mut idle = Connection::open(process.address()).await;
        idle.get("/").await.unwrap();
        let slow = tokio::spawn(get(process.address(), "/slow"));
        gate.arrived().await;

        process.signal(signal);
        draining(&process).await;
        // Idle connections end, new ones are refused, health goes on.
        eventually("idle ones are closed", async || {
            idle.get("/").await.is_err()
        })
        .await;
        eventually("new ones are refused", async || {
            TcpStream::connect(process.address()).await.is_err()
        })
        .await;
        assert_eq!(status_of_page(&process, "/livez").await, 200);
        assert_eq!(status_of_page(&process, "/readyz").await, 503);

        gate.open();
        let answer = slow.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
        let ended = process.ended().await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains("cut"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn during_the_shutdown_delay_requests_are_served_though_not_ready() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("shutdown_delay = \"1500ms\"")).await;
    eventually("ready", async || {
        status_of_page(&process, "/readyz").await == 200
    })
    .await;

    let told = std::time::Instant::now();
    process.signal(Signal::TERM);
    eventually("not ready", async || {
        status_of_page(&process, "/readyz").await == 503
    })
    .await;
    assert_eq!(status_of_page(&process, "/livez").await, 200);
    assert_eq!(status_of_page(&process, "/startupz").await, 200);
    assert_eq!(get(process.address(), "/").await.status, 200);
    let ended = process.ended().await;
    assert!(told.elapsed() >= Duration::from_millis(1500));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[tokio::test]
async fn what_takes_longer_than_drain_timeout_is_cut_and_the_exit_code_is_0() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("drain_timeout = \"300ms\"")).await;
    let mut slow = TcpStream::connect(process.address()).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    gate.arrived().await;

    process.signal(Signal::TERM);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut answer)).await;
    // A reset, not an end that could look proper.
    assert!(read.expect("cut").is_err(), "{answer:?}");
    assert!(answer.is_empty());
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("not finished within drain_timeout"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_1() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("")).await;
    let mut connection = Connection::open(process.address()).await;
    let ended = async {
        gate.arrived().await;
        process.signal(Signal::TERM);
        draining(&process).await;
        process.signal(Signal::INT);
        process.ended().await
    };
    let (answer, ended) = tokio::join!(connection.get("/slow"), ended);
    assert!(answer.is_err());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("second signal"), "{}", ended.stderr);
}

#[tokio::test]
async fn http2_streams_complete_after_goaway() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("")).await;
    // One connection with a request under way, one that has yet to make any.
    let mut used = open_http2(&process).await;
    let unused = open_http2(&process).await;
    let slow = tokio::spawn(used.0.send_request(http2_request("/slow")));
    gate.arrived().await;

    process.signal(Signal::TERM);
    draining(&process).await;
    let ended = tokio::time::timeout(PATIENCE, unused.1).await;
    ended
        .expect("closed long before drain_timeout")
        .unwrap()
        .unwrap();
    eventually("no more streams", async || {
        used.0.send_request(http2_request("/")).await.is_err()
    })
    .await;

    gate.open();
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "whole"
    );
    used.1.await.unwrap().unwrap();
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("cut"), "{}", ended.stderr);
}

type Http2 = (
    http2::SendRequest<Full<Bytes>>,
    tokio::task::JoinHandle<hyper::Result<()>>,
);

async fn open_http2(process: &Process) -> Http2 {
    let stream = TcpStream::connect(process.address()).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    (sender, tokio::spawn(connection))
}

fn http2_request(path: &str) -> http::Request<Full<Bytes>> {
    let uri = format!("http://localhost{path}");
    http::Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_slow_download_goes_on_through_the_drain() {
    let idp = Idp::start();
    let api = Api::start(|_| response(200, vec![b'x'; 4 << 20]));
    let process = Process::start(&crate::support::smallest(&api, &idp)).await;
    let mut stream = TcpStream::connect(process.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 1024];
    stream.read_exact(&mut first).await.unwrap();

    process.signal(Signal::TERM);
    draining(&process).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(read.unwrap().unwrap() + 1024 > 4 << 20);
    assert_eq!(process.ended().await.code, 0);
}

#[tokio::test]
async fn requests_that_keep_coming_do_not_keep_it_from_ending() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("")).await;
    let address = process.address();
    let asking = tokio::spawn(async move {
        let mut connection = Connection::open(address).await;
        let mut answered = 0;
        while let Ok(answer) = connection.get("/").await {
            assert_eq!(answer.status, 200);
            answered += 1;
        }
        answered
    });
    eventually("traffic", async || {
        let page = client::get(process.admin(), "/metrics").await.text();
        page.contains(r#"sidebearer_requests_total{code="200""#)
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
    assert!(asking.await.unwrap() > 0);
}

#[tokio::test]
async fn the_last_answer_arrives_though_the_client_has_sent_more() {
    let gate = Gate::start();
    let process = Process::start(&gate.config("")).await;
    let mut stream = TcpStream::connect(process.address()).await.unwrap();
    let asked = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    gate.arrived().await;
    // More than is read ahead: closing on what is left of it would reset the connection.
    let more = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(3000);
    stream.write_all(&more).await.unwrap();

    process.signal(Signal::TERM);
    draining(&process).await;
    gate.open();
    // A reset would have arrived by then.
    assert_eq!(process.ended().await.code, 0);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");
}

#[tokio::test]
async fn a_thread_that_dies_ends_the_process_when_what_is_in_flight_has_completed() {
    let gate = Gate::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, with_admin(&gate.config(""))).unwrap();
    let loaded = config::load(&path).unwrap();
    let bound = app::bind(path, loaded, None).await.unwrap();
    let (address, supervisor) = (bound.addresses()["app"], bound.supervisor().clone());

    let client = async {
        let slow = tokio::spawn(get(address, "/slow"));
        gate.arrived().await;
        let dies = || panic!("a defect, made by a test");
        supervisor.spawn("shard-7".to_owned(), dies).unwrap();
        eventually("new ones are refused", async || {
            TcpStream::connect(address).await.is_err()
        })
        .await;
        gate.open();
        slow.await.unwrap().status
    };
    let (ended, status) = tokio::join!(bound.run(std::future::pending()), client);
    assert_eq!(status, 200);
    assert_eq!(
        (ended.cut, ended.panicked.as_deref()),
        (0, Some("thread shard-7"))
    );
}
