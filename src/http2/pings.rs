//! Whether the other end is still there (RFC 9113 section 6.7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::deadline::Deadline;

/// How long connections to one server may be silent before they are asked whether they are still there.
/// Shared by all of them: a server that has enough of pings says so on one.
#[derive(Debug)]
pub struct PingInterval {
    /// `None`: they are never asked.
    interval: Option<Duration>,
    doublings: AtomicU32,
}

impl PingInterval {
    /// No longer than this, until the server says otherwise; never for zero.
    pub fn new(interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            interval: (!interval.is_zero()).then_some(interval),
            doublings: AtomicU32::new(0),
        })
    }

    /// How long a connection may be silent now.
    pub fn interval(&self) -> Option<Duration> {
        let doublings = self.doublings.load(Relaxed);
        self.interval
            .map(|interval| interval.saturating_mul(1 << doublings))
    }

    /// The server has ended a connection with ENHANCE_YOUR_CALM: from now on each may be silent for twice
    /// as long.
    pub fn back_off(&self) {
        const MOST: u32 = 16;
        let doubled = |doublings: u32| Some((doublings + 1).min(MOST));
        // The closure never refuses.
        let _ = self.doublings.fetch_update(Relaxed, Relaxed, doubled);
    }
}

/// Asks a connection that carries requests and has been silent whether it is still there.
pub struct Pings {
    pings: PingPong,
    ping_interval: Arc<PingInterval>,
    timeout: Duration,
    timer: Deadline,
    /// How many bytes had come, and when the last of them did.
    read: usize,
    heard: Instant,
    /// When the ping was sent that has not been answered yet.
    asked: Option<Instant>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A ping has been written, which the connection is to send.
    Send,
    /// The connection is to be given up.
    GiveUp,
}

impl Pings {
    /// A ping after each silence of the length that `ping_interval` says, to be answered within `timeout`.
    pub fn new(pings: PingPong, ping_interval: Arc<PingInterval>, timeout: Duration) -> Self {
        Self {
            pings,
            ping_interval,
            timeout,
            timer: Deadline::default(),
            read: 0,
            heard: Instant::now(),
            asked: None,
        }
    }

    /// The other end need not answer now: silence and an open question are counted from here on.
    pub fn pause(&mut self) {
        self.heard = Instant::now();
        self.asked = self.asked.map(|_| self.heard);
    }

    /// `read` is how many bytes have come so far; `busy` whether anybody waits for the connection.
    pub fn poll(&mut self, cx: &mut Context<'_>, read: usize, busy: bool) -> Poll<Next> {
        if read != self.read {
            self.read = read;
            self.heard = Instant::now();
        }
        if let Some(asked) = self.asked {
            // An error is the connection's, which knows of it.
            if self.pings.poll_pong(cx).is_pending() {
                return self
                    .timer
                    .poll(cx, asked + self.timeout)
                    .map(|()| Next::GiveUp);
            }
            self.asked = None;
            self.heard = Instant::now();
        }
        let Some(interval) = self.ping_interval.interval().filter(|_| busy) else {
            return Poll::Pending;
        };
        std::task::ready!(self.timer.poll(cx, self.heard + interval));
        match self.pings.send_ping(Ping::opaque()) {
            Ok(()) => {
                self.asked = Some(Instant::now());
                Poll::Ready(Next::Send)
            }
            // The connection has ended.
            Err(_) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_calm_is_asked_half_as_often_and_zero_asks_never() {
        let ping_interval = PingInterval::new(Duration::from_secs(3));
        for seconds in [3, 6, 12] {
            assert_eq!(ping_interval.interval(), Some(Duration::from_secs(seconds)));
            ping_interval.back_off();
        }
        (0..100).for_each(|_| ping_interval.back_off());
        assert_eq!(ping_interval.interval(), Some(Duration::from_secs(3 << 16)));
        let never = PingInterval::new(Duration::ZERO);
        never.back_off();
        assert_eq!(never.interval(), None);
    }
}
