//! The threads that serve traffic. Each has its own runtime, connections and pools; they share
//! nothing that a request touches but the snapshot.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::accepted::AcceptedConnection;
use super::connection::{self, Beginning};
use super::redirected;
use super::tls::PendingHandshake;
use crate::client_socket::{ClientSocket, Peer};
use crate::config::Scheme;
use crate::limit::Permit;
use crate::proxy::{self, ClientConnection, ConnectionTarget, CurrentSnapshot, ShardSnapshot};
use crate::snapshot::{ListenerRules, Snapshot};
use crate::supervisor::Supervisor;

#[cfg(test)]
mod defects;
#[cfg(test)]
pub(super) mod in_memory;

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

/// What the tasks of one shard share.
struct ShardState {
    snapshots: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    shard: RefCell<Rc<ShardSnapshot>>,
    /// Those that have ended are removed by each sweep.
    connections: RefCell<Vec<OpenConnection>>,
}

struct OpenConnection {
    client: Weak<ClientConnection>,
    /// From when on it takes no more requests.
    closes_at: Option<Instant>,
    served_by: std::rc::Weak<ServingSnapshot>,
}

/// The snapshot that a connection is served by, and the index of its listener there.
type ServingSnapshot = RefCell<(Rc<ShardSnapshot>, usize)>;

impl ShardState {
    fn new(snapshots: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let shard = ShardSnapshot::new(snapshots.load_full(), None);
        Rc::new(Self {
            snapshots: RefCell::new(Cache::new(snapshots)),
            shard: RefCell::new(shard),
            connections: RefCell::default(),
        })
    }

    fn shard(&self) -> Rc<ShardSnapshot> {
        let mut snapshots = self.snapshots.borrow_mut();
        let newest = snapshots.load();
        let mut shard = self.shard.borrow_mut();
        if Arc::ptr_eq(newest, &shard.snapshot) {
            return Rc::clone(&shard);
        }
        let old = Rc::clone(&shard);
        *shard = ShardSnapshot::new(Arc::clone(newest), Some(&shard));
        let newest = Rc::clone(&shard);
        drop((snapshots, shard));
        proxy::judge_tunnels(&newest);
        self.close_admitted_otherwise(&old.snapshot, &newest);
        self.close_intercepted_no_more(&newest.snapshot);
        newest
    }

    /// Drains the connections of listeners that do not admit the same clients any more: their CAs or CRLs have changed.
    /// What still comes on one of them is judged by the new ones.
    fn close_admitted_otherwise(&self, old: &Snapshot, newest: &Rc<ShardSnapshot>) {
        let admission = |listener: &ListenerRules| listener.tls.as_ref().map(|tls| tls.admission);
        for listener in &newest.snapshot.listeners {
            let before = old.listener(&listener.name).map(|at| &old.listeners[at]);
            if before.is_some_and(|before| admission(before) != admission(listener)) {
                self.move_all_to(newest, &listener.name);
                self.for_each_connection(Some(&listener.name), ClientConnection::close);
            }
        }
    }

    /// Drains connections whose TLS was ended here, for destinations for which it is not any more: their clients come
    /// back by other ones.
    fn close_intercepted_no_more(&self, newest: &Snapshot) {
        for (at, listener) in newest.listeners.iter().enumerate() {
            if listener.is_forward {
                let is_over = |target: &ConnectionTarget| {
                    target.scheme == Scheme::Https
                        && !proxy::is_still_intercepted(newest, at, target)
                };
                self.for_each_connection(Some(&listener.name), |client| {
                    client.close_where(&is_over);
                });
            }
        }
    }

    fn move_all_to(&self, newest: &Rc<ShardSnapshot>, listener: &str) {
        for connection in &*self.connections.borrow() {
            if let (Some(client), Some(served_by)) =
                (connection.client.upgrade(), connection.served_by.upgrade())
                && client.listener == listener
            {
                move_to(newest, &client, &served_by);
            }
        }
    }

    fn serve(self: &Rc<Self>, accepted: AcceptedConnection, load: LoadGuard) {
        let (socket, peer) = match accepted.socket.register() {
            Ok(registered) => registered,
            Err(error) => return tracing::warn!(%error, "a shard could not register a connection"),
        };
        let place = Some(accepted.permit);
        let client = self.begin(socket, accepted.listener, peer, place, load);
        if let Some(client) = client
            && accepted.is_only_one_request
        {
            client.orphan();
        }
    }

