//! `[server]`, `[log]`, `[admin]` and `[health]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tracing::Level;

use super::address::{is_loopback_ip, socket};
use super::read::Section;
use super::report::Place;
use super::{AccessLog, Admin, Log, LogFormat, Server};

/// The shortest time that makes sense where zero does not.
pub(super) const SOME: Duration = Duration::from_millis(1);

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7090);

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: 0,
            shutdown_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(25),
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            max_connections: 10_000,
            via: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: Level::INFO,
            access: AccessLog::Errors,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: ADMIN }
    }
}

impl Server {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let server = Self {
            workers: section.integer("workers", default.workers, 0..=1024),
            shutdown_delay: section.duration(
                "shutdown_delay",
                default.shutdown_delay,
                Duration::ZERO,
            ),
            drain_timeout: section.duration("drain_timeout", default.drain_timeout, Duration::ZERO),
            max_header_bytes: section.size(
                "max_header_bytes",
                default.max_header_bytes,
                ["8KiB", "1MiB"],
            ),
            header_timeout: section.duration("header_timeout", default.header_timeout, SOME),
            idle_timeout: section.duration("idle_timeout", default.idle_timeout, SOME),
            max_connections: section.integer(
                "max_connections",
                default.max_connections,
                1..=1_000_000,
            ),
            via: section.boolean("via", default.via),
        };
        section.finish();
        server
    }
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let formats = [
            ("auto", LogFormat::Auto),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
        ];
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        let accesses = [
            ("off", AccessLog::Off),
            ("errors", AccessLog::Errors),
            ("all", AccessLog::All),
        ];
        let log = Self {
            format: section.choice("format", default.format, &formats),
            level: section.choice("level", default.level, &levels),
            access: section.choice("access", default.access, &accesses),
        };
        section.finish();
        log
    }
}

impl Admin {
    /// Also where its address is written.
    pub(super) fn read(section: Section<'_>) -> (Self, Place) {
        let allow_network = section.boolean("allow_network", false);
        let mut admin = Self::default();
        let mut place = section.place.clone();
        if let Some((value, text)) = section.text("address")
            && let Some(address) = value.check(socket(text))
        {
            if !is_loopback_ip(address.ip()) && !allow_network {
                value.error(
                    "can be reached from the network",
                    "whoever reaches it sees the status and reloads the configuration; \
                     allow that with `allow_network = true`, or use a loopback address",
                );
            }
            admin.address = address;
            place = value.place;
        }
        section.finish();
        (admin, place)
    }
}

/// `[health]`: its address and where that is written.
pub(super) fn read_health(section: Section<'_>) -> Option<(SocketAddr, Place)> {
    let address = section.text("address");
    section.finish();
    let (value, text) = address?;
    let address = value.check(socket(text))?;
    Some((address, value.place))
}
