//! What the tasks of one shard share: the snapshot that each connection is served by, and the open connections.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tokio::time::Instant;

use crate::client_socket::{ClientSocket, Peer};
use crate::config::Scheme;
use crate::limit::Permit;
use crate::proxy::{self, ClientConnection, ConnectionTarget, CurrentSnapshot, ShardSnapshot};
use crate::server::accepted::AcceptedConnection;
use crate::server::connection::{self, Beginning};
use crate::server::redirected;
use crate::server::tls::PendingHandshake;
use crate::snapshot::{ListenerRules, Snapshot};

/// What the tasks of one shard share.
pub(super) struct ShardState {
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
    pub(super) fn new(snapshots: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let shard = ShardSnapshot::new(snapshots.load_full(), None);
        Rc::new(Self {
            snapshots: RefCell::new(Cache::new(snapshots)),
            shard: RefCell::new(shard),
            connections: RefCell::default(),
        })
    }

    pub(super) fn shard(&self) -> Rc<ShardSnapshot> {
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
        newest.tunnels.renew(&newest.snapshot);
        self.close_admitted_otherwise(&old.snapshot, &newest);
        self.close_intercepted_no_more(&newest.snapshot);
        newest
    }

    /// Drains the connections of listeners that do not admit the same clients any more: their CAs or CRLs have changed.
    /// What still comes on one of them is judged by the new ones.
    pub(super) fn close_admitted_otherwise(&self, old: &Snapshot, newest: &Rc<ShardSnapshot>) {
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
    pub(super) fn close_intercepted_no_more(&self, newest: &Snapshot) {
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

    pub(super) fn move_all_to(&self, newest: &Rc<ShardSnapshot>, listener: &str) {
        for connection in &*self.connections.borrow() {
            if let (Some(client), Some(served_by)) =
                (connection.client.upgrade(), connection.served_by.upgrade())
                && client.listener == listener
            {
                move_to(newest, &client, &served_by);
            }
        }
    }

    pub(super) fn serve(
        self: &Rc<Self>,
        accepted: AcceptedConnection,
        load: impl Any + Send + Sync,
    ) {
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
    pub(super) fn begin(
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

    pub(super) fn for_each_connection(
        &self,
        listener: Option<&str>,
        work: impl Fn(&ClientConnection),
    ) {
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

    pub(super) fn current(
        self: &Rc<Self>,
        client: &Arc<ClientConnection>,
    ) -> Option<CurrentSnapshot> {
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
    pub(super) fn sweep(&self, now: Instant) {
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
