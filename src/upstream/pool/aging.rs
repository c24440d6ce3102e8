//! Connections that have been open for long, or lead to where the server is no longer.
//!
//! One such ends when it is given back or idle, and only once another has been opened since it became old.
//! Where none can be opened it goes on, and now and then one is tried. So no request fails because of it.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Checkout, Pool, RequestBody};
use crate::upstream::Endpoint;

/// How much earlier than `max_connection_age` a connection may end, as a part of that: those that were
/// opened together do not end together.
const SPREAD: f64 = 0.15;

/// How long after one attempt to open a connection the next is made.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// When a connection has been open for long.
pub struct Age {
    old_at: Option<Instant>,
    peer: IpAddr,
}

impl Age {
    /// Of a connection that has just been opened.
    pub(super) fn new(endpoint: &Endpoint, peer: IpAddr) -> Self {
        let max = endpoint.max_connection_age;
        let spread = 1.0 - SPREAD * fastrand::f64();
        Self {
            old_at: max.map(|max| Instant::now() + max.mul_f64(spread)),
            peer,
        }
    }
}

impl<B: RequestBody> Pool<B> {
    /// Whether a connection is to end, as soon as nobody needs it.
    pub(super) fn retires(&self, age: &Age, now: Instant) -> bool {
        let Some(old_at) = age.old_at else {
            return false;
        };
        let since = match now >= old_at {
            true => Some(old_at),
            false => self.left_since(age.peer),
        };
        let Some(since) = since else {
            return false;
        };
        let proven = self.endpoint.habits.was_reached(since) || self.endpoint.places.is_full();
        if !proven {
            self.wants_proof.set(true);
        }
        proven
    }

    fn left_since(&self, peer: IpAddr) -> Option<Instant> {
        self.left.borrow().1.get(&peer).copied()
    }

    /// Lets go of old connections, for which the time is now and then.
    pub(super) fn retire_old(self: &Rc<Self>, now: Instant) {
        if self.endpoint.max_connection_age.is_none() {
            return;
        }
        self.look_up(now);
        let addresses = self.endpoint.connector.addresses();
        if addresses.version() != self.left.borrow().0 {
            *self.left.borrow_mut() = (addresses.version(), addresses.left());
        }
        let mut idle = std::mem::take(&mut *self.idle.borrow_mut());
        idle.retain(|idle| !self.retires(idle.kept.age(), now));
        *self.idle.borrow_mut() = idle;
        // What ends only with its last stream makes no place for another one before.
        let full = self.endpoint.places.is_full();
        for open in self.streams.borrow().iter() {
            let stays = open.is_retired() || full && open.in_flight() > 0;
            if !stays && self.retires(open.age(), now) {
                open.retire();
            }
        }
        let due = self.prove_at.get().is_none_or(|at| at <= now);
        if self.wants_proof.take() && due {
            self.prove_at.set(Some(now + TRY_AGAIN));
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let _turn = pool.dialing.lock().await;
                // How it went is known to all from then on.
                if let Ok(Checkout::Http1(single)) = pool.connect().await {
                    single.give_back();
                }
            });
        }
    }

    /// Whether the server has moved is asked only while there is a connection that could stay behind.
    fn look_up(&self, now: Instant) {
        let idle = self.idle.borrow().is_empty() && self.streams.borrow().is_empty();
        if idle && self.active.get() == 0 {
            return;
        }
        let endpoint = &self.endpoint;
        if endpoint.connector.is_named() && endpoint.habits.look_up(now) {
            let endpoint = endpoint.clone();
            tokio::task::spawn_local(async move { endpoint.connector.look_up().await });
        }
    }
}
