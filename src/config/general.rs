//! `[server]`, `[log]`, `[admin]` and `[health]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tracing::Level;

use super::address::{is_loopback_ip, socket};
use super::file::MAX_BYTES;
use super::read::Section;
use super::report::Place;
use super::{AccessLog, Http2, Log, LogFormat, Page, Server};
use crate::files;

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
            max_headers: 256,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            linger_timeout: Duration::from_secs(1),
            max_connections: 10_000,
            backlog: 1024,
            reserved_files: 32,
            body_buffer: 64 << 10,
            tunnel_buffer: 8 << 10,
            max_interim_bytes: 64 << 10,
            window_budget: 0,
            max_file_bytes: MAX_BYTES,
            file_timeout: files::PATIENCE,
            max_concurrent_fetches: 32,
            reload_retry_interval: Duration::from_secs(10),
            http2: Http2 {
                max_streams: 250,
                stream_window: 64 << 10,
                ping_interval: Duration::from_secs(30),
                ping_timeout: Duration::from_secs(20),
            },
            via: true,
            request_id: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: Level::INFO,
            access: AccessLog::Errors,
            buffer: 4 << 20,
        }
    }
}

/// Probes, scrapers and a few people: more than this at once is someone's mistake.
const PAGE_CONNECTIONS: usize = 64;

impl Default for Page {
    /// Of `[admin]`.
    fn default() -> Self {
        Self {
            address: ADMIN,
            max_connections: PAGE_CONNECTIONS,
            header_timeout: Duration::from_secs(10),
        }
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
            max_headers: section.integer("max_headers", default.max_headers, 1..=10_000),
            header_timeout: section.duration("header_timeout", default.header_timeout, SOME),
            idle_timeout: section.duration("idle_timeout", default.idle_timeout, SOME),
            linger_timeout: section.duration(
                "linger_timeout",
                default.linger_timeout,
                Duration::ZERO,
            ),
            max_connections: section.integer(
                "max_connections",
                default.max_connections,
                1..=1_000_000,
            ),
            backlog: section.integer("backlog", default.backlog, 1..=1_000_000),
            reserved_files: section.integer(
                "reserved_files",
                default.reserved_files,
                0..=1_000_000,
            ),
            body_buffer: body_buffer(&section, default.body_buffer),
            tunnel_buffer: section.size("tunnel_buffer", default.tunnel_buffer, ["1KiB", "1MiB"]),
            max_interim_bytes: section.size(
                "max_interim_bytes",
                default.max_interim_bytes,
                ["0B", "16MiB"],
            ),
            window_budget: section.size("window_budget", default.window_budget, ["0B", "64GiB"]),
            max_file_bytes: Self::max_file_bytes(&section),
            file_timeout: section.duration(
                "file_timeout",
                default.file_timeout,
                Duration::from_millis(100),
            ),
            max_concurrent_fetches: section.integer(
                "max_concurrent_fetches",
                default.max_concurrent_fetches,
                1..=10_000,
            ),
            reload_retry_interval: section.duration(
                "reload_retry_interval",
                default.reload_retry_interval,
                Duration::from_millis(100),
            ),
            http2: Http2::read(&section, default.http2),
            via: section.boolean("via", default.via),
            request_id: section.boolean("request_id", default.request_id),
        };
        section.finish();
        server
    }

    /// The one key that counts before the rest is read: files are read meanwhile.
    pub(super) fn max_file_bytes(section: &Section<'_>) -> usize {
        section.size("max_file_bytes", MAX_BYTES, ["1KiB", "64MiB"])
    }
}

/// What is read at once from one connection, or over HTTP/2 buffered of a body.
pub(super) fn body_buffer(section: &Section<'_>, default: usize) -> usize {
    section.size("body_buffer", default, ["8KiB", "16MiB"])
}

impl Http2 {
    /// Its keys, which stand among those of a section.
    pub(super) fn read(section: &Section<'_>, default: Self) -> Self {
        Self {
            max_streams: section.integer("max_streams", default.max_streams, 1..=100_000),
            stream_window: section.size("stream_window", default.stream_window, ["4KiB", "16MiB"]),
            ping_interval: section.duration("ping_interval", default.ping_interval, Duration::ZERO),
            ping_timeout: section.duration("ping_timeout", default.ping_timeout, SOME),
        }
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
            buffer: section.size("buffer", default.buffer, ["4KiB", "1GiB"]),
        };
        section.finish();
        log
    }
}

impl Page {
    /// `[admin]`, and where its address is written.
    pub(super) fn read_admin(section: Section<'_>) -> (Self, Place) {
        let allow_network = section.boolean("allow_network", false);
        let mut place = section.place.clone();
        let mut address = ADMIN;
        if let Some((value, text)) = section.text("address")
            && let Some(written) = value.check(socket(text))
        {
            if !is_loopback_ip(written.ip()) && !allow_network {
                value.error(
                    "can be reached from the network",
                    "whoever reaches it sees the status and reloads the configuration; \
                     allow that with `allow_network = true`, or use a loopback address",
                );
            }
            address = written;
            place = value.place;
        }
        (Self::read(section, address), place)
    }

    /// `[health]`, and where its address is written; nothing without one.
    pub(super) fn read_health(section: Section<'_>) -> Option<(Self, Place)> {
        let address = section.text("address");
        let address = address
            .and_then(|(value, text)| value.check(socket(text)).map(|address| (address, value)));
        let page = Self::read(
            section,
            address.as_ref().map_or(ADMIN, |(address, _)| *address),
        );
        address.map(|(_, value)| (page, value.place))
    }

    fn read(section: Section<'_>, address: SocketAddr) -> Self {
        let default = Self::default();
        let page = Self {
            address,
            max_connections: section.integer(
                "max_connections",
                default.max_connections,
                1..=10_000,
            ),
            header_timeout: section.duration("header_timeout", default.header_timeout, SOME),
        };
        section.finish();
        page
    }
}
