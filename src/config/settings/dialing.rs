//! How TCP connections to a server are made and kept.

use std::time::Duration;

/// What belongs to a TCP connection to a server, under whatever is spoken over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialing {
    /// How long one address may stay silent before the next is dialed beside it (RFC 8305 section
    /// 5).
    pub address_delay: Duration,
    /// How a peer that vanished without a word is noticed.
    pub keepalive: KeepAlive,
}

/// TCP keep-alive (RFC 9293 section 3.8.4); times in whole seconds, as the system counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence until the peer is asked whether it is still there.
    pub time: Duration,
    /// From one question without an answer to the next.
    pub interval: Duration,
    /// Questions without an answer after which it counts as gone.
    pub retries: u32,
}
