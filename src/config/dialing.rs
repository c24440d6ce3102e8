//! How TCP connections to a server are made and kept.

use std::time::Duration;

use super::read::Section;
use super::report::Expected;
use super::units;

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

/// The least that RFC 8305 section 8 allows.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);

/// What Linux takes (tcp(7)).
const MOST_SECONDS: u64 = 32_767;
const MOST_RETRIES: usize = 127;

impl Default for Dialing {
    fn default() -> Self {
        Self {
            address_delay: Duration::from_millis(250),
            // After about three minutes, before most load balancers forget an idle connection.
            keepalive: KeepAlive {
                time: Duration::from_secs(60),
                interval: Duration::from_secs(15),
                retries: 9,
            },
        }
    }
}

impl Dialing {
    /// Its keys, which stand among those of an upstream.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let KeepAlive {
            time,
            interval,
            retries,
        } = default.keepalive;
        Self {
            keepalive: KeepAlive {
                time: seconds(section, "keepalive_time").unwrap_or(time),
                interval: seconds(section, "keepalive_interval").unwrap_or(interval),
                retries: section.integer("keepalive_retries", retries, 1..=MOST_RETRIES),
            },
            ..Self::read_delay(section)
        }
    }

    /// The key of connections that serve one request, which has its own limit of time.
    pub(super) fn read_delay(section: &Section<'_>) -> Self {
        let default = Self::default();
        let delay = section.duration("address_delay", default.address_delay, SHORTEST_DELAY);
        Self {
            address_delay: delay,
            ..default
        }
    }
}

fn seconds(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let value = section.get(key)?;
    let text = value.text(units::DURATION)?;
    let whole =
        |time: &Duration| time.subsec_nanos() == 0 && (1..=MOST_SECONDS).contains(&time.as_secs());
    let parsed = match units::duration(text) {
        Some(time) if whole(&time) => Ok(time),
        Some(_) => Err(format!("expected whole seconds, 1s to {MOST_SECONDS}s").into()),
        None => Err(format!("expected {}", units::DURATION).into()),
    };
    value.check::<Duration>(parsed as Result<_, Expected>)
}