    /// Begins to serve a connection, unless its listener was removed before it got here, or has too many TLS handshakes. `place` and `held` are
    /// dropped at its end.
    fn begin(
        self: &Rc<Self>,
        socket: ClientSocket,
        listener: String,
        peer: Peer,
        place: Option<Permit>,
        held: impl Any + Send + Sync,
    ) -> Option<Arc<ClientConnection>> {
        let max_interim = self.shard().snapshot.config.server.max_interim_bytes;
        let client = ClientConnection::new(listener, peer, max_interim, place, held);
        let current = self.current(&client)?;
        let (shard, listener) = current(&client);
        let rules = &shard.snapshot.listeners[listener];
        let beginning = match &rules.tls {
            None if shard.snapshot.config.listeners[listener]
                .redirection()
                .is_some() =>
            {
                let original = redirected::original_destination(&socket);
                let own_sockets = &shard.snapshot.own_sockets;
                let Some(original) = original.filter(|it| !own_sockets.contain(*it)) else {
                    redirected::report_own(&client, &shard.snapshot, listener);
                    return None;
                };
                client.set_original_destination(original);
                Beginning::Redirected
            }
            None => Beginning::Http,
            Some(tls) => {
                let Some(place) = rules.handshakes.try_acquire(peer.ip()) else {
                    shard.snapshot.count_handshake(listener, "shed");
                    return None;
                };
                Beginning::Tls(PendingHandshake {
                    tls: Arc::clone(tls),
                    place,
                })
            }
        };
        let serving = connection::serve(socket, Arc::clone(&client), current, beginning);
        tokio::task::spawn_local(serving);
        Some(client)
    }

    fn for_each_connection(&self, listener: Option<&str>, work: impl Fn(&ClientConnection)) {
        // Copied out: the list must not be borrowed while a connection is told, which may change it.
        let clients: Vec<_> = self
            .connections
            .borrow()
            .iter()
            .filter_map(|connection| connection.client.upgrade())
            .collect();
        for client in clients {
            if listener.is_none_or(|name| client.listener == name) {
                work(&client);
            }
        }
    }

    fn current(self: &Rc<Self>, client: &Arc<ClientConnection>) -> Option<CurrentSnapshot> {
        let shard = self.shard();
        let listener = shard.snapshot.listener(&client.listener)?;
        let max_age = shard.snapshot.config.listeners[listener].max_connection_age;
        let served_by = Rc::new(RefCell::new((shard, listener)));
        self.connections.borrow_mut().push(OpenConnection {
            client: Arc::downgrade(client),
            closes_at: max_age.map(|age| Instant::now() + spread(age)),
            served_by: Rc::downgrade(&served_by),
        });
        let shard = Rc::clone(self);
        Some(Rc::new(move |client: &ClientConnection| {
            move_to(&shard.shard(), client, &served_by);
            served_by.borrow().clone()
        }))
    }

    /// Moves idle connections to the newest snapshot, so that none keeps an old one alive with its tokens and
    /// connections.
    fn sweep(&self, now: Instant) {
        let shard = self.shard();
        shard.sweep(now);
        shard.snapshot.sampling.write_counts(now);
        self.connections.borrow_mut().retain_mut(|connection| {
            let Some(client) = connection.client.upgrade() else {
                return false;
            };
            if let Some(served_by) = connection.served_by.upgrade() {
                move_to(&shard, &client, &served_by);
            }
            if connection.closes_at.take_if(|at| *at <= now).is_some() {
                client.close();
            }
            true
        });
    }
}

/// Moves a connection on to a newer snapshot. It stays with the last one that has its listener. One whose listener
/// is being removed stays where it is, since that name may already be another's.
fn move_to(newest: &Rc<ShardSnapshot>, client: &ClientConnection, served_by: &ServingSnapshot) {
    let mut served_by = served_by.borrow_mut();
    if !Rc::ptr_eq(&served_by.0, newest)
        && !client.is_orphaned()
        && let Some(listener) = newest.snapshot.listener(&client.listener)
    {
        *served_by = (Rc::clone(newest), listener);
    }
}

/// Up to 15 % less, so that clients that came together do not come back together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(1.0 - 0.15 * fastrand::f64())
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
