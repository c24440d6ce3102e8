//! A shard on the thread of a test, with clients and APIs that are connected to it in memory. All else is real:
//! the sessions of connections, the way of a request, pools, the life of tokens and timers. On paused time its waits
//! take no time, and tokens end by that time too.

use std::net::Ipv4Addr;

use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;
use crate::client_socket::{ClientSocket, Peer};
use crate::config::{self, Config};
use crate::interception::Interceptor;
use crate::metrics::Metrics;
use crate::snapshot::Builder as SnapshotBuilder;
use crate::token::{Clock, Moment, SystemClock};

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
    builder: SnapshotBuilder,
    snapshots: Arc<ArcSwap<Snapshot>>,
}

/// The clocks of the machine when the test began, and the time of the runtime since then.
#[derive(Debug)]
struct RuntimeClock {
    start: Moment,
    since: Instant,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Moment {
        self.start.plus(self.since.elapsed())
    }
}

impl InMemoryShard {
    /// Serves with this configuration, whose listener is `app`. What it dials leads to the servers in memory, token
    /// endpoints included.
    pub fn start(config: &str) -> Self {
        let metrics = Metrics::new();
        let clock = RuntimeClock {
            start: SystemClock.now(),
            since: Instant::now(),
        };
        let builder = SnapshotBuilder::new(Arc::clone(&metrics), Arc::new(clock), 1);
        let config = load(config);
        if let Some(settings) = &config.interception {
            Interceptor::make_issuer(settings);
        }
        let snapshot = builder.build(config, None).unwrap();
        let snapshots = Arc::new(ArcSwap::from_pointee(snapshot));
        let state = ShardState::new(Arc::clone(&snapshots));
        let (messages, inbox) = mpsc::unbounded_channel();
        tokio::task::spawn_local(run(inbox, Rc::clone(&state)));
        Self {
            state,
            messages,
            metrics,
            builder,
            snapshots,
        }
    }

    /// Serves with another configuration from now on.
    pub fn reconfigure(&self, config: &str) {
        let old = self.snapshots.load_full();
        let snapshot = self.builder.build(load(config), Some(&old)).unwrap();
        let snapshot = Arc::new(snapshot);
        self.snapshots.store(Arc::clone(&snapshot));
        snapshot.take_over_from(&old);
        self.messages.send(ShardMessage::Renew).unwrap();
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

fn load(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
    loaded.config
}
