//! A shard on the thread of a test, with clients and APIs that are connected to it in memory. All else is real:
//! the sessions of connections, the way of a request, pools and timers. On paused time its waits take no time.

use std::net::Ipv4Addr;

use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::client_socket::{ClientSocket, Peer};
use crate::config;
use crate::metrics::Metrics;
use crate::snapshot::Builder as SnapshotBuilder;
use crate::token::SystemClock;

/// What a client's connection holds in each direction until it is read.
const CAPACITY: usize = 64 << 10;

/// Longer than anything that a test waits for, on paused time.
const EVER: Duration = Duration::from_secs(24 * 3600);

/// Runs a test on paused time, on a runtime such as that of a shard. Time goes on only while everything waits
/// for it, so that what a test measures is exact.
pub fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default());
    let test = async { timeout(EVER, test).await };
    let ended = runtime.unwrap().block_on(test);
    ended.expect("the test waits for what does not happen");
}

/// A shard that serves connections in memory.
pub struct InMemoryShard {
    state: Rc<ShardState>,
    /// The shard ends with it.
    messages: mpsc::UnboundedSender<ShardMessage>,
    metrics: Arc<Metrics>,
}

impl InMemoryShard {
    /// Serves with this configuration, whose listener is `app`. What it dials leads to the servers in memory.
    pub fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidebearer.toml");
        std::fs::write(&path, config).unwrap();
        let config = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
        let metrics = Metrics::new();
        let builder = SnapshotBuilder::new(Arc::clone(&metrics), Arc::new(SystemClock), 1);
        let snapshot = builder.build(config.config, None).unwrap();
        let state = ShardState::new(Arc::new(ArcSwap::from_pointee(snapshot)));
        let (messages, inbox) = mpsc::unbounded_channel();
        tokio::task::spawn_local(run(inbox, Rc::clone(&state)));
        Self {
            state,
            messages,
            metrics,
        }
    }

    /// A client's end of a new connection.
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(CAPACITY);
        self.serve(ClientSocket::Memory(Box::new(far)));
        near
    }

    /// Serves the connection of a client with this socket.
    pub fn serve(&self, socket: ClientSocket) {
        assert!(self.offer(socket), "the listener is called `app`");
    }

    /// Whether the connection of a client with this socket is served.
    pub fn offer(&self, socket: ClientSocket) -> bool {
        let peer = Peer::Tcp((Ipv4Addr::LOCALHOST, 50312).into());
        let served = self.state.begin(socket, "app".to_owned(), peer, None, ());
        served.is_some()
    }

    /// Drains all connections.
    pub fn close(&self) {
        self.messages.send(ShardMessage::Close(None)).unwrap();
    }

    /// The value of one series of `/metrics`; 0 when there is no such line.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.metrics.render();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}
