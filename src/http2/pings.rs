//! Pings, which show whether the other end is still there (RFC 9113 section 6.7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::deadline::Deadline;

/// How long connections to one server may be silent before they are sent a ping. All of them share it: a server
/// that receives too many pings says so on one of them.
#[derive(Debug)]
pub struct PingInterval {
    /// `None`: no pings are sent.
    interval: Option<Duration>,
    doublings: AtomicU32,
}

impl PingInterval {
    /// This interval, until the server wants fewer pings. Zero: no pings are sent.
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

    /// Whether pings that measure the round trip may be sent: not to a server that wants fewer.
    fn allows_measuring(&self) -> bool {
        self.interval.is_some() && self.doublings.load(Relaxed) == 0
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

/// Sends pings on a connection that carries requests and has been silent, and others that measure the round trip.
pub struct Pings {
    pings: PingPong,
    ping_interval: Arc<PingInterval>,
    timeout: Duration,
    timer: Deadline,
    /// How many bytes had arrived, and when the last of them did.
    read: usize,
    heard: Instant,
    /// Since when the connection has to answer a ping.
    asked: Option<Instant>,
    /// When the ping was sent that measures the round trip and has not been answered yet.
    measuring: Option<Instant>,
    /// The shortest that was measured.
    round_trip: Option<Duration>,
}

/// What the caller must do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Poll the connection, which then sends a ping.
    Send,
    /// Give the connection up.
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
            measuring: None,
            round_trip: None,
        }
    }

    /// Measures the round trip by a ping, which the connection sends when it is polled next. To be called only
    /// when much data has come since the last ping: servers that count pings begin again at zero when they send data.
    pub fn measure(&mut self) {
        let is_out = self.asked.is_some() || self.measuring.is_some();
        let may = !is_out && self.ping_interval.allows_measuring();
        if may && self.pings.send_ping(Ping::opaque()).is_ok() {
            self.measuring = Some(Instant::now());
        }
    }

    /// The shortest round trip that was measured. `None` also while another measurement is on its way.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.filter(|_| self.measuring.is_none())
    }

    /// The other end cannot answer now. The silence, and the time of a ping that was not answered, begin again.
    pub fn pause(&mut self) {
        self.heard = Instant::now();
        self.asked = self.asked.map(|_| self.heard);
    }

    /// `read` is how many bytes have arrived so far; `busy` is whether anybody waits for the connection.
    pub fn poll(&mut self, cx: &mut Context<'_>, read: usize, busy: bool) -> Poll<Next> {
        if read != self.read {
            self.read = read;
            self.heard = Instant::now();
        }
        let is_out = self.asked.is_some() || self.measuring.is_some();
        // An error here is one of the connection, which reports it itself.
        if is_out && self.pings.poll_pong(cx).is_ready() {
            self.heard = Instant::now();
            self.asked = None;
            if let Some(sent) = self.measuring.take() {
                let took = self.heard - sent;
                let shortest = self.round_trip.map_or(took, |known| known.min(took));
                self.round_trip = Some(shortest);
            }
        }
        if self.asked.is_none() {
            let Some(interval) = self.ping_interval.interval().filter(|_| busy) else {
                return Poll::Pending;
            };
            std::task::ready!(self.timer.poll(cx, self.heard + interval));
            if self.measuring.is_some() {
                // It has been silent, and there is a ping that it should have answered.
                self.asked = Some(Instant::now());
            }
        }
        if let Some(asked) = self.asked {
            return self
                .timer
                .poll(cx, asked + self.timeout)
                .map(|()| Next::GiveUp);
        }
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
    fn the_interval_doubles_when_a_server_wants_fewer_pings_and_zero_sends_none() {
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
