//! Reads `[server]`, `[log]`, `[admin]` and `[health]`.

use super::super::keys::{
    ADMIN, ADMIN_TABLE, DEFAULT_ADMIN, HEALTH, LOG, LOG_TABLE, SERVER, SERVER_TABLE,
};
use super::super::parse::address::is_loopback_ip;
use super::super::read::Section;
use super::super::report::SourceSpan;
use super::super::settings::{Http2, Log, OperatorListener, Server};

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
                "everyone who reaches it sees the status and can reload the configuration; \
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

    /// `[health]`, and where its address is written; nothing after a mistake.
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
