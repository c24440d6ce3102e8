//! The configuration: what the TOML files say, checked whole.
//!
//! [`load`] reads a file (or a directory of files), reports **every** problem as a
//! [`Diagnostic`], and returns a [`Config`] in which nothing is left to check: names resolve,
//! durations are durations, URLs are URLs. Nothing downstream validates again.

mod address;
mod client_auth;
mod credential;
mod credentials;
mod cross_checks;
mod declare;
mod diagnostics;
mod dialing;
mod dpop;
mod draft;
mod file;
mod general;
mod grant;
mod keys;
mod kinds;
mod listeners;
mod load;
mod only_with;
mod permissions;
mod read;
mod reference;
mod report;
mod retry_pauses;
mod routes;
mod secret;
mod secret_source;
mod sections;
mod source_file;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod upstreams;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use url::Url;

pub use address::is_loopback;
pub use credential::{
    AssertionAudience, AssertionForm, AuthorizationServer, BasicEncoding, ClientAuth, Credential,
    Dpop, Grant, Refresh, SecurityToken,
};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use dialing::{Dialing, KeepAlive};
pub use file::NamedFile;
pub use load::{Loaded, admin_address, load};
pub use reference::{ReferenceTable, reference};
pub use retry_pauses::RetryPauses;
pub use secret::{Secret, SecretError, SecretSource};

/// One whole, valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Process-wide settings.
    pub server: Server,
    /// Logging.
    pub log: Log,
    /// The admin socket.
    pub admin: OperatorListener,
    /// The optional second socket with health and metrics only.
    pub health: Option<OperatorListener>,
    /// Where the service's requests arrive; names are unique.
    pub listeners: Vec<Listener>,
    /// The protected APIs, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Every route, the listeners' `upstream` shorthands included.
    pub routes: Vec<Route>,
    /// The OAuth client registrations, by name.
    pub credentials: BTreeMap<String, Credential>,
}

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
    pub level: tracing::Level,
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

/// `[[listeners]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique; the address as written when not given.
    pub name: String,
    /// The socket.
    pub address: ListenAddress,
    /// More `Host` values accepted on a loopback listener, lower case without port; `*` is any.
    pub hosts: Vec<String>,
    /// Whether requests that a browser made for another site are let through.
    pub allow_browsers: bool,
    /// The origins whose pages are let through anyhow, as browsers spell them: lower case, and no
    /// port that the scheme implies.
    pub allow_origins: Vec<String>,
}

/// A socket address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Scheme `http` or `https`, host, port and a canonical path prefix; no query, fragment or userinfo.
    pub url: Url,
    /// The credential whose token is injected; none proxies without a token.
    pub credential: Option<String>,
    /// Which HTTP version is spoken.
    pub http: HttpVersion,
    /// The `Host` sent; that of `url` when absent.
    pub host: Option<String>,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How its connections are made and kept.
    pub dialing: Dialing,
    /// From the end of the request body to the response head.
    pub response_timeout: Duration,
    /// Between two body chunks, either way; `None` is off.
    pub stream_idle_timeout: Option<Duration>,
    /// How long the API may think about an `Expect: 100-continue` before the body is asked for.
    pub continue_timeout: Duration,
    /// How long a new connection may keep to itself whether it takes extended CONNECT.
    pub connect_protocol_timeout: Duration,
    /// Connections at once, in the whole process, idle ones included.
    pub max_connections: usize,
    /// Connections of HTTP/1.1 that are being opened at once, in the whole process.
    pub max_connecting: usize,
    /// Idle connections kept, in the whole process.
    pub pool_idle: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long a connection carries new requests; `None`: for ever.
    pub max_connection_age: Option<Duration>,
    /// Whether a rejected token is healed by a new one and a replay.
    pub retry_on_401: bool,
    /// How often a request is sent again because its connection had been closed.
    pub max_retries: usize,
    /// Request bodies up to this many bytes can be replayed.
    pub replay_buffer: usize,
    /// Bytes that are read at once from a connection, or over HTTP/2 buffered of a request body.
    pub body_buffer: usize,
    /// Largest response head, in bytes.
    pub max_response_header_bytes: usize,
    /// Headers of one response, over HTTP/1.1.
    pub max_response_headers: usize,
    /// Towards the API.
    pub http2: Http2,
    /// Where the token goes.
    pub header: HeaderName,
    /// What stands before the token; the token's type when absent, nothing when empty.
    pub header_prefix: Option<String>,
    /// `tls.certificate_from`: connections present the certificate of `credential`, which has one;
    /// its tokens are bound to it (RFC 8705 section 3).
    pub certificate_bound: bool,
    /// TLS towards the upstream.
    pub tls: Tls,
}

