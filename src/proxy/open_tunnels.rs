//! The tunnels that are open on one shard: a reload may end the permission of each, and so may time.
//!
//! Nothing of a tunnel moves by a snapshot that has been replaced: each judges itself by the newest one before it moves
//! anything. Those that are silent are judged in pieces, between which the shard serves what else it has to.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::client_connection::{ClientConnection, NamedCaller};
use crate::caller::token::{CallerUnavailable, PendingVerification, Verified};
use crate::egress::Reach;
use crate::policy::CallerIndex;
use crate::snapshot::Snapshot;

#[cfg(test)]
mod tests;

/// How many tunnels are judged in one go.
const PIECE: usize = 32;

/// How often it is asked again whose the key or token is that has opened a tunnel, while there is no reload and no new
/// keys of issuers come: the API server may know it no more.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

/// The open tunnels of one shard, whatever snapshot each began with.
pub struct OpenTunnels {
    /// Those that have ended are removed by each sweep.
    tunnels: RefCell<Vec<Weak<OpenTunnel>>>,
    newest: RefCell<Arc<Snapshot>>,
    /// How often the keys of issuers had been read when it was asked last whose all tokens are.
    key_readings: Cell<u64>,
}

/// A tunnel, and by what it may be ended.
pub struct OpenTunnel {
    grant: TunnelGrant,
    all: Rc<OpenTunnels>,
    /// The generation of the snapshot that it was judged by last.
    judged_by: Cell<u64>,
    /// It is being asked whose the key or token is that has opened it.
    verifying: RefCell<Option<TunnelVerification>>,
    verified_at: Cell<Instant>,
    revoked: Cell<Option<Revocation>>,
    waker: RefCell<Option<Waker>>,
}

/// What a tunnel is permitted for.
pub struct TunnelGrant {
    /// The connection that it came on.
    pub client: Arc<ClientConnection>,
    /// Who asked for it, where one has to be known.
    pub caller: Option<NamedCaller>,
    /// The host and port that were connected to, or those of the upstream of its route.
    pub leads_to: Box<str>,
    /// The address there; `None` where a proxy knows it alone.
    pub peer: Option<IpAddr>,
    /// Judges it by another snapshot than the one it was opened with.
    pub judge: TunnelJudge,
}

/// Tells why a tunnel would not be opened any more by a snapshot. Whose the key or token is that it was opened by need
/// not be asked.
pub type TunnelJudge = Box<dyn Fn(&Snapshot, &TunnelGrant) -> Result<(), Revocation>>;

/// Why a tunnel may not stay.
pub type Revocation = Cow<'static, str>;

struct TunnelVerification {
    pending: PendingVerification,
    /// Who it has to be.
    expected: CallerIndex,
    /// Nothing moves until that is known.
    holds: bool,
}

impl OpenTunnels {
    /// None yet.
    pub fn new(newest: Arc<Snapshot>) -> Rc<Self> {
        Rc::new(Self {
            tunnels: RefCell::default(),
            key_readings: Cell::new(newest.caller_tokens.key_readings()),
            newest: RefCell::new(newest),
        })
    }

    /// Another tunnel is open, as this snapshot permits.
    ///
    /// # Errors
    /// It took its time to open, and a reload has ended its permission meanwhile.
    pub fn add(
        self: &Rc<Self>,
        permitted_by: &Snapshot,
        grant: TunnelGrant,
    ) -> Result<Rc<OpenTunnel>, Revocation> {
        let tunnel = Rc::new(OpenTunnel {
            grant,
            all: Rc::clone(self),
            judged_by: Cell::new(permitted_by.generation),
            verifying: RefCell::default(),
            verified_at: Cell::new(Instant::now()),
            revoked: Cell::default(),
            waker: RefCell::default(),
        });
        tunnel.judge_by_newest();
        if let Some(reason) = tunnel.revoked.take() {
            return Err(reason);
        }
        self.tunnels.borrow_mut().push(Rc::downgrade(&tunnel));
        Ok(tunnel)
    }

    /// There is a new snapshot: every tunnel is judged by it, and cut if it would not be opened any more.
    pub fn renew(self: &Rc<Self>, newest: &Arc<Snapshot>) {
        *self.newest.borrow_mut() = Arc::clone(newest);
        let all = self.tunnels.borrow().clone();
        if !all.is_empty() {
            let tunnels = Rc::clone(self);
            tokio::task::spawn_local(tunnels.judge_in_pieces(all, newest.generation));
        }
    }

