//! The proxy on a thread of its own, an authorization server, and an API that reads strictly and keeps
//! everything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidebearer::{app, config};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use super::answers;
use super::generate::Connection;
use super::rfc9112::{Parsed, Request, parse, reading};

/// What goes out as `Authorization`.
pub const TOKEN: &[u8] = b"Bearer sesame";
/// Nothing is waited for that long but what will never come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs.
pub struct World {
    runtime: Runtime,
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Request>>>,
    /// What a request that passed through carries.
    pub via: String,
    _directory: TempDir,
}

impl World {
    /// Starts it, and waits until it has a token.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (api, idp) = runtime.block_on(async {
            let bind = || TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
            let (api, idp) = (bind().await.unwrap(), bind().await.unwrap());
            let addresses = (api.local_addr().unwrap(), idp.local_addr().unwrap());
            let kept = Arc::clone(&arrived);
            let record = move |request: Request| {
                let body = format!("{} {}", request.method, request.target);
                let length = body.len();
                let body = if request.method == "HEAD" { "" } else { &body };
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                kept.lock().unwrap().push(request);
                answer
            };
            tokio::spawn(serve(api, record));
            tokio::spawn(serve(idp, |request| token(&request)));
            addresses
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidebearer.toml");
        std::fs::write(&path, configuration(api, idp)).unwrap();
        let loaded = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
        let (started, bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let bound = app::bind(path, loaded, None).await.unwrap();
                started.send(bound.addresses()["app"]).unwrap();
                bound.run(std::future::pending()).await
            });
        });
        let mut world = Self {
            runtime,
            address: bound.recv().unwrap(),
            arrived,
            via: String::new(),
            _directory: directory,
        };
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let first = Connection {
            bytes: get.into(),
            cuts: Vec::new(),
        };
        loop {
            let (_, arrived) = world.serve(std::slice::from_ref(&first));
            if let [request, ..] = &arrived[..] {
                world.via = String::from_utf8(request.values("via")[0].to_vec()).unwrap();
                return world;
            }
        }
    }

    /// What each connection is answered, and what arrives of all of them.
    pub fn serve(&self, connections: &[Connection]) -> (Vec<Vec<u8>>, Vec<Request>) {
        let answers = self.runtime.block_on(async {
            let mut running = Vec::new();
            for connection in connections {
                let (bytes, cuts) = (connection.bytes.clone(), connection.cuts.clone());
                running.push(tokio::spawn(converse(self.address, bytes, cuts)));
            }
            let mut answers = Vec::new();
            for one in running {
                answers.push(one.await.unwrap());
            }
            // What is on its way to the API arrives.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            answers
        });
        let arrived = std::mem::take(&mut *self.arrived.lock().unwrap());
        (answers, arrived)
    }
}

fn configuration(api: SocketAddr, idp: SocketAddr) -> String {
    format!(
        r#"
[server]
workers = 1
header_timeout = "300ms"
idle_timeout = "1s"
linger_timeout = "300ms"

[log]
access = "off"

[admin]
address = "127.0.0.1:0"

[[listeners]]
name = "app"
address = "127.0.0.1:0"

[upstreams]
api = {{ url = "http://{api}", credential = "api", stream_idle_timeout = "300ms", continue_timeout = "1ms" }}
poor = {{ url = "http://{api}", credential = "poor" }}
down = {{ url = "http://127.0.0.1:1" }}

[[routes]]
host = "localhost"
upstream = "api"

[[routes]]
host = "localhost"
path = "/crm"
replace_prefix = "/"
upstream = "api"

[[routes]]
host = "narrow"
methods = ["PUT"]
upstream = "api"

[[routes]]
host = "poor"
upstream = "poor"

[[routes]]
host = "down"
upstream = "down"

[credentials.api]
token_endpoint = "http://{idp}/token"
client_id = "fuzz"
client_secret = "not-a-secret"

[credentials.poor]
token_endpoint = "http://{idp}/none"
client_id = "fuzz"
client_secret = "not-a-secret"
acquire_timeout = "10ms"
"#
    )
}

fn token(request: &Request) -> String {
    let (status, body) = match request.target.as_str() {
        "/token" => (
            "200 OK",
            r#"{"access_token":"sesame","token_type":"Bearer","expires_in":86400}"#,
        ),
        _ => ("400 Bad Request", r#"{"error":"invalid_client"}"#),
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Answers requests one by one. Whatever leaves a reader a choice is a fault.
async fn serve(listener: TcpListener, answer: impl Fn(Request) -> String + Clone + Send + 'static) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                match parse(&bytes) {
                    Parsed::More => continue,
                    Parsed::Complete(request, length) if length == bytes.len() => {
                        let _ = stream.write_all(answer(*request).as_bytes()).await;
                        bytes.clear();
                    }
                    wrong => panic!("{wrong:?}: {}", bytes.escape_ascii()),
                }
            }
        });
    }
}

/// Sends bytes in pieces. Reads to the end, which the client makes itself when every request is answered
/// and nothing else is wrong.
async fn converse(address: SocketAddr, bytes: Vec<u8>, cuts: Vec<usize>) -> Vec<u8> {
    let (read, why) = reading(&bytes);
    let all = match why {
        "end" | "incomplete" => read.len(),
        // It is told, and the other side ends.
        _ => usize::MAX,
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut receiver, mut writing) = stream.split();
    let mut raw = Vec::new();
    let sending = async {
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            // Refused in the middle, perhaps.
            let _ = writing.write_all(&bytes[from..to]).await;
            from = to;
            tokio::task::yield_now().await;
        }
    };
    let receiving = async {
        let answered = |raw: &[u8]| answers(raw, &read).is_ok_and(|answers| answers.len() >= all);
        while !answered(&raw) && receiver.read_buf(&mut raw).await.is_ok_and(|read| read > 0) {}
    };
    let both = async { tokio::join!(sending, receiving) };
    let ended = tokio::time::timeout(PATIENCE, both).await;
    assert!(ended.is_ok(), "still open: {}", bytes.escape_ascii());
    let _ = writing.shutdown().await;
    let _ = tokio::time::timeout(PATIENCE, receiver.read_to_end(&mut raw)).await;
    raw
}
