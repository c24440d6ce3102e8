//! How TCP connections to a server are made and kept.

use std::time::Duration;

use super::keys::{CREDENTIAL, UPSTREAM, UPSTREAM_TABLE};
use super::read::Section;

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

impl Default for Dialing {
    fn default() -> Self {
        Section::unwritten(&UPSTREAM_TABLE, |section| Self::read(&section))
    }
}

impl Dialing {
    /// Its keys, which stand among those of an upstream.
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            address_delay: section.read(&UPSTREAM.address_delay),
            keepalive: KeepAlive {
                time: section.read(&UPSTREAM.keepalive_time),
                interval: section.read(&UPSTREAM.keepalive_interval),
                retries: section.read(&UPSTREAM.keepalive_retries),
            },
        }
    }

    /// The one key among those of a credential: its connections serve one request, which has its own
    /// limit of time.
    pub(super) fn read_delay(section: &Section<'_>) -> Self {
        Self {
            address_delay: section.read(&CREDENTIAL.address_delay),
            ..Self::default()
        }
    }
}
