//! Whether the other end is still there (RFC 9113 section 6.7).

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::deadline::Deadline;

/// Asks a connection that carries requests and has been silent whether it is still there.
pub struct Pings {
    pings: PingPong,
    interval: Duration,
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
    /// A ping after each silence of `interval`, to be answered within `timeout`.
    pub fn new(pings: PingPong, interval: Duration, timeout: Duration) -> Self {
        Self {
            pings,
            interval,
            timeout,
            timer: Deadline::default(),
            read: 0,
            heard: Instant::now(),
            asked: None,
        }
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
        if !busy {
            return Poll::Pending;
        }
        std::task::ready!(self.timer.poll(cx, self.heard + self.interval));
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