/// `upstreams.NAME.http`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// ALPN for https, HTTP/1.1 for http.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; over http with prior knowledge.
    Http2,
}

/// TLS client settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// Replaces the system's roots.
    pub ca_file: Option<NamedFile>,
    /// Our certificate chain, PEM; together with `key_file`.
    pub certificate_file: Option<NamedFile>,
    /// The key of `certificate_file`, PEM.
    pub key_file: Option<NamedFile>,
    /// The name the server's certificate must carry; that of the URL when absent.
    pub server_name: Option<String>,
    /// Refuse TLS 1.2.
    pub tls13_only: bool,
}

/// `[[routes]]`, and the `upstream` shorthand of a listener
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The listener it is limited to.
    pub listener: Option<String>,
    /// Which `Host` it matches.
    pub host: HostPattern,
    /// A canonical path prefix, beginning with `/`.
    pub path: String,
    /// The methods it is limited to; any when empty.
    pub methods: Vec<Method>,
    /// Where its requests go: a key of [`Config::upstreams`].
    pub upstream: String,
    /// Replaces the matched prefix.
    pub replace_prefix: Option<String>,
}

/// `routes.host`; names in lower case without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// No `host` key.
    Any,
    /// `*.example.com`: exactly one more label. Holds `example.com`.
    Wildcard(String),
    /// This name or IP literal.
    Exact(String),
}

impl Config {
    /// Where the configuration is when nothing else is said.
    pub fn default_path() -> &'static std::path::Path {
        std::path::Path::new("/etc/sidebearer/sidebearer.toml")
    }

    /// Every TCP address that it binds, as it was written.
    pub fn tcp_sockets(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.listeners.iter();
        let listeners = listeners.filter_map(|listener| match listener.address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix { .. } => None,
        });
        let pages = [&self.admin].into_iter().chain(&self.health);
        listeners.chain(pages.map(|page| page.address))
    }

    /// The credentials whose certificate some upstream presents.
    pub fn certificate_bound_credentials(&self) -> BTreeSet<&str> {
        let bound = self
            .upstreams
            .values()
            .filter(|upstream| upstream.certificate_bound);
        bound
            .filter_map(|upstream| upstream.credential.as_deref())
            .collect()
    }

    /// The files the configuration names (secrets, keys, certificates, CAs), for watching.
    pub fn named_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for credential in self.credentials.values() {
            files.extend(credential.secrets().filter_map(SecretSource::file));
            files.extend(credential.tls.files());
        }
        for upstream in self.upstreams.values() {
            files.extend(upstream.tls.files());
        }
        files.sort_unstable();
        files.dedup();
        files
            .into_iter()
            .map(|file| file.path().to_owned())
            .collect()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

impl Upstream {
    /// Whether the same token goes to the same place, in the same header.
    pub fn sends_token_as(&self, other: &Self) -> bool {
        self.credential == other.credential
            && self.url == other.url
            && self.host == other.host
            && self.header == other.header
    }
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

impl Tls {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        [&self.ca_file, &self.certificate_file, &self.key_file]
            .into_iter()
            .flatten()
    }
}
