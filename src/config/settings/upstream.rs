//! `[upstreams.NAME]`

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::{Dialing, EgressProxy, HostPort, Http2, ProxyChoice, Scheme, Tls};
use crate::host::canonical_host_of;

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Scheme `http` or `https`, host, port and a canonical path prefix; no query, fragment or userinfo.
    pub url: Url,
    /// The credential whose token is injected; none proxies without a token.
    pub credential: Option<String>,
    /// In place of `credential`: whose token goes with the requests of which caller. `*` is every other caller; a
    /// caller that is not named then has none, and is refused.
    pub credentials: BTreeMap<String, String>,
    /// Which HTTP version is spoken.
    pub http: HttpVersion,
    /// The `Host` sent; that of `url` when absent.
    pub host: Option<String>,
    /// Further names that clients of forward listeners use for it.
    pub hosts: Vec<HostPort>,
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
    /// Whether a rejected token is renewed and the request replayed.
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
    /// The header that the name of the caller is sent in.
    pub forward_caller: Option<HeaderName>,
    /// Where the token is masked that comes back.
    pub redact: Redact,
    /// `tls.certificate_from`: connections present the certificate of `credential`, which has one;
    /// its tokens are bound to it (RFC 8705 section 3).
    pub certificate_bound: bool,
    /// Whether its token may be sent over plain http, beyond loopback too.
    pub allow_plaintext: bool,
    /// TLS towards the upstream.
    pub tls: Tls,
    /// Through which proxy it is reached.
    pub proxy: ProxyChoice,
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

/// `upstreams.NAME.redact`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redact {
    /// In the headers and trailers of responses.
    Headers,
    /// Nowhere.
    Off,
}

impl Upstream {
    /// The names of all credentials whose tokens it may be sent.
    pub fn credential_names(&self) -> BTreeSet<&str> {
        let of_callers = self.credentials.values().map(String::as_str);
        self.credential
            .as_deref()
            .into_iter()
            .chain(of_callers)
            .collect()
    }

    /// Whether it is sent tokens.
    pub fn has_credentials(&self) -> bool {
        self.credential.is_some() || !self.credentials.is_empty()
    }

    /// Whether a token goes to the same place, in the same header.
    pub fn takes_tokens_as(&self, other: &Self) -> bool {
        self.url == other.url && self.host == other.host && self.header == other.header
    }

    /// The proxy through which it is reached, if there is one.
    pub fn egress_proxy(&self) -> Option<&EgressProxy> {
        self.proxy.proxy_for(&self.url)
    }

    /// The path that a request begins with which names this upstream: that of `url`.
    pub fn base_path(&self) -> &str {
        match self.url.path().trim_end_matches('/') {
            "" => "/",
            path => path,
        }
    }

    /// The host of `url`, in the form in which hosts are compared.
    pub fn own_host(&self) -> Cow<'_, str> {
        canonical_host_of(&self.url)
    }

    /// Every destination (scheme, host, port) that is this upstream to a forward listener. A client's `http`
    /// is an `https` upstream too, on port 80 or that of the URL; `https` is never an `http` upstream.
    pub fn destinations(&self) -> impl Iterator<Item = (Scheme, String, u16)> {
        let own = HostPort {
            host: self.own_host().into_owned(),
            port: None,
        };
        let is_https = self.url.scheme() == "https";
        let of_url = self.url.port_or_known_default().unwrap_or_default();
        let mut destinations = Vec::new();
        for HostPort { host, port } in [own].into_iter().chain(self.hosts.iter().cloned()) {
            destinations.push((Scheme::Http, host.clone(), port.unwrap_or(of_url)));
            if is_https {
                destinations.push((Scheme::Https, host.clone(), port.unwrap_or(of_url)));
                if port.is_none() {
                    destinations.push((Scheme::Http, host, 80));
                }
            }
        }
        destinations.sort_unstable();
        destinations.dedup();
        destinations.into_iter()
    }

    /// Whether a destination, whose host is in its canonical form, is one of these.
    pub fn has_destination(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        let is_https = self.url.scheme() == "https";
        if scheme == Scheme::Https && !is_https {
            return false;
        }
        let of_url = self.url.port_or_known_default().unwrap_or_default();
        let is_at = |named: Option<u16>| match named {
            Some(named) => named == port,
            None => port == of_url || is_https && scheme == Scheme::Http && port == 80,
        };
        let mut hosts = self.hosts.iter();
        self.own_host() == host && is_at(None)
            || hosts.any(|named| named.host == host && is_at(named.port))
    }
}