    async fn judge_in_pieces(self: Rc<Self>, all: Vec<Weak<OpenTunnel>>, generation: u64) {
        for piece in all.chunks(PIECE) {
            // Where a newer one has come, they are being judged by that.
            if self.newest.borrow().generation != generation {
                return;
            }
            for tunnel in piece.iter().filter_map(Weak::upgrade) {
                tunnel.judge_by_newest();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Forgets those that have ended, and cuts those that were opened by what has ended at `wall`, a time since the
    /// Unix epoch. Now and then, and when keys of issuers have been read, it is asked again whose their keys and tokens are.
    pub fn sweep(&self, now: Instant, wall: Duration) {
        let newest = Arc::clone(&self.newest.borrow());
        let readings = newest.caller_tokens.key_readings();
        let has_new_keys = self.key_readings.replace(readings) != readings;
        let is_due = |verified: Instant| {
            has_new_keys || now.saturating_duration_since(verified) >= VERIFY_INTERVAL
        };
        self.tunnels.borrow_mut().retain(|tunnel| {
            let Some(tunnel) = tunnel.upgrade() else {
                return false;
            };
            if let Some(reason) = tunnel.grant.outlived(wall) {
                tunnel.revoke(reason);
            } else if is_due(tunnel.verified_at.get()) {
                tunnel.verify(&newest, false);
            }
            true
        });
    }
}

impl TunnelGrant {
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
}

impl OpenTunnel {
    /// Whether something may move; pending while it is being found out whose the key or token is that has opened it.
    /// Why it must end now is told once. The task is woken when there is something to tell.
    pub fn poll_permission(&self, cx: &mut Context<'_>) -> Poll<Result<(), Revocation>> {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        self.judge_by_newest();
        self.poll_verification(cx).map(|verified| {
            let revoked = self.revoked.take().map_or(Ok(()), Err);
            revoked.and(verified)
        })
    }

    /// Whether it must end now. The task is woken when that is so.
    pub fn is_revoked(&self, cx: &mut Context<'_>) -> bool {
        match self.poll_permission(cx) {
            Poll::Ready(Err(reason)) => {
                self.revoked.set(Some(reason));
                true
            }
            Poll::Ready(Ok(())) | Poll::Pending => false,
        }
    }

    fn poll_verification(&self, cx: &mut Context<'_>) -> Poll<Result<(), Revocation>> {
        let mut verifying = self.verifying.borrow_mut();
        let Some(verification) = &mut *verifying else {
            return Poll::Ready(Ok(()));
        };
        match verification.pending.as_mut().poll(cx) {
            Poll::Ready(verified) => {
                let expected = verification.expected;
                *verifying = None;
                Poll::Ready(is_still(expected, verified))
            }
            Poll::Pending if verification.holds => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Judges it by the newest snapshot, unless it has been.
    fn judge_by_newest(&self) {
        let newest = {
            let newest = self.all.newest.borrow();
            if self.judged_by.replace(newest.generation) == newest.generation {
                return;
            }
            Arc::clone(&newest)
        };
        match (self.grant.judge)(&newest, &self.grant) {
            Ok(()) => self.verify(&newest, true),
            Err(reason) => self.revoke(reason),
        }
    }

    /// Asks whose the key or token is that has opened it, and whether nothing moves until that is known.
    fn verify(&self, newest: &Snapshot, holds: bool) {
        self.verified_at.set(Instant::now());
        *self.verifying.borrow_mut() = None;
        let caller = self.grant.caller.as_ref();
        let Some((caller, shown)) = caller.and_then(|it| Some((it, it.shown.as_deref()?))) else {
            return;
        };
        let listener = newest.listener(&self.grant.client.listener);
        if !listener.is_some_and(|listener| newest.permits.identifies(listener)) {
            return;
        }
        let Some(expected) = newest.callers.names.index(&caller.name) else {
            return self.revoke(REMOVED.into());
        };
        let verification = (newest.callers).by_secret(shown.expose(), &newest.caller_tokens);
        match verification.settled() {
            Ok(verified) => {
                if let Err(reason) = is_still(expected, Ok(verified)) {
                    self.revoke(reason);
                }
            }
            Err(pending) => {
                let verification = TunnelVerification {
                    pending,
                    expected,
                    holds,
                };
                *self.verifying.borrow_mut() = Some(verification);
                self.wake();
            }
        }
    }

    fn revoke(&self, reason: Revocation) {
        *self.verifying.borrow_mut() = None;
        self.revoked.set(Some(reason));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The caller of a tunnel is not in the configuration any more.
pub const REMOVED: &str = "its caller was removed";

/// Whether what has opened a tunnel is still that caller's. What cannot be found out is not.
fn is_still(
    expected: CallerIndex,
    verified: Result<Verified, CallerUnavailable>,
) -> Result<(), Revocation> {
    match verified {
        Ok(Verified::Caller(known)) if known.caller == expected => Ok(()),
        Ok(Verified::Caller(_)) => Err("what opened it is another caller's now".into()),
        Ok(Verified::Ambiguous) => Err("two callers could claim what opened it now".into()),
        Ok(Verified::Unknown(reason) | Verified::Unproven(reason)) => {
            Err(format!("what opened it is no caller's any more: {reason}").into())
        }
        Err(unavailable) => {
            Err(format!("whose it is cannot be found out now: {unavailable}").into())
        }
    }
}
