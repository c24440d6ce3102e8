//! `[server]`, `[log]`, `[admin]` and `[health]`.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::Level;

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
    /// Requests that ended in an error of ours: for a program that `exec` has started.
    Failures,
    /// Requests that ended in an error of ours or a 5xx of the upstream, and tunnels by CONNECT.
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
