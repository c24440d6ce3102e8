//! The tunnels that are open on one shard and lead where a client named, or are of a caller that has to be known: a reload
//! may end the permission of each, and so may time.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::Method;

use super::client_connection::{ClientConnection, ConnectionTarget, NamedCaller};
use crate::egress::Reach;
use crate::snapshot::Snapshot;
use crate::upstream::Origin;

/// The open tunnels of one shard, whatever snapshot each began with.
pub struct OpenTunnels {
    /// Those that have ended are removed by each sweep.
    tunnels: RefCell<Vec<Weak<OpenTunnel>>>,
    newest: RefCell<Arc<Snapshot>>,
}

/// A tunnel, and by what it may be ended.
pub struct OpenTunnel {
    /// The connection that it came on.
    pub client: Arc<ClientConnection>,
    /// What the client asked for.
    pub asked: TunnelAsked,
    /// Who asked for it, where one has to be known.
    pub caller: Option<NamedCaller>,
    /// The host and port that were connected to, or the upstream of the route.
    pub leads_to: Box<str>,
    /// The address there; `None` where a proxy knows it alone.
    pub peer: Option<IpAddr>,
    revoked: Cell<Option<Revocation>>,
    waker: RefCell<Option<Waker>>,
}

/// What a client asked for that has a tunnel.
pub enum TunnelAsked {
    /// A CONNECT to this host and port.
    Connect(ConnectionTarget),
    /// An upgrade, or an extended CONNECT.
    Upgrade(AskedUpgrade),
}

/// A request that asks for a tunnel in another way than by CONNECT.
pub struct AskedUpgrade {
    /// Whom it is for.
    pub host: UpgradeHost,
    /// Its path, as it is matched.
    pub path: Box<str>,
    /// Its method.
    pub method: Method,
    /// The name of the upstream that a route leads to; `None` if it passes because none does.
    pub upstream: Option<Box<str>>,
}

/// Whom a request is for that asks for a tunnel.
pub enum UpgradeHost {
    /// Of a reverse listener: its host, as it is matched.
    Named(Box<str>),
    /// Of a forward listener: its destination.
    Destination(Origin),
}

/// Why a tunnel may not stay.
pub type Revocation = Cow<'static, str>;

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
        judge: impl Fn(&Snapshot, &OpenTunnel) -> Result<(), Revocation>,
    ) {
        *self.newest.borrow_mut() = Arc::clone(newest);
        for tunnel in self.tunnels.borrow().iter().filter_map(Weak::upgrade) {
            if let Err(reason) = judge(newest, &tunnel) {
                tunnel.revoke(reason);
            }
        }
    }

    /// Forgets those that have ended, and cuts those whose caller is known by what has ended at `now`, a time since the
    /// Unix epoch.
    pub fn sweep(&self, now: Duration) {
        self.tunnels.borrow_mut().retain(|tunnel| {
            let Some(tunnel) = tunnel.upgrade() else {
                return false;
            };
            if let Some(reason) = tunnel.outlived(now) {
                tunnel.revoke(reason);
            }
            true
        });
    }
}

impl OpenTunnel {
    /// One that leads to `leads_to`, at the address of `peer`.
    pub fn new(
        client: Arc<ClientConnection>,
        asked: TunnelAsked,
        leads_to: Box<str>,
        peer: Option<IpAddr>,
    ) -> Self {
        Self {
            client,
            asked,
            caller: None,
            leads_to,
            peer,
            revoked: Cell::default(),
            waker: RefCell::default(),
        }
    }

    /// The same, which this caller asked for.
    #[must_use]
    pub fn of_caller(self, caller: Option<NamedCaller>) -> Self {
        Self { caller, ..self }
    }

    /// The index of its listener in another snapshot than the one it was opened with.
    ///
    /// # Errors
    /// The listener is not there any more.
    pub fn listener_in(&self, snapshot: &Snapshot) -> Result<usize, Revocation> {
        let listener = snapshot.listener(&self.client.listener);
        // The name of a listener that was removed may already be another's.
        let listener = listener.filter(|_| !self.client.is_orphaned());
        listener.ok_or_else(|| "its listener was removed".into())
    }

    /// Judges its address by another snapshot, by which it may still pass as far as its host says.
    ///
    /// # Errors
    /// Why nothing may pass there.
    pub fn judge_address(&self, snapshot: &Snapshot, reach: Reach) -> Result<(), Revocation> {
        let addresses = &snapshot.egress.addresses;
        let Some(peer) = self.peer else {
            return addresses.rule_for_none().map_or(Ok(()), |rule| {
                let reason = format!("only its proxy knows its address, and now there is {rule}");
                Err(reason.into())
            });
        };
        let judged = addresses.judge(peer, reach);
        judged.map_err(|refusal| format!("its address {refusal}").into())
    }

    /// What its client showed and has ended at `now`, if something has.
    fn outlived(&self, now: Duration) -> Option<Revocation> {
        let certificate = self.client.certificate();
        if certificate.is_some_and(|certificate| certificate.has_ended(now)) {
            return Some("the certificate of its client, or what vouches for it, has ended".into());
        }
        let caller = self.caller.as_ref();
        let has_ended = caller.is_some_and(|caller| caller.has_ended(now));
        has_ended.then(|| "the token that opened it has ended".into())
    }

    /// Why it must end now, if its permission has ended. Told once; until then the task is woken for it.
    pub fn poll_revoked(&self, cx: &Context<'_>) -> Option<Revocation> {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.revoked.take()
    }

    /// Whether it must end now. The task is woken when that is so.
    pub fn is_revoked(&self, cx: &Context<'_>) -> bool {
        let revoked = self.poll_revoked(cx);
        let is_revoked = revoked.is_some();
        self.revoked.set(revoked);
        is_revoked
    }

    fn revoke(&self, reason: Revocation) {
        self.revoked.set(Some(reason));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
