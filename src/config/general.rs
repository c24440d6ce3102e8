//! `[server]`, `[log]`, `[admin]` and `[health]`.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::Level;

use super::address::is_loopback_ip;
use super::keys::{
    ADMIN, ADMIN_TABLE, DEFAULT_ADMIN, HEALTH, LOG, LOG_TABLE, SERVER, SERVER_TABLE,
};
use super::read::Section;
use super::report::SourceSpan;

/// `[server]`
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Number of shards; 0 means one for each CPU this process may use.
    pub workers: usize,
    /// After SIGTERM: how long new connections are still accepted while not ready.
    pub shutdown_delay: Duration,
    /// How long what is in flight may take to finish before it is cut.
    pub drain_timeout: Duration,
    /// Largest request head, in bytes.
    pub max_header_bytes: usize,
    /// Headers of one request.
    pub max_headers: usize,
    /// From the first byte of a request head to its end.
    pub header_timeout: Duration,
    /// How long a client connection may be idle.
    pub idle_timeout: Duration,
    /// After its last answer: how long a connection reads on.
    pub linger_timeout: Duration,
    /// Client connections in the whole process; beyond it new ones wait in the backlog.
    pub max_connections: usize,
    /// Connections of one listener that the system keeps until they are accepted.
    pub backlog: i32,
    /// Files that neither clients nor upstreams get.
    pub reserved_files: u64,
    /// Bytes that are read at once from a client connection, or over HTTP/2 buffered of an answer.
    pub body_buffer: usize,
    /// Bytes that a tunnel buffers, each way.
    pub tunnel_buffer: usize,
    /// Bytes of windows of HTTP/2 in all of the process, beyond those that every stream has.
    pub window_budget: usize,
    /// Bytes of interim responses that wait for a client to read them.
    pub max_interim_bytes: usize,
    /// Bytes of the largest secret, key or certificate file.
    pub max_file_bytes: usize,
    /// How long a file system may take to answer.
    pub file_timeout: Duration,
    /// Token requests at once to one token endpoint, from all credentials together.
    pub max_concurrent_fetches: usize,
    /// How often a refused configuration is looked at again.
    pub reload_retry_interval: Duration,
    /// Towards clients.
    pub http2: Http2,
    /// Whether requests carry `Via: 1.1 sidebearer-ID`, by which loops are found.
    pub via: bool,
    /// Whether requests carry `x-request-id`: the client's, or one of ours.
    pub request_id: bool,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Text, JSON, or whichever fits where stderr goes.
    pub format: LogFormat,
    /// Our own verbosity; libraries stay at `warn`.
    pub level: Level,
    /// Which requests get an access line.
    pub access: AccessLog,
    /// Bytes of lines that wait to be written; more are dropped.
    pub buffer: usize,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.access`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// No access lines.
    Off,
    /// Requests that ended in an error of ours or a 5xx of the upstream.
    Errors,
    /// Every request.
    All,
}

/// `[admin]` or `[health]`
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorListener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections at once; more wait in the backlog.
    pub max_connections: usize,
    /// From the first byte of a request head to its end, and between two requests.
    pub header_timeout: Duration,
}

/// The limits of HTTP/2 connections to one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Requests at once on one connection.
    pub max_streams: u32,
    /// Bytes of one stream that may arrive before they are read.
    pub stream_window: u32,
    /// After how long a silence a connection with streams is asked whether it is still there; zero: never.
    pub ping_interval: Duration,
    /// How long it has to answer that.
    pub ping_timeout: Duration,
}

impl Http2 {
    /// What the window of a connection begins with (RFC 9113 section 6.9.2).
    const FIRST_WINDOW: u32 = (1 << 16) - 1;
    /// The largest window there is (RFC 9113 section 6.9.1).
    const LARGEST_WINDOW: u32 = (1 << 31) - 1;

    /// Bytes of all streams of one connection together that may arrive before they are read: so
    /// many that streams that nobody reads do not stop the others.
    pub fn connection_window(&self) -> u32 {
        let all = self.max_streams.saturating_mul(self.stream_window);
        all.clamp(Self::FIRST_WINDOW, Self::LARGEST_WINDOW)
    }
}

impl Default for Server {
    fn default() -> Self {
        Section::unwritten(&SERVER_TABLE, Self::read)
    }
}

impl Default for Log {
    fn default() -> Self {
        Section::unwritten(&LOG_TABLE, Self::read)
    }
}

impl Default for OperatorListener {
    /// Of `[admin]`.
    fn default() -> Self {
        Section::unwritten(&ADMIN_TABLE, |section| Self::read_admin(section).0)
    }
}

impl Server {
    pub(super) fn read(section: Section<'_>) -> Self {
        Self {
            workers: section.read(&SERVER.workers),
            shutdown_delay: section.read(&SERVER.shutdown_delay),
            drain_timeout: section.read(&SERVER.drain_timeout),
            max_header_bytes: section.read(&SERVER.max_header_bytes),
            max_headers: section.read(&SERVER.max_headers),
            header_timeout: section.read(&SERVER.header_timeout),
            idle_timeout: section.read(&SERVER.idle_timeout),
            linger_timeout: section.read(&SERVER.linger_timeout),
            max_connections: section.read(&SERVER.max_connections),
            backlog: section.read(&SERVER.backlog),
            reserved_files: section.read(&SERVER.reserved_files),
            body_buffer: section.read(&SERVER.body_buffer),
            tunnel_buffer: section.read(&SERVER.tunnel_buffer),
            max_interim_bytes: section.read(&SERVER.max_interim_bytes),
            window_budget: section.read(&SERVER.window_budget),
            max_file_bytes: section.read(&SERVER.max_file_bytes),
            file_timeout: section.read(&SERVER.file_timeout),
            max_concurrent_fetches: section.read(&SERVER.max_concurrent_fetches),
            reload_retry_interval: section.read(&SERVER.reload_retry_interval),
            http2: Http2 {
                max_streams: section.read(&SERVER.max_streams),
                stream_window: section.read(&SERVER.stream_window),
                ping_interval: section.read(&SERVER.ping_interval),
                ping_timeout: section.read(&SERVER.ping_timeout),
            },
            via: section.read(&SERVER.via),
            request_id: section.read(&SERVER.request_id),
        }
    }
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Self {
        Self {
            format: section.read(&LOG.format),
            level: section.read(&LOG.level),
            access: section.read(&LOG.access),
            buffer: section.read(&LOG.buffer),
        }
    }
}

impl OperatorListener {
    /// `[admin]`, and where its address is written.
    pub(super) fn read_admin(section: Section<'_>) -> (Self, SourceSpan) {
        let allow_network = section.read(&ADMIN.allow_network);
        // After a mistake, which refuses the configuration, any address does.
        let address = section.read(&ADMIN.address).unwrap_or(DEFAULT_ADMIN);
        let written = section.written(&ADMIN.address);
        if let Some(value) = &written
            && !is_loopback_ip(address.ip())
            && !allow_network
        {
            value.error(
                "can be reached from the network",
                "whoever reaches it sees the status and reloads the configuration; \
                 allow that with `allow_network = true`, or use a loopback address",
            );
        }
        let page = Self {
            address,
            max_connections: section.read(&ADMIN.max_connections),
            header_timeout: section.read(&ADMIN.header_timeout),
        };
        (page, written.map_or(section.place, |value| value.place))
    }

    /// `[health]`, and where its address is written; nothing without one.
    pub(super) fn read_health(section: Section<'_>) -> Option<(Self, SourceSpan)> {
        let address = section.read(&HEALTH.address);
        let max_connections = section.read(&HEALTH.max_connections);
        let header_timeout = section.read(&HEALTH.header_timeout);
        let page = Self {
            address: address?,
            max_connections,
            header_timeout,
        };
        Some((page, section.written(&HEALTH.address)?.place))
    }
}
