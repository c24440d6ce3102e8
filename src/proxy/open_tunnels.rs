//! The tunnels that are open on one shard: a reload may end the permission of each.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

use super::client_connection::{ClientConnection, ConnectTarget};
use crate::snapshot::Snapshot;

/// The open tunnels of one shard, whatever snapshot each began with.
pub struct OpenTunnels {
    /// Those that have ended are removed by each sweep.
    tunnels: RefCell<Vec<Weak<OpenTunnel>>>,
    newest: RefCell<Arc<Snapshot>>,
}

/// A tunnel that a CONNECT opened, and by what it may be ended.
pub struct OpenTunnel {
    /// The connection that it came on.
    pub client: Arc<ClientConnection>,
    /// What the client asked for.
    pub asked: ConnectTarget,
    /// The host and port that were connected to.
    pub leads_to: Box<str>,
    /// The address there; `None` where a proxy knows it alone.
    pub peer: Option<IpAddr>,
    revoked: Cell<Option<Cow<'static, str>>>,
    waker: RefCell<Option<Waker>>,
}

impl OpenTunnels {
    /// None yet.
    pub fn new(newest: Arc<Snapshot>) -> Rc<Self> {
        Rc::new(Self {
            tunnels: RefCell::default(),
            newest: RefCell::new(newest),
        })
    }

    /// The snapshot by which they were judged last. A tunnel that took its time to open must be judged by this
    /// one again.
    pub fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.borrow())
    }

    /// Another tunnel is open.
    pub fn add(&self, tunnel: OpenTunnel) -> Rc<OpenTunnel> {
        let tunnel = Rc::new(tunnel);
        self.tunnels.borrow_mut().push(Rc::downgrade(&tunnel));
        tunnel
    }

    /// Judges every tunnel by a new snapshot: one for which `judge` gives a reason is cut.
    pub fn judge_again(
        &self,
        newest: &Arc<Snapshot>,
        judge: impl Fn(&Snapshot, &OpenTunnel) -> Result<(), Cow<'static, str>>,
    ) {
        *self.newest.borrow_mut() = Arc::clone(newest);
        for tunnel in self.tunnels.borrow().iter().filter_map(Weak::upgrade) {
            if let Err(reason) = judge(newest, &tunnel) {
                tunnel.revoke(reason);
            }
        }
    }

    /// Forgets those that have ended.
    pub fn sweep(&self) {
        let mut tunnels = self.tunnels.borrow_mut();
        tunnels.retain(|tunnel| tunnel.strong_count() > 0);
    }
}

impl OpenTunnel {
    /// One that leads to the host and port in `leads_to`, at the address of `peer`.
    pub fn new(
        client: Arc<ClientConnection>,
        asked: ConnectTarget,
        leads_to: Box<str>,
        peer: Option<IpAddr>,
    ) -> Self {
        Self {
            client,
            asked,
            leads_to,
            peer,
            revoked: Cell::default(),
            waker: RefCell::default(),
        }
    }

    /// Why it must end now, if its permission has ended. Told once; until then the task is woken for it.
    pub fn poll_revoked(&self, cx: &Context<'_>) -> Option<Cow<'static, str>> {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.revoked.take()
    }

    fn revoke(&self, reason: Cow<'static, str>) {
        self.revoked.set(Some(reason));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
