//! Half-open sockets: the other side vanishes, and nothing ever says so. Not a packet passes a cable
//! that is cut, no FIN and no RST either. Needs root and iproute2; where they are missing, each test
//! says `skipped`.

mod clients;
mod upstreams;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::support::client::{Answer, Connection};
use crate::support::network::Network;
use crate::support::process::Process;
use crate::support::server::{self, response};
use crate::support::{PATIENCE, eventually};

/// One shard, one upstream at `api`, and a unix socket, which is not part of the network; `server`,
/// `upstream` and `rest` are more lines.
fn config(server: &str, api: std::net::SocketAddr, upstream: &str, rest: &str) -> String {
    format!(
        r#"
[server]
workers = 1
{server}
[log]
format = "json"
[upstreams.api]
url = "http://{api}"
{upstream}
[[listeners]]
name = "app"
address = "unix:app.sock"
upstream = "api"
{rest}
"#
    )
}

/// A connection to the unix socket.
async fn local(process: &Process) -> UnixStream {
    UnixStream::connect(process.dir().join("app.sock"))
        .await
        .unwrap()
}

/// One request through the unix socket.
async fn get(process: &Process, path: &str) -> Answer {
    let answer = async {
        let mut connection = Connection::over(local(process).await).await;
        connection.get(path).await.unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.expect("an answer")
}

/// `/metrics`, which is not part of the network either.
struct Metrics(Connection);

impl Metrics {
    async fn of(network: &Network, process: &Process) -> Self {
        let stream = network.here.connect(process.admin());
        Self(Connection::over(stream).await)
    }

    /// The value of one series.
    async fn value(&mut self, series: &str) -> f64 {
        let page = self.0.get("/metrics").await.unwrap().text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// An API that answers `ok`, to `/wait` when it is let go.
#[derive(Clone)]
struct Api {
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Api {
    fn serve(socket: std::net::TcpListener) -> Self {
        let api = Self {
            gate: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
        };
        let serving = api.clone();
        server::serve_on(socket, None, move |request| {
            let api = serving.clone();
            async move {
                if request.uri().path() == "/wait" {
                    api.waiting.fetch_add(1, SeqCst);
                    api.gate.acquire().await.unwrap().forget();
                }
                response(200, "ok")
            }
        });
        api
    }

    /// A request waits.
    async fn asked(&self) {
        eventually("it is asked", async || self.waiting.load(SeqCst) > 0).await;
    }

    /// Answers the request that waits.
    fn let_go(&self) {
        self.gate.add_permits(1);
    }
}
