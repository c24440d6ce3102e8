//! The threads that serve traffic. Each has its own runtime, connections and pools; they share
//! nothing that a request touches but the snapshot.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::accepted::AcceptedConnection;
use crate::proxy::ClientConnection;
use crate::snapshot::Snapshot;
use crate::supervisor::Supervisor;
use state::ShardState;

#[cfg(test)]
mod defects;
#[cfg(test)]
pub(super) mod in_memory;
mod state;

/// How often a shard moves its idle connections to the newest snapshot. This is how long it may keep an old one
/// alive when there is no traffic.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// All shards.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
    /// Notified whenever a shard has lost its last connection.
    emptied: Arc<Notify>,
}

#[derive(Debug)]
struct Shard {
    messages: mpsc::UnboundedSender<ShardMessage>,
    load: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum ShardMessage {
    Serve(AcceptedConnection, LoadGuard),
    /// Drain the connections of this listener, or of all.
    Close(Option<String>),
    Cut,
    /// There is a new snapshot.
    Renew,
    Ping(oneshot::Sender<()>),
}

/// Counts a connection of a shard until its end.
#[derive(Debug)]
struct LoadGuard {
    load: Arc<AtomicUsize>,
    emptied: Arc<Notify>,
}

impl Shards {
    /// Starts the threads. They end, and what they still serve with them, when this is dropped.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(
        count: usize,
        snapshots: &Arc<ArcSwap<Snapshot>>,
        supervisor: &Supervisor,
    ) -> io::Result<Arc<Self>> {
        let mut shards = Vec::with_capacity(count);
        for number in 0..count {
            let (messages, inbox) = mpsc::unbounded_channel();
            let snapshots = Arc::clone(snapshots);
            let runtime = || {
                Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
            };
            let (started, ready) = std::sync::mpsc::channel();
            supervisor.spawn(format!("shard-{number}"), move || {
                let runtime = match runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(())));
                runtime.block_on(async { run(inbox, ShardState::new(snapshots)).await });
            })?;
            ready.recv().map_err(io::Error::other)??;
            let load = Arc::new(AtomicUsize::new(0));
            shards.push(Shard { messages, load });
        }
        let emptied = Arc::new(Notify::new());
        Ok(Arc::new(Self { shards, emptied }))
    }

    /// Hands a connection to the shard that has the fewest. A shard that is gone never gets one, though it
    /// has the fewest of all.
    pub fn serve(&self, accepted: AcceptedConnection) {
        let is_alive = |shard: &&Shard| !shard.messages.is_closed();
        let shard = self
            .shards
            .iter()
            .filter(is_alive)
            .min_by_key(|shard| shard.load.load(Relaxed));
        let Some(shard) = shard else { return };
        shard.load.fetch_add(1, Relaxed);
        let load = LoadGuard {
            load: Arc::clone(&shard.load),
            emptied: Arc::clone(&self.emptied),
        };
        // A shard that dies at this moment drops the connection, and the process ends with it.
        let _ = shard.messages.send(ShardMessage::Serve(accepted, load));
    }

    /// Drains the connections of a listener, or of all: the requests in flight are completed, then the
    /// connections end.
    pub fn drain(&self, listener: Option<&str>) {
        for shard in &self.shards {
            let _ = shard
                .messages
                .send(ShardMessage::Close(listener.map(str::to_owned)));
        }
    }

    /// Moves every shard to the newest snapshot, which ends what that does not permit.
    pub fn renew(&self) {
        for shard in &self.shards {
            let _ = shard.messages.send(ShardMessage::Renew);
        }
    }

    /// Ends every connection now.
    pub fn cut(&self) {
        for shard in &self.shards {
            let _ = shard.messages.send(ShardMessage::Cut);
        }
    }

    /// Whether every shard answers within `patience`.
    pub async fn are_responding(&self, patience: Duration) -> bool {
        let answers: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let (answer, answered) = oneshot::channel();
                let _ = shard.messages.send(ShardMessage::Ping(answer));
                answered
            })
            .collect();
        let all = async {
            for answered in answers {
                answered.await.ok()?;
            }
            Some(())
        };
        matches!(tokio::time::timeout(patience, all).await, Ok(Some(())))
    }

    /// Waits until no connection is open.
    pub async fn wait_until_all_closed(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.connection_count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Connections open now.
    pub fn connection_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.load.load(Relaxed))
            .sum()
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if self.load.fetch_sub(1, Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

async fn run(mut inbox: mpsc::UnboundedReceiver<ShardMessage>, shard: Rc<ShardState>) {
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = inbox.recv() => message,
            now = sweep.tick() => {
                shard.sweep(now);
                continue;
            }
        };
        match message {
            Some(ShardMessage::Serve(accepted, load)) => shard.serve(accepted, load),
            Some(ShardMessage::Close(listener)) => {
                shard.for_each_connection(listener.as_deref(), ClientConnection::orphan)
            }
            Some(ShardMessage::Renew) => drop(shard.shard()),
            Some(ShardMessage::Cut) => shard.for_each_connection(None, ClientConnection::cut),
            Some(ShardMessage::Ping(answer)) => drop(answer.send(())),
            None => break,
        }
    }
}
